"""What a comparison found: equal, different or undecided, and by which rule."""

from __future__ import annotations

from dataclasses import dataclass

UNREADABLE = "unreadable"
TOO_COSTLY = "too_costly"


@dataclass(frozen=True, slots=True)
class Equality:
    """The result of a comparison.

    Attributes:
        equal: True, False, or None when it could not be decided.
        rule: What decided, with the stated error where it is not a proof.
        cause: Why an answer fails without a comparison: :data:`UNREADABLE` or :data:`TOO_COSTLY`.
        doubtful: It is undecided on purpose: the values agree, and whether more was meant cannot be told.
    """

    equal: bool | None
    rule: str
    doubtful: bool = False
    cause: str = ""


def doubt(rule: str) -> Equality:
    """Values that agree where one side says more than the other: neither equal nor different."""
    return Equality(None, rule, doubtful=True)


def unless_different(outcome: Equality, rule: str) -> Equality:
    """Doubt where two sides are equal but for something that one of them says."""
    return doubt(rule) if outcome.equal else outcome


def every(outcomes: list[Equality], rule: str) -> Equality:
    """Equal if all are, different if one is, else undecided."""
    for outcome in outcomes:
        if outcome.equal is False:
            return Equality(False, f"{rule}: {outcome.rule}")
    for outcome in outcomes:
        if outcome.equal is None:
            return Equality(None, f"{rule}: {outcome.rule}", all(one.equal or one.doubtful for one in outcomes))
    details = sorted({outcome.rule for outcome in outcomes})
    return Equality(True, f"{rule} ({', '.join(details)})" if details else rule)
