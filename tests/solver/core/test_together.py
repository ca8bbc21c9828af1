"""The loop with the real engine and the real verifiers; only the words of the model are chosen by the test."""

from __future__ import annotations

import asyncio

import pytest

from espalier.runtime.engine import FinishReason, Limits, Tokens
from espalier.runtime.local import LocalEngine
from espalier.solver.core.events import CandidateStarted, SolveEvent, Streamed
from espalier.solver.core.generation import Generation
from espalier.solver.core.loop import Solver
from espalier.solver.core.policies import Adaptive, BestOfK, Greedy, Refine
from espalier.solver.core.policy import Budget, Stop
from espalier.solver.core.problem import Problem
from espalier.solver.core.selection import DecidedBy
from espalier.verifiers.check import CallCase, ConstraintCheck, NumberUse, ProgramCheck
from espalier.verifiers.local import LocalVerifiers, load
from tests.solver.service.telling import Words, free_tokens, telling
from tests.verifiers.code.boxes import opened

MAKE_65 = Problem(
    "p",
    "Using the numbers 19, 36, 55 and 7, each once, make 65",
    ConstraintCheck((NumberUse(("19", "36", "55", "7"), "65"),)),
)
RIGHT = "55 + 36 - 19 - 7"
ENDLESS = Generation(limits=Limits(max_tokens=1 << 20))


def forked(*steps: str, answer: str) -> Words:
    plans = "".join(f"<plan>{i}: way {i}</plan>" for i in range(1, len(steps) + 1))
    words = {((0, i),): step + "</step>" for i, step in enumerate(steps, start=1)}
    return {(): f"<guideline>{plans}</guideline>compare</takeaway>\\boxed{{{answer}}}", **words}


def boxed(answer: str) -> str:
    return f" so \\boxed{{{answer}}}"


async def idle(engine: LocalEngine, free: int) -> None:
    """The engine has ended all requests and freed their memory: at once, or a decoding step later."""
    async with asyncio.timeout(60):
        while engine.info.details["running"] or free_tokens(engine) != free:  # noqa: ASYNC110 (the engine has no event)
            await asyncio.sleep(0.01)


async def test_a_right_step_ends_its_response_and_the_losers_and_frees_everything(hub: LocalVerifiers) -> None:
    winner = {**forked(boxed("1 + 1"), boxed(RIGHT), "", answer="2"), ((0, 3),): None}  # type: ignore[dict-item]
    async with telling(lambda number: winner if number == 0 else None) as engine:
        free = free_tokens(engine)
        events: list[SolveEvent] = []
        result = await Solver(engine, hub, generation=ENDLESS).solve(
            MAKE_65, BestOfK(), Budget(candidates=3), observer=events.append
        )
        await idle(engine, free)
    assert (result.selection.answer, result.selection.decided_by) == (RIGHT, DecidedBy.CHECK)
    assert [entry.candidate.reason for entry in result.judged] == [FinishReason.ABORTED] * 3
    streamed = [event.event for event in events if isinstance(event, Streamed)]
    tokens = sum(len(event.tokens) for event in streamed if isinstance(event, Tokens))
    assert result.spent.total.new_tokens == tokens
    assert result.spent.speedup > 1


async def test_wrong_steps_and_a_right_answer_are_told_apart(hub: LocalVerifiers) -> None:
    async with telling(forked(boxed("55 + 19 - 7 - 2"), boxed("65"), answer=RIGHT)) as engine:
        result = await Solver(engine, hub).solve(MAKE_65, Greedy())
    candidate = result.judged[0].candidate
    assert result.selection.answer == RIGHT
    assert {found.path: found.answer for found in candidate.branch_answers} == {
        ((0, 1),): "55 + 19 - 7 - 2",
        ((0, 2),): "65",
    }
    assert (candidate.reason, candidate.forked, candidate.well_formed) == (FinishReason.STOP, True, True)
    assert candidate.usage.critical_path_tokens < candidate.usage.new_tokens


async def test_equivalent_answers_vote_together(hub: LocalVerifiers) -> None:
    said = ["0.5", "\\frac{1}{2}", "1/3", "2/4"]
    async with telling(lambda number: f"\\boxed{{{said[number % 4]}}}") as engine:
        result = await Solver(engine, hub).solve(Problem("p", "How likely is it?"), BestOfK(), Budget(candidates=4))
    assert result.selection.decided_by is DecidedBy.CONSENSUS
    classes = [entry.candidate.answer_class for entry in result.judged]
    assert classes[0] == classes[1] == classes[3] != classes[2]
    assert result.selection.answer in ("0.5", "\\frac{1}{2}", "2/4")


async def test_votes_with_false_equalities_weigh_less(hub: LocalVerifiers) -> None:
    said = ["2 + 2 = 5, so \\boxed{5}", "2 + 2 = 5, thus \\boxed{5}", "2 + 2 = 4, so \\boxed{4}"]
    async with telling(lambda number: said[number % 3]) as engine:
        result = await Solver(engine, hub).solve(Problem("p", "How many?"), BestOfK(), Budget(candidates=3))
    assert result.selection.answer == "4"


async def test_at_the_deadline_the_engine_is_free_again(hub: LocalVerifiers) -> None:
    async with telling(None) as engine:
        free = free_tokens(engine)
        result = await Solver(engine, hub, generation=ENDLESS).solve(
            MAKE_65, Adaptive(first=4), Budget(candidates=8, seconds=1.5)
        )
        await idle(engine, free)
    assert result.stopped is Stop.SECONDS
    assert result.spent.aborted.new_tokens > 0


async def test_a_cancelled_solve_leaves_nothing_in_the_engine(hub: LocalVerifiers) -> None:
    async with telling(None) as engine:
        free = free_tokens(engine)
        solving = asyncio.create_task(
            Solver(engine, hub, generation=ENDLESS).solve(MAKE_65, BestOfK(), Budget(candidates=4))
        )
        while engine.info.details["running"] < 4:  # noqa: ASYNC110 (the engine has no event for it)
            await asyncio.sleep(0.01)
        solving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await solving
        await idle(engine, free)


async def test_a_program_is_never_run_without_a_sandbox_and_the_result_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ESPALIER_SANDBOX_KIND", "docker")
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such/socket")
    problem = Problem("p", "Write f.", ProgramCheck((CallCase("f", "[]", "1"),)))
    async with LocalVerifiers(load()) as hub, telling("```python\ndef f():\n    return 1\n```\n") as engine:
        result = await Solver(engine, hub).solve(problem, Greedy())
    assert result.judged[0].candidate.answer == "def f():\n    return 1\n"
    assert result.selection.answer is None
    assert "programs run in a sandbox or not at all" in result.trouble


@pytest.mark.bwrap
async def test_a_repair_is_asked_for_with_the_case_that_failed_its_input_what_was_expected_and_what_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ESPALIER_SANDBOX_KIND", "bwrap")
    check = ProgramCheck((CallCase("double", "[1]", "2"), CallCase("double", "[17]", "34")))
    wrong, right = (f"```python\ndef double(x):\n    return {body}\n```\n" for body in ("x + 1", "2 * x"))
    questions: list[str] = []

    def watch(event: SolveEvent) -> None:
        if isinstance(event, CandidateStarted):
            questions.append(event.question)

    async with opened("bwrap"):
        pass  # or a skip, where there is none
    async with LocalVerifiers(load()) as hub, telling(lambda number: right if number == 1 else wrong) as engine:
        result = await Solver(engine, hub).solve(
            Problem("p", "Double it.", check), Refine(first=1), Budget(candidates=2), observer=watch
        )
    assert result.selection.answer == right.removeprefix("```python\n").removesuffix("```\n")
    asked = " ".join(questions[1].split())
    for part in ("Double it.", "return x + 1", "Case 2 of 2 failed", "Input: double(*[17])", "Expected: 34", "Got: 18"):
        assert part in asked
