"""What a response is worth: the verdict on its answer, and in the first stage how well it keeps to the grammar.

| what happened | outcome | trained |
|---|---|---|
| ended by itself, verdict PASS | +1 | yes |
| ended by itself, verdict FAIL | -1 | yes |
| ended by itself, verdict UNKNOWN or ERROR | none: masked, counted | no |
| truncated: a limit cut it off, so it has no answer | -1 | yes |
| malformed: the engine stopped it at a structural fault | -1, so the group's mean is not that of survivors | if asked |
| the engine failed or refused | none: masked, counted | no |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from espalier.runtime.engine import FinishReason
from espalier.runtime.grammar import FaultKind
from espalier.runtime.structure import Edge, Structure
from espalier.verifiers.verdict import Status

NO_VALID_BLOCK = -1.5
"""No block got as far as its steps."""

FORMAT_SCORES: Mapping[FaultKind, float] = {
    FaultKind.NO_BLOCK: NO_VALID_BLOCK,  # plain text, no block at all
    FaultKind.NO_PLANS: -1.0,  # a later guideline without a plan (a first one makes no valid block)
    FaultKind.MISSING_TAG: -1.0,  # more steps than plans, or text between the last step and the takeaway
    FaultKind.UNEXPECTED_TAG: -1.0,  # fewer steps than plans, or tags in the wrong order
    FaultKind.TOO_MANY_PLANS: -1.0,  # more plans than an engine would open
    FaultKind.TOO_DEEP: -1.0,  # nested deeper than an engine would go
    FaultKind.UNFINISHED: -1.0,  # ends inside its structure: the final answer is missing
    FaultKind.NO_ANSWER: -1.0,  # nothing follows the last block
    FaultKind.EMPTY_PLAN: -0.4,  # a plan that says nothing
    FaultKind.WRONG_LABEL: -0.2,  # a step that does not open as an engine would open it
}
"""The format score of stage 1 for each fault; a response gets that of its worst fault, 0 without one."""


class RolloutStatus(StrEnum):
    """What became of a response, for the counts of a step."""

    PASSED = "passed"
    FAILED = "failed"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    UNKNOWN = "unknown"
    VERIFIER_ERROR = "verifier_error"
    ENGINE_ERROR = "engine_error"


OUTCOMES: Mapping[RolloutStatus, float] = {
    RolloutStatus.PASSED: 1.0,
    RolloutStatus.FAILED: -1.0,
    RolloutStatus.TRUNCATED: -1.0,
    RolloutStatus.MALFORMED: -1.0,
}
"""The outcome reward; statuses that are missing are masked out."""

_BY_VERDICT = {
    Status.PASS: RolloutStatus.PASSED,
    Status.FAIL: RolloutStatus.FAILED,
    Status.UNKNOWN: RolloutStatus.UNKNOWN,
    Status.ERROR: RolloutStatus.VERIFIER_ERROR,
}

JUDGED = frozenset(_BY_VERDICT.values())
"""Statuses that come from a verdict."""

_BY_REASON = {FinishReason.LENGTH: RolloutStatus.TRUNCATED, FinishReason.MALFORMED: RolloutStatus.MALFORMED}


@dataclass(frozen=True, slots=True)
class Reward:
    """A response's worth.

    Attributes:
        status: What became of it.
        value: Outcome plus format score; None: masked out of statistics and gradient.
        trained: Whether its tokens get a gradient.
    """

    status: RolloutStatus
    value: float | None
    trained: bool


def status_of(reason: FinishReason, verdict: Status | None) -> RolloutStatus:
    """What became of a response.

    Args:
        reason: Why the engine ended it.
        verdict: On its answer; only for responses that ended by themselves.
    """
    if reason is FinishReason.STOP and verdict is not None:
        return _BY_VERDICT[verdict]
    return _BY_REASON.get(reason, RolloutStatus.ENGINE_ERROR)


def reward(status: RolloutStatus, format_score: float = 0.0, *, train_malformed: bool = False) -> Reward:
    """The reward of a response; `format_score` is 0 outside of stage 1."""
    outcome = OUTCOMES.get(status)
    value = None if outcome is None else outcome + format_score
    return Reward(status, value, value is not None and (train_malformed or status is not RolloutStatus.MALFORMED))


def format_score(structure: Structure) -> float:
    """How far a response is from the grammar, in [-1.5, 0]; see :data:`FORMAT_SCORES`."""
    if not any(edge is Edge.FORK for _, edge in structure.edges):
        return NO_VALID_BLOCK
    return min((FORMAT_SCORES[fault.kind] for fault in structure.faults), default=0.0)
