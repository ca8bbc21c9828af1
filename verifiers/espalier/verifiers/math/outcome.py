"""What a comparison found: equal, different or undecided, and by which rule."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a comparison.

    Attributes:
        equal: True, False, or None when it could not be decided.
        rule: What decided, with the stated error where it is not a proof.
    """

    equal: bool | None
    rule: str


def every(outcomes: list[Outcome], rule: str) -> Outcome:
    """Equal if all are, different if one is, else undecided."""
    for outcome in outcomes:
        if outcome.equal is False:
            return Outcome(False, f"{rule}: {outcome.rule}")
    for outcome in outcomes:
        if outcome.equal is None:
            return Outcome(None, f"{rule}: {outcome.rule}")
    details = sorted({outcome.rule for outcome in outcomes})
    return Outcome(True, f"{rule} ({', '.join(details)})" if details else rule)
