"""Programs that no check judges: the examples that their problem states decide among them, and prove nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from espalier.solver.core.events import Accepted
from espalier.solver.core.journal import Entry
from espalier.solver.core.json_form import to_json
from espalier.solver.core.loop import Solver
from espalier.solver.core.policies import Adaptive, BestOfK, Greedy, Refine
from espalier.solver.core.policy import Budget, Outcome, Stop, tally
from espalier.solver.core.problem import Problem
from espalier.solver.core.proto import decode_entry, encode_entry, encode_event, encode_result
from espalier.solver.core.report import verdict_line
from espalier.solver.core.selection import DecidedBy
from espalier.solver.core.verification import Verification
from espalier.verifiers.check import AssertCase, ProgramCheck
from espalier.verifiers.local import LocalVerifiers
from espalier.verifiers.stated_examples import StatedExamples
from espalier.verifiers.verdict import Status
from tests.solver.core.programs import engine_of, sandboxed
from tests.solver.mathematics import SharedMath
from tests.solver.scripted import ERROR, ScriptedEngine, ScriptedJudge, boxed

__all__ = ["sandboxed"]

DOUBLE = Problem("p", "Write a Python function double(x).\n\ndouble(2) == 4\ndouble(3) ➞ 6\ndouble(-1) -> -2\n")
RIGHT = "```python\ndef double(x):\n    return 2 * x\n```"
ABSOLUTE = "```python\ndef double(x):\n    return abs(2 * x)\n```"
SQUARE = "```python\ndef double(x):\n    return x * x\n```"
BROKEN = "```python\ndef double(x):\n    return y\n```"


@pytest.mark.bwrap
async def test_one_program_that_passes_all_examples_wins_over_many_that_agree_on_less(
    sandboxed: LocalVerifiers,
) -> None:
    engine = engine_of(ABSOLUTE, SQUARE, ABSOLUTE, RIGHT, BROKEN, ABSOLUTE)
    events: list[object] = []
    result = await Solver(engine, sandboxed).solve(DOUBLE, BestOfK(), Budget(candidates=6), observer=events.append)
    selection = result.selection
    assert selection.answer == RIGHT[10:-3]
    assert (selection.decided_by, selection.verified) == (DecidedBy.CONSENSUS, False)
    assert selection.reason.startswith("the best of 6 programs passes all 3 examples that the problem states; no check")
    assert {entry.verdict.status for entry in result.judged} == {Status.UNKNOWN}
    assert [entry.candidate.examples for entry in result.judged] == pytest.approx([2 / 3, 1 / 3, 2 / 3, 1, 0, 2 / 3])
    assert result.spent.verification.new_tokens == 0
    (accepted,) = (event for event in events if isinstance(event, Accepted))
    assert accepted.examples == ("double(2) == 4", "double(3) == 6", "double(-1) == -2")


@pytest.mark.bwrap
async def test_of_programs_that_pass_the_same_examples_those_win_that_do_the_same_elsewhere(
    sandboxed: LocalVerifiers,
) -> None:
    problem = Problem("p", "Write a Python function double(x).\n\ndouble(2) == 4\n")
    added = "```python\ndef double(x):\n    total = x\n    total += x\n    return total\n```"
    engine = engine_of(SQUARE, RIGHT, added, BROKEN)
    result = await Solver(engine, sandboxed).solve(problem, BestOfK(), Budget(candidates=4))
    assert result.selection.answer == RIGHT[10:-3]
    probes = len(StatedExamples.of(problem.text).probes)
    assert result.selection.reason == (
        "2 of 4 programs agree: each passes the example that the problem states and gives the same for "
        f"{probes} inputs like theirs; no check has confirmed it"
    )
    classes = [entry.candidate.answer_class for entry in result.judged]
    assert classes[1] == classes[2]
    assert len(set(classes)) == 3
    assert {entry.verdict.status for entry in result.judged} == {Status.UNKNOWN}
    evidence = {one.rule: one.detail for one in result.judged[1].verdict.evidence}
    assert evidence["probes"] == f"{probes} inputs like theirs"
    assert evidence["gives"].startswith("double(")
    assert [rule for rule in evidence if rule.startswith("case ")] == ["case 1"]


@pytest.mark.bwrap
async def test_examples_are_told_in_every_form_of_a_result(sandboxed: LocalVerifiers) -> None:
    events: list[object] = []
    result = await Solver(engine_of(RIGHT, ABSOLUTE), sandboxed).solve(
        DOUBLE, BestOfK(), Budget(candidates=2), observer=events.append
    )
    told = to_json(encode_result("s", result))
    assert [one["examples"] for one in told["candidates"]] == pytest.approx([1, 2 / 3])
    assert "case 1" in [one["rule"] for one in told["candidates"][0]["verdict"]["evidence"]]
    message = encode_event("s", events[0], 0.0, deltas=False)  # type: ignore[arg-type]
    assert message is not None
    assert to_json(message)["accepted"]["examples"][1] == "double(3) == 6"
    kept = [Entry(one.candidate, one.verdict) for one in result.judged]
    assert [decode_entry(encode_entry(one)).candidate.examples for one in kept] == [
        one.candidate.examples for one in kept
    ]
    assert "not verified" in verdict_line(result)


@pytest.mark.bwrap
async def test_programs_that_pass_all_examples_settle_a_vote_and_only_they(sandboxed: LocalVerifiers) -> None:
    result = await Solver(engine_of(*[RIGHT] * 8), sandboxed).solve(DOUBLE, Adaptive(), Budget(candidates=8))
    assert (result.stopped, len(result.judged)) == (Stop.CONSENSUS, 4)
    result = await Solver(engine_of(*[BROKEN] * 8), sandboxed).solve(DOUBLE, Adaptive(), Budget(candidates=8))
    assert result.stopped is Stop.CANDIDATES
    reason = "8 of 8 programs agree: each passes 0 of the 3 examples that the problem states; no check has confirmed it"
    assert result.selection.reason == reason, "who gives nothing gives nothing alike"


@pytest.mark.bwrap
async def test_generated_tests_decide_among_programs_that_pass_the_same_examples(sandboxed: LocalVerifiers) -> None:
    text = "Write a Python function double(x).\ndouble(2) == 4\n"
    engine = engine_of(SQUARE, SQUARE, RIGHT, BROKEN, tests="assert double(3) == 6\nassert double(y) == double(y)")
    result = await Solver(engine, sandboxed).solve(
        Problem("p", text), BestOfK(), Budget(candidates=4), verification=Verification(generated_tests=5)
    )
    assert result.selection.answer == RIGHT[10:-3]
    assert "passes the example that the problem states and passes 1 of 2 tests" in result.selection.reason
    assert [entry.candidate.examples for entry in result.judged] == [1, 1, 1, 0]
    assert len({entry.candidate.answer_class for entry in result.judged}) == 3


@pytest.mark.bwrap
async def test_a_repair_is_told_which_examples_failed_and_what_came_instead(sandboxed: LocalVerifiers) -> None:
    engine = engine_of(ABSOLUTE, ABSOLUTE, RIGHT, RIGHT)
    result = await Solver(engine, sandboxed).solve(DOUBLE, Refine(), Budget(candidates=4))
    repairs = [entry.candidate.spec.repair for entry in result.judged if entry.candidate.spec.repair]
    assert repairs
    assert "The program fails 1 of the 3 examples" in repairs[0].feedback
    assert "double(-1) == -2: got 2" in repairs[0].feedback
    assert result.selection.answer == RIGHT[10:-3]


@pytest.mark.bwrap
async def test_a_program_without_a_rival_is_no_more_than_the_only_answer(sandboxed: LocalVerifiers) -> None:
    result = await Solver(engine_of(RIGHT), sandboxed).solve(DOUBLE, Greedy(), Budget(candidates=1))
    assert result.selection.decided_by is DecidedBy.ONLY_CANDIDATE
    assert result.selection.reason.startswith("the only answer, which passes all 3 examples that the problem states")


@pytest.mark.bwrap
async def test_a_resumed_solve_runs_the_programs_that_it_has_again(sandboxed: LocalVerifiers) -> None:
    first = await Solver(engine_of(ABSOLUTE, RIGHT), sandboxed).solve(DOUBLE, BestOfK(), Budget(candidates=2))
    entries = [Entry(replace(entry.candidate, examples=0.0), entry.verdict) for entry in first.judged]
    again = await Solver(engine_of(), sandboxed).solve(DOUBLE, BestOfK(), Budget(candidates=2), entries=entries)
    assert again.selection == first.selection
    assert [entry.candidate.examples for entry in again.judged] == [entry.candidate.examples for entry in first.judged]


async def test_where_programs_cannot_be_run_votes_decide_as_without_examples() -> None:
    """Neither a sandbox that fails nor verifiers that run no programs: nobody has asked for examples."""
    judge = ScriptedJudge({text[10:-3]: ERROR for text in (RIGHT, SQUARE)})
    result = await Solver(engine_of(SQUARE, RIGHT, RIGHT), judge).solve(DOUBLE, BestOfK(), Budget(candidates=3))
    assert result.selection.answer == RIGHT[10:-3]
    assert "could not be run" in result.selection.reason
    assert [entry.candidate.examples for entry in result.judged] == [None] * 3


async def test_verifiers_that_run_no_programs_refuse_no_problem_with_examples(mathematics: SharedMath) -> None:
    async with LocalVerifiers([mathematics]) as verifiers:
        result = await Solver(engine_of(RIGHT, RIGHT), verifiers).solve(DOUBLE, BestOfK(), Budget(candidates=2))
    assert result.selection.answer == RIGHT[10:-3]


async def test_a_check_judges_alone() -> None:
    judge = ScriptedJudge()
    check = ProgramCheck((AssertCase("assert double(1) == 2"),))
    result = await Solver(engine_of(RIGHT), judge).solve(
        Problem("p", DOUBLE.text, check), BestOfK(), Budget(candidates=1)
    )
    assert [one for one in judge.checks if isinstance(one, ProgramCheck)] == [check]
    assert result.judged[0].candidate.examples is None


async def test_a_problem_that_asks_for_no_program_has_no_examples() -> None:
    problem = Problem("p", "The function f has f(1) = 2 and f(2) = 4. What is f(3)?")
    engine = ScriptedEngine.of(boxed("6"), boxed("6"))
    result = await Solver(engine, ScriptedJudge()).solve(problem, BestOfK(), Budget(candidates=2))
    assert (result.selection.answer, result.judged[0].candidate.examples) == ("6", None)


def test_only_those_that_pass_the_most_examples_vote() -> None:
    def outcome(index: int, answer_class: int, examples: float | None, score: float = 1.0) -> Outcome:
        status = Status.UNKNOWN
        return Outcome(index, 0, 10, status, score, "x", answer_class, examples=examples)

    some = [outcome(i, 0, 0.5, 0.75) for i in range(9)]
    assert tally([*some, outcome(9, 1, 1.0), outcome(10, 2, 1.0), outcome(11, 1, 1.0)]) == {1: 2.0, 2: 1.0}
    assert tally(some) == {0: pytest.approx(6.75)}
    assert tally([outcome(0, 0, None), outcome(1, 1, 0.0, 0.25)]) == {1: 0.25}
    assert tally([outcome(0, 0, 0.5, 0.5), outcome(1, 1, 1.0, 0.0)]) == {
        0: 0.5
    }  # that one has no vote for another reason
    assert tally([outcome(0, 0, None), outcome(1, 0, None)]) == {0: 2.0}
