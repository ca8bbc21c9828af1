"""Which candidate is the answer, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from espalier.solver.core.candidate import Candidate
from espalier.solver.core.policy import outcome_of
from espalier.solver.core.votes import tally
from espalier.verifiers.verdict import Status, Verdict


class DecidedBy(StrEnum):
    """What an answer rests on."""

    CHECK = "check"
    """It satisfied the problem's check. The only case in which an answer counts as verified."""
    CONSENSUS = "consensus"
    """More weight of votes than for any other answer."""
    ONLY_CANDIDATE = "only_candidate"
    """A single candidate gave an answer that could be neither refuted nor confirmed."""
    NONE = "none"
    """There is no answer."""


@dataclass(frozen=True, slots=True)
class VerifiedCandidate:
    """A candidate with its verdict."""

    candidate: Candidate
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Selection:
    """The answer, or that there is none.

    Attributes:
        answer: None when the problem is unsolved.
        decided_by: See :class:`DecidedBy`.
        reason: The same in words, for people.
        candidate: Index of the candidate that it comes from.
    """

    answer: str | None
    decided_by: DecidedBy
    reason: str
    candidate: int | None = None

    @property
    def verified(self) -> bool:
        """Whether a check, not a vote, decided."""
        return self.decided_by is DecidedBy.CHECK


def select(judged: Sequence[VerifiedCandidate]) -> Selection:
    """PASS beats everything, then the weight of the answer's class; of equals the one with fewer tokens.

    An answer with verdict FAIL or ERROR is never chosen.
    """
    answered = [entry for entry in judged if entry.candidate.answer is not None]
    if passed := [entry for entry in answered if entry.verdict.status is Status.PASS]:
        best = _cheapest(passed)
        return _chosen(best, DecidedBy.CHECK, f"satisfied the check ({best.verdict.decided_by})")
    open_ones = [entry for entry in answered if entry.verdict.status is Status.UNKNOWN]
    if not open_ones:
        return Selection(None, DecidedBy.NONE, _why_none(judged))
    weights = tally(outcome_of(entry.candidate, entry.verdict) for entry in open_ones)

    def weight(entry: VerifiedCandidate) -> float:
        number = entry.candidate.answer_class
        return 0.0 if number is None else weights.get(number, 0.0)

    heaviest = max(weight(entry) for entry in open_ones)
    best = _cheapest([entry for entry in open_ones if weight(entry) == heaviest])
    if len(open_ones) == 1:
        return _chosen(best, DecidedBy.ONLY_CANDIDATE, "the only answer; nothing could confirm or refute it")
    share = f"{heaviest:.3g} of {sum(weights.values()):.3g} votes by weight"
    return _chosen(best, DecidedBy.CONSENSUS, f"{share}; no check has confirmed it")


def _cheapest(judged: Sequence[VerifiedCandidate]) -> VerifiedCandidate:
    return min(judged, key=lambda entry: (entry.candidate.usage.new_tokens, entry.candidate.spec.index))


def _chosen(entry: VerifiedCandidate, decided_by: DecidedBy, reason: str) -> Selection:
    return Selection(entry.candidate.answer, decided_by, reason, entry.candidate.spec.index)


def _why_none(judged: Sequence[VerifiedCandidate]) -> str:
    if not judged:
        return "no candidate came to its end"
    count = len(judged)
    silent = sum(entry.candidate.answer is None for entry in judged)
    failed = sum(entry.verdict.status is Status.FAIL and entry.candidate.answer is not None for entry in judged)
    errors = sum(entry.verdict.status is Status.ERROR and entry.candidate.answer is not None for entry in judged)
    parts = [
        f"{number} {what}"
        for number, what in ((failed, "failed the check"), (silent, "gave no answer"), (errors, "could not be judged"))
        if number
    ]
    return f"of {count} candidate{'s' if count > 1 else ''} " + ", ".join(parts)
