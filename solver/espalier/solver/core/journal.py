"""Where finished work is kept, so that an interrupted solve resumes: the candidate is the unit of recovery."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from espalier.solver.core.candidate import Candidate
from espalier.verifiers.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Entry:
    """A candidate that an earlier run stored, or a response that writes tests; `verdict` is None when it was not judged
    any more.
    """

    candidate: Candidate
    verdict: Verdict | None = None


class Journal(Protocol):
    """Keeps candidates and verdicts. A solve waits for it: what it has not stored does not count."""

    async def generated(self, candidate: Candidate) -> None:
        """Store a candidate before it is judged, or a response that writes tests before they are used."""
        ...

    async def judged(self, candidate: Candidate, verdict: Verdict) -> None:
        """Store a verdict, before the policy is told."""
        ...


class NoJournal:
    """Keeps nothing: a solve that is interrupted starts again."""

    async def generated(self, candidate: Candidate) -> None:
        pass

    async def judged(self, candidate: Candidate, verdict: Verdict) -> None:
        pass
