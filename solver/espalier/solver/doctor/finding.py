"""What a check has found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FindingState(StrEnum):
    """How one part stands."""

    OK = "ok"
    NOTE = "note"
    """Something optional is missing, or could be better. Work goes on."""
    PROBLEM = "problem"
    """Something does not work."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        state: How it stands.
        detail: What was found.
        advice: What to do about it; empty when nothing has to be done.
    """

    state: FindingState
    detail: str
    advice: str = ""


def ok(detail: str) -> Finding:
    """All is well."""
    return Finding(FindingState.OK, detail)


def note(detail: str, advice: str) -> Finding:
    """Something optional is missing."""
    return Finding(FindingState.NOTE, detail, advice)


def problem(detail: str, advice: str) -> Finding:
    """Something does not work."""
    return Finding(FindingState.PROBLEM, detail, advice)
