"""Ways of choosing that the benchmark compares are those that the product votes by."""

from __future__ import annotations

import pytest
from chosen_answers import (
    scored_shared_votes,
    shared_and_silent,
    shared_votes,
    shared_with_every_step,
    won_by_a_conclusion,
)
from judged_answers import Judged, JudgedProblem, judge

from espalier.runtime.engine import FinishReason, Usage
from espalier.solver.core.candidate import BranchAnswer, Candidate, Spec
from espalier.solver.core.policy import Outcome, tally
from espalier.solver.core.problem import Problem
from espalier.verifiers.check import ReferenceCheck
from espalier.verifiers.open import open_verifiers
from espalier.verifiers.verdict import Status


def candidate(index: int, answer: str | None, *steps: str) -> tuple[str, Candidate]:
    stated = tuple(BranchAnswer(((0, number),), text) for number, text in enumerate(steps, start=1))
    return "words", Candidate(Spec(index, 0, 0, 1.0), "", answer, stated, FinishReason.STOP, Usage(), 0.0)


async def test_stored_responses_are_classed_with_their_steps_as_a_solve_classes_them() -> None:
    stored = [candidate(0, "5", "5", "0.5", "1/2"), candidate(1, "7", "0.5", "6"), candidate(2, None, "5")]
    async with open_verifiers() as verifiers:
        found = await judge(verifiers, Problem("p", "How many?", ReferenceCheck("1/2")), stored, steps=False)
    assert [(one.answer_class, [*one.steps], [*one.sharing]) for one in found.responses] == [
        (0, [0, 1, 1], [0, 1, 1]),
        (2, [1, 3], [1, 3]),
        (None, [0], []),
    ]
    assert found.right == 1


def test_votes_are_shared_as_the_policies_share_them() -> None:
    told = [
        Judged("words", 0, 0, 9, 1.0, [0, 1, 1], [0, 1, 1]),
        Judged("words", 1, 2, 9, 0.5, [1, 3], [1, 3]),
        Judged("words", 2, None, 9, 1.0, [3], []),
    ]
    problem = JudgedProblem("p", 1, tuple(told))
    voting = [one for one in told if one.answer_class is not None]
    outcomes = [
        Outcome(one.number, 0, 9, Status.UNKNOWN, one.score, "x", one.answer_class, branch_classes=tuple(one.sharing))
        for one in voting
    ]
    assert scored_shared_votes(problem, told) == pytest.approx(tally(outcomes))
    assert shared_votes(problem, told) == pytest.approx({0: 0.5, 1: 0.5, 2: 1.0})
    assert shared_with_every_step(problem, told) == pytest.approx({0: 0.5, 1: 0.5 + 1 / 3, 2: 1 / 3, 3: 1 / 3})
    assert shared_and_silent(problem, told)[3] == pytest.approx(1 + 1 / 3)
    assert set(won_by_a_conclusion(shared_with_every_step)(problem, told)) == {0, 2}
