"""The verdict on a claim, and what it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """The four values of a verdict.

    FAIL is about the claim; ERROR is about the verifier (time-out, dead sandbox, bug): it is retried, then left out of
    votes and masked out of the gradient. UNKNOWN means that nothing could be checked.
    """

    PASS = "pass"  # noqa: S105 (a verdict, not a password)
    FAIL = "fail"
    UNKNOWN = "unknown"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Evidence:
    """One observation behind a verdict: the rule that made it, and what it saw."""

    rule: str
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of one claim.

    Attributes:
        status: See :class:`Status`.
        score: In [0, 1]. 1 for PASS, 0 for FAIL; between them partial evidence (share of cases passed, share of
            true equalities, posterior of a vote). Meaningless for ERROR.
        decided_by: The rule, check or method that decided ("reference", "constraints", "program", "consensus", …).
        evidence: What was extracted, how it was parsed, which rule decided.
        feedback: What was wrong, in words that fit a repair prompt; empty when there is nothing to repair.
    """

    status: Status
    score: float
    decided_by: str
    evidence: tuple[Evidence, ...] = ()
    feedback: str = ""

    def __post_init__(self) -> None:
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f"score must be in [0, 1], got {self.score}")

    @property
    def passed(self) -> bool:
        return self.status is Status.PASS
