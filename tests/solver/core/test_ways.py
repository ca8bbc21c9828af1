"""Ways of solving: what a program prints is its answer, and what several ways agree on is worth more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from espalier.runtime.engine import EngineInfo, GenerateRequest
from espalier.runtime.prompt import PromptTemplate
from espalier.solver.core.confidence import FEATURES, Calibration, other_ways
from espalier.solver.core.events import AnswerJudged, CandidateStarted
from espalier.solver.core.loop import Solver
from espalier.solver.core.policies import BestOfK, Greedy, Refine
from espalier.solver.core.policy import Budget, begin
from espalier.solver.core.problem import Problem
from espalier.solver.core.prompts import PROGRAM_INSTRUCTION, Templates, instruction_files, templates_of
from espalier.solver.core.result import Result
from espalier.solver.core.selection import DecidedBy, Trust, select
from espalier.solver.core.ways import RUN, Way, evidence, printed, ways_of
from espalier.verifiers.check import AssertCase, Claim, ProgramCheck, ReferenceCheck
from espalier.verifiers.code.settings import SandboxSettings
from espalier.verifiers.code.verifier import CodeVerifier
from espalier.verifiers.local import LocalVerifiers
from espalier.verifiers.verdict import Status
from tests.solver.core.test_loop import MemoryJournal
from tests.solver.core.test_trust import judged
from tests.solver.mathematics import SharedMath
from tests.solver.scripted import PASS, ScriptedEngine, ScriptedJudge, boxed, response

BOTH = ways_of(["words", "program"])
OPEN = Problem("p", "What is 6 times 7?")
CHECKED = Problem("p", OPEN.text, ReferenceCheck("42"))


def program(source: str) -> str:
    return f"```python\n{source}\n```"


@pytest.fixture
async def sandboxed(mathematics: SharedMath) -> AsyncIterator[LocalVerifiers]:
    code = CodeVerifier(SandboxSettings(kind="bwrap", warm=1))
    async with LocalVerifiers([mathematics, code]) as verifiers:
        yield verifiers


def by_way(words: str, *programs: str) -> Callable[[GenerateRequest, int], str]:
    """Answers a candidate that is asked in words, and one that is asked for a program, by what it is asked."""
    sources = iter(programs)

    def script(request: GenerateRequest, _: int) -> str:
        asked = ScriptedEngine.of("").tokenizer.decode(request.prompt)
        return next(sources) if "Solve this with a Python program" in asked else words

    return script


async def solved(engine: ScriptedEngine, verifiers: LocalVerifiers, problem: Problem = OPEN, k: int = 2) -> Result:
    return await Solver(engine, verifiers).solve(problem, BestOfK(ways=BOTH), Budget(candidates=k))


def test_candidates_go_the_ways_in_turn_and_a_repair_goes_that_of_what_it_repairs() -> None:
    specs = BestOfK(ways=BOTH).ask(begin(1, Budget(candidates=4)))
    assert [spec.way for spec in specs] == ["words", "program", "words", "program"]
    policy = Refine(ways=BOTH)
    state = begin(1, Budget(candidates=8))
    for spec, entry in zip(policy.ask(state), judged(("1", None), ("2", None), status=Status.FAIL), strict=True):
        verdict = replace(entry.verdict, score=0.1 * spec.index, feedback="no")
        state = policy.tell(state, replace(entry.candidate, spec=spec), verdict)
    repairing = [spec for spec in policy.ask(state) if spec.repair]
    assert [(spec.repair.candidate, spec.way) for spec in repairing if spec.repair] == [(1, "program")]


@pytest.mark.parametrize("names", [["word"], ["words", "words"], ["words", ""]])
def test_ways_that_there_are_not_are_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match="way"):
        ways_of(names)


def test_each_way_has_its_words() -> None:
    asked = [Templates().of(way).filled("What {is} it?") for way in Way]
    assert asked[0] == Templates().of("").filled("What {is} it?") == "What {is} it?"
    assert asked[1].startswith("What {is} it?\n\nSolve this with a Python program")


@pytest.mark.bwrap
async def test_each_way_is_asked_with_its_own_instruction_repairs_included(sandboxed: LocalVerifiers) -> None:
    answers = iter([boxed("41"), program("print(41)"), boxed("40"), program("print(40)")])
    engine = ScriptedEngine(lambda *_: next(answers))
    own = Templates(PromptTemplate("Think. {question}"), PromptTemplate("Program it: {question} Print it."))
    events: list[object] = []
    await Solver(engine, sandboxed, own).solve(
        CHECKED, Refine(ways=BOTH, first=2), Budget(candidates=4), observer=events.append
    )
    started = [event for event in events if isinstance(event, CandidateStarted)]
    prompts = [engine.tokenizer.decode(list(event.prompt)) for event in started]
    for event, prompt in zip(started, prompts, strict=True):
        before, behind = ("Program it: ", " Print it.") if event.spec.way == "program" else ("Think. ", "")
        assert f"{before}{CHECKED.text}" in prompt
        assert behind in prompt
        assert ("Think." in prompt) is (event.spec.way == "words")
    assert any(event.spec.repair for event in started)
    assert {event.question for event in started if event.spec.way == "words" and not event.spec.repair} == {None}


def test_a_model_has_its_own_text_for_words_and_ours_for_programs(tmp_path: Path) -> None:
    engine = ScriptedEngine.of(info=EngineInfo(str(tmp_path), 1 << 20, parallel=True))
    (tmp_path / "instruction.txt").write_text("Box it: {question}")
    (tmp_path / "chat_template_kwargs.json").write_text('{"enable_thinking": false}')
    program_file = tmp_path / "program.txt"
    program_file.write_text("Print it: {question}")
    found = templates_of(engine, {})
    assert found.of("words").instruction == "Box it: {question}"
    assert found.of("program") == PromptTemplate(PROGRAM_INSTRUCTION, {"enable_thinking": False})
    found = templates_of(engine, instruction_files([f"program={program_file}"]))
    assert found.of("words").instruction == "Box it: {question}"
    assert found.of("program") == PromptTemplate("Print it: {question}", {"enable_thinking": False})


def test_instruction_files_are_given_by_way(tmp_path: Path) -> None:
    one, two = tmp_path / "one.txt", tmp_path / "a=b.txt"
    one.write_text("{question}")
    two.write_text("{question}")
    assert instruction_files(None) == {}
    assert instruction_files([str(one)]) == {Way.WORDS: one}
    assert instruction_files([f"words={one}", f"program={two}"]) == {Way.WORDS: one, Way.PROGRAM: two}
    assert instruction_files([str(two)]) == {Way.WORDS: two}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["word={one}"], r"--flag word=.*one\.txt: there is no way 'word'; there are: words, program"),
        (["{one}", "words={one}"], r"--flag: two files for words, .*one\.txt and .*one\.txt; give one"),
        (["program={missing}"], r"--flag: cannot read the instruction text .*missing\.txt: No such file"),
        (["program={wrong}"], r"--flag: .*wrong\.txt: the instruction text must hold \{question\} exactly once"),
    ],
)
def test_a_wrong_instruction_file_is_refused_by_flag(given: list[str], said: str, tmp_path: Path) -> None:
    paths = {name: tmp_path / f"{name}.txt" for name in ("one", "missing", "wrong")}
    paths["one"].write_text("{question}")
    paths["wrong"].write_text("Solve it.")
    with pytest.raises(ValueError, match=said):
        instruction_files([text.format(**paths) for text in given], "--flag")


@pytest.mark.bwrap
async def test_what_a_program_prints_is_its_answer(sandboxed: LocalVerifiers) -> None:
    engine = ScriptedEngine(by_way(boxed("41"), program("print('so')\nprint(6 * 7)\n")))
    events: list[object] = []
    result = await Solver(engine, sandboxed).solve(
        CHECKED, BestOfK(ways=BOTH), Budget(candidates=2), observer=events.append
    )
    assert (result.selection.answer, result.selection.decided_by) == ("42", DecidedBy.CHECK)
    asked = {event.spec.way: event.question for event in events if isinstance(event, CandidateStarted)}
    assert asked["words"] is None
    assert "Python program" in (asked["program"] or "")


@pytest.mark.bwrap
async def test_ways_that_agree_are_one_class_and_are_told(sandboxed: LocalVerifiers) -> None:
    engine = ScriptedEngine(by_way(boxed("42"), program("print(42.0)"), program("print(41)")))
    result = await solved(engine, sandboxed, k=4)
    assert result.selection.answer in ("42", "42.0")
    assert result.selection.reason.startswith("3 of 4 votes by weight, from 2 ways of solving")
    assert [entry.verdict.decided_by for entry in result.judged] == ["steps", "program_output"] * 2


@pytest.mark.bwrap
@pytest.mark.parametrize(
    ("source", "said"),
    [("print(1 / 0)", "ZeroDivisionError"), ("def f(:", "SyntaxError"), ("while True: pass", "time limit")],
)
async def test_a_program_that_fails_is_fail_with_its_error_as_feedback(
    sandboxed: LocalVerifiers, source: str, said: str
) -> None:
    engine = ScriptedEngine(by_way(boxed("42"), program(source)))
    result = await solved(engine, sandboxed)
    verdict = result.judged[1].verdict
    assert (verdict.status, verdict.score) == (Status.FAIL, 0.0)
    assert said in verdict.feedback
    assert result.selection.answer == "42"


@pytest.mark.bwrap
async def test_a_failed_program_is_repaired_as_a_program_with_its_error(sandboxed: LocalVerifiers) -> None:
    engine = ScriptedEngine.of(program("print(1 / 0)"), program("print(1 / 0)"), program("print(42)"))
    policy = Refine(ways=ways_of(["program"]), first=1)
    await Solver(engine, sandboxed).solve(CHECKED, policy, Budget(candidates=3))
    asked = engine.tokenizer.decode(engine.requests[1].prompt)
    assert "print(1 / 0)" in asked
    assert "ZeroDivisionError" in asked
    assert "Solve this with a Python program" in asked


@pytest.mark.bwrap
async def test_a_program_that_prints_nothing_states_no_answer(sandboxed: LocalVerifiers) -> None:
    engine = ScriptedEngine(by_way(boxed("42"), program("x = 42")))
    result = await solved(engine, sandboxed)
    assert result.judged[1].candidate.answer is None
    assert result.judged[1].verdict.status is Status.UNKNOWN


@pytest.mark.bwrap
async def test_one_plan_of_a_response_may_be_a_program(sandboxed: LocalVerifiers) -> None:
    text = response("\n" + program("print(42)") + "\n", "long " * 500, answer=program("print(41)"))
    policy = Greedy(ways=ways_of(["program"]))
    result = await Solver(ScriptedEngine.of(text), sandboxed).solve(CHECKED, policy)
    assert (result.selection.answer, result.selection.verified) == ("42", True)


@pytest.mark.bwrap
async def test_what_the_program_of_a_step_prints_is_not_run_as_a_program(sandboxed: LocalVerifiers) -> None:
    """Neither when the step ends the response, nor when another worker goes on before the verdict was stored."""
    text = response("\n" + program("print('$42$')") + "\n", "long " * 500, answer=program("print(41)"))
    policy, journal = Greedy(ways=ways_of(["program"])), MemoryJournal()
    events: list[object] = []
    first, again = ScriptedEngine.of(text), ScriptedEngine.of(None)
    await Solver(first, sandboxed).solve(CHECKED, policy, observer=events.append, journal=journal)
    kept = replace(journal.entries[0], verdict=None)
    assert kept.candidate.answer == "$42$"
    result = await Solver(again, sandboxed).solve(CHECKED, policy, observer=events.append, entries=[kept])
    assert (result.selection.answer, result.selection.verified) == ("$42$", True)
    judged = [(len(event.path), event.verdict.status) for event in events if isinstance(event, AnswerJudged)]
    assert judged == [(1, Status.PASS)] * 2


async def test_a_problem_that_asks_for_a_program_has_one_way() -> None:
    problem = Problem("p", "Write f.", ProgramCheck((AssertCase("assert f(1) == 1"),)))
    judge = ScriptedJudge({"def f(x): return x\n": PASS})
    engine = ScriptedEngine.of(program("def f(x): return x"))
    await Solver(engine, judge).solve(problem, BestOfK(ways=ways_of(["program"])), Budget(candidates=1))
    assert judge.checks == [problem.check]
    assert engine.tokenizer.decode(engine.requests[0].prompt) == "[Write f.]"


@pytest.mark.bwrap
async def test_no_output_is_longer_than_its_last_line(sandboxed: LocalVerifiers) -> None:
    claim = Claim("for i in range(100_000): print(i)\nprint('  7 ')\nprint()", bare=True)
    ran = await sandboxed.verify(claim, RUN)
    assert printed(ran) == "7"
    assert evidence(ran).status is Status.UNKNOWN


def test_of_answers_with_equal_votes_that_of_more_ways_is_chosen() -> None:
    entries = judged(("5", 1), ("5", 1), ("4", 0), ("4", 0))
    ways = ("words", "words", "words", "program")
    told = [
        replace(entry, candidate=replace(entry.candidate, spec=replace(entry.candidate.spec, way=way)))
        for entry, way in zip(entries, ways, strict=True)
    ]
    assert select(told, {1: 2.0, 0: 2.0}).answer == "4"
    assert select(entries, {1: 2.0, 0: 2.0}).answer == "5"
    surer = Calibration(tuple(1.0 if name == "ways" else 0.0 for name in FEATURES))
    trust = Trust(surer)
    found = [trust.weigh(select(some, {0: 2.0, 1: 2.0}), some, {0: 2.0, 1: 2.0}).confidence for some in (told, entries)]
    assert found == pytest.approx([0.7310585786300049, 0.5])


def test_agreement_is_the_share_of_the_other_ways() -> None:
    ways = ["a", "a", "b", "c"]
    assert other_ways([(0,), (0,), (0,), (1,)], ways, 0) == 0.5
    assert other_ways([(0,), (0,), (1,), (2,)], ways, 0) == 0.0
    assert other_ways([(0,), (0,)], ["a", "a"], 0) == 0.0
