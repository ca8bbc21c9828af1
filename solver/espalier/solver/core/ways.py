"""Ways of solving: in words, or as a program that prints the answer. An answer of several ways is worth more."""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import StrEnum

from espalier.verifiers.check import ProgramCheck, ProgramLimits, RunCase
from espalier.verifiers.verdict import Evidence, Status, Verdict

DECIDED_BY = "program_output"

PROGRAM = ProgramCheck(())
"""The form of an answer that is a program: the last fence with Python in a response."""

RUN = ProgramCheck((RunCase(),), limits=ProgramLimits(case_seconds=5.0, total_seconds=5.0))
"""Runs a program for what it prints."""

LONGEST = 4000
"""Characters of a failed program's words that a repair is told."""


class Way(StrEnum):
    """How a candidate is asked to solve its problem."""

    WORDS = "words"
    """As the problem is put."""
    PROGRAM = "program"
    """By a Python program: what it prints last is the answer."""


def ways_of(names: Iterable[str]) -> tuple[Way, ...]:
    """The ways of these names.

    Raises:
        ValueError: One names none, or is named twice.
    """
    chosen = []
    for name in names:
        if name not in tuple(Way):
            raise ValueError(f"unknown way {name[:80]!r}; there are: {', '.join(Way)}")
        if name in chosen:
            raise ValueError(f"the way {name} is named twice")
        chosen.append(Way(name))
    return tuple(chosen)


def printed(ran: Verdict) -> str | None:
    """The last line that a program printed, from the verdict of RUN on it; None if it printed nothing."""
    lines = [line.strip() for line in str(_record(ran).get("got", "")).splitlines()]
    return next((line for line in reversed(lines) if line), None)


def evidence(ran: Verdict) -> Verdict:
    """What a program's run is worth by itself: UNKNOWN with what it printed; FAIL with its error; ERROR as it is."""
    if ran.status is Status.ERROR:
        return ran
    if ran.passed:
        return Verdict(Status.UNKNOWN, 1.0, DECIDED_BY, (Evidence(DECIDED_BY, f"the program prints {printed(ran)}"),))
    record = _record(ran)
    reason = str(record.get("reason", "it did not run"))
    said = str(record.get("stderr", "")).strip()[-LONGEST:]
    feedback = f"The program failed: {reason}." + (f"\n\nStandard error:\n{said}" if said else "")
    return Verdict(Status.FAIL, 0.0, DECIDED_BY, (Evidence(DECIDED_BY, f"the program failed: {reason}"),), feedback)


def has_failed(verdict: Verdict) -> bool:
    """Whether a candidate's program failed, by the verdict that `evidence` gives."""
    return verdict.status is Status.FAIL and verdict.decided_by == DECIDED_BY


def _record(ran: Verdict) -> dict[str, object]:
    found = next((one.detail for one in ran.evidence if one.rule.startswith("case ")), "{}")
    record: dict[str, object] = json.loads(found)
    return record
