"""Scorers for inspect_ai. What has no verdict is unscored: kept in the log, and left out of every metric."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from inspect_ai.scorer import CORRECT, INCORRECT, Score, Scorer, Target, accuracy, scorer, stderr
from inspect_ai.solver import TaskState

from espalier.verifiers.answer import answer_of
from espalier.verifiers.check import Check, Claim
from espalier.verifiers.integrations.blocking import shared_verdict
from espalier.verifiers.integrations.truths import math_check, program_check
from espalier.verifiers.verdict import Status

_VALUES = {Status.PASS: CORRECT, Status.FAIL: INCORRECT}


@scorer(metrics=[accuracy(), stderr()], name="espalier_math")
def math_scorer() -> Scorer:
    """Compares the answer of a completion with the target: a reference, or a check as `espalier verify` writes it."""
    return _scorer(math_check)


@scorer(metrics=[accuracy(), stderr()], name="espalier_program")
def program_scorer() -> Scorer:
    """Runs the program of a completion in Espalier's sandbox on the target: a JSON list of cases or a whole check."""
    return _scorer(program_check)


def _scorer(check_of: Callable[[Any, str], Check]) -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        check, claim = check_of(target.text, "target"), Claim(state.output.completion)
        verdict = await shared_verdict(claim, check)
        stated = answer_of(claim, check)
        said = verdict.feedback or "; ".join(one.detail for one in verdict.evidence)
        told: dict[str, Any] = {
            "answer": None if stated is None else stated.text,
            "explanation": said or verdict.decided_by,
            "metadata": {"status": verdict.status.value, "decided_by": verdict.decided_by, "score": verdict.score},
        }
        value = _VALUES.get(verdict.status)
        return Score.unscored(reason="scoring_failed", **told) if value is None else Score(value=value, **told)

    return score
