"""Which candidate is the answer, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import isclose
from random import Random

from espalier.runtime.engine import FinishReason
from espalier.solver.core.candidate import Candidate, attempt_the_whole, voted
from espalier.solver.core.confidence import Calibration, Votes, other_ways
from espalier.solver.core.policy import outcome_of, tally
from espalier.solver.core.ways import has_failed
from espalier.verifiers import generated_tests, stated_examples
from espalier.verifiers.verdict import Status, Verdict

OF_PROGRAMS = frozenset({generated_tests.DECIDED_BY, stated_examples.DECIDED_BY})
"""What decides about programs that no check judges."""


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
        confidence: Probability that the answer is right: 1 where a check decided, else by a calibration; None where
            there is neither.
        hint: The best answer, where the solve abstained because it was not sure enough of it.
    """

    answer: str | None
    decided_by: DecidedBy
    reason: str
    candidate: int | None = None
    confidence: float | None = None
    hint: str | None = None

    @property
    def verified(self) -> bool:
        """Whether a check, not a vote, decided."""
        return self.decided_by is DecidedBy.CHECK


def select(judged: Sequence[VerifiedCandidate], votes: Mapping[int, float]) -> Selection:
    """PASS beats everything, then the weight of the answer's class; of equals the one that more ways of solving state,
    then the one with fewer tokens.

    An answer with verdict FAIL or ERROR is never chosen. Where no candidate concludes with an answer of the heaviest
    class, the answer is that of a step.

    Args:
        judged: Every candidate.
        votes: Weight of each class of answers, as the policy's state has tallied it.
    """
    answered = [entry for entry in judged if entry.candidate.answer is not None]
    if passed := [entry for entry in answered if entry.verdict.status is Status.PASS]:
        best = _cheapest(passed)
        return _chosen(best, DecidedBy.CHECK, f"satisfied the check ({best.verdict.decided_by})", 1.0)
    open_ones = [entry for entry in answered if entry.verdict.status is Status.UNKNOWN]
    if not open_ones:
        return Selection(None, DecidedBy.NONE, _why_none(judged))

    votes_of = _votes_of(open_ones)

    def weight(number: int | None) -> float:
        return 0.0 if number is None else votes.get(number, 0.0)

    def ways(number: int | None) -> int:
        return len({one.candidate.spec.way for one, stated in votes_of if number in stated})

    def leads(number: int | None) -> bool:
        return isclose(weight(number), heaviest)  # sums of equal shares differ by roundings

    heaviest = max(weight(number) for _, stated in votes_of for number in stated or (None,))
    concluding = [(entry, entry.candidate.answer_class) for entry in open_ones if leads(entry.candidate.answer_class)]
    stating = [(entry, number) for entry, stated in votes_of for number in stated[1:] if leads(number)]
    leading = concluding or stating
    most = max(ways(number) for _, number in leading)
    best, winner = min((one for one in leading if ways(one[1]) == most), key=lambda one: _cost(one[0]))
    said = " and ".join(one.detail for one in best.verdict.evidence if one.rule in OF_PROGRAMS)
    if len({entry.candidate.spec.source for entry in open_ones}) == 1:  # conclusions of the same branches are no vote
        decided_by, reason = DecidedBy.ONLY_CANDIDATE, "the only answer; nothing could confirm or refute it"
        if said:
            reason = f"the only answer, which {said}"
        elif not concluding:
            reason = "more of its steps state it than what they conclude with; nothing could confirm or refute it"
    elif best.verdict.decided_by in OF_PROGRAMS:
        agreeing = sum(entry.candidate.answer_class == winner for entry in open_ones)
        who = (
            f"{agreeing} of {len(open_ones)} programs agree: each"
            if agreeing > 1
            else f"the best of {len(open_ones)} programs"
        )
        probed = next((one.detail for one in best.verdict.evidence if one.rule == stated_examples.PROBED), None)
        if agreeing > 1 and probed:
            said += f" and gives the same for {probed}"
        decided_by, reason = DecidedBy.CONSENSUS, f"{who} {said}; no check has confirmed it"
    else:
        share = f"{heaviest:.3g} of {sum(votes.values()):.3g} votes by weight"
        if most > 1:
            share += f", from {most} ways of solving"
        if not concluding:
            share += ", of steps whose candidates conclude otherwise"
        decided_by, reason = DecidedBy.CONSENSUS, f"{share}; no check has confirmed it"
    if concluding:
        return _chosen(best, decided_by, reason)
    answer = next(one.answer for one in best.candidate.branch_answers if one.answer_class == winner)
    return Selection(answer, decided_by, reason, best.candidate.spec.index)


@dataclass(frozen=True, slots=True)
class Trust:
    """How far answers are trusted that no check has confirmed.

    Attributes:
        calibration: Turns votes into a probability; None: nothing does.
        min_confidence: An answer that is less sure is not given: the solve abstains, and names it as a hint. 0: never.
    """

    calibration: Calibration | None = None
    min_confidence: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.min_confidence <= 1:
            raise ValueError(f"min_confidence must be in [0, 1], got {self.min_confidence}")
        if self.min_confidence and self.calibration is None:
            raise ValueError("min_confidence needs a calibration: without one nothing says how sure an answer is")

    def weigh(self, selection: Selection, judged: Sequence[VerifiedCandidate], votes: Mapping[int, float]) -> Selection:
        """A selection by votes with its confidence, or without its answer where that is too low."""
        if selection.answer is None or selection.verified or self.calibration is None:
            return selection
        confidence = self.calibration.confidence(votes_on(judged, votes))
        if confidence >= self.min_confidence:
            return replace(selection, confidence=confidence)
        reason = f"{selection.answer} is right with probability {confidence:.2f}, below {self.min_confidence:g}"
        return Selection(None, DecidedBy.NONE, reason, confidence=confidence, hint=selection.answer)


def votes_on(judged: Sequence[VerifiedCandidate], votes: Mapping[int, float]) -> Votes:
    """What a calibration sees of a solve.

    Args:
        judged: Every candidate.
        votes: Weight of each class of answers, as the policy's state has tallied it.
    """
    votes_of = [
        (entry.candidate, stated)
        for entry, stated in _votes_of(judged)
        if entry.candidate.reason is not FinishReason.ABORTED
    ]
    ended = [candidate for candidate, _ in votes_of]
    failed = {entry.candidate.spec.index for entry in judged if has_failed(entry.verdict)}
    heard = {
        candidate.spec.source
        for candidate in ended
        if candidate.answer is not None
        and candidate.spec.index not in failed
        and (candidate.examples is None or candidate.answer_class in votes)
    }
    silent = len({candidate.spec.source for candidate in ended} - heard)
    classes, ways = [stated for _, stated in votes_of], [one.spec.way for one in ended]
    heaviest = max(votes.values(), default=0.0)
    leading = [number for number, weight in votes.items() if isclose(weight, heaviest)]
    agreement = max((other_ways(classes, ways, number) for number in leading), default=0.0)  # as `select` prefers it
    examples = next((one.examples for one in ended if one.answer_class in leading), None)
    return Votes(tuple(votes.values()), silent, agreement, examples)


def subsets(judged: Sequence[VerifiedCandidate], rng: Random) -> list[tuple[Votes, Selection]]:
    """Votes, and what they select, of solves that would have ended with 2, 4, 8, … of these candidates; those without
    any vote are left out.

    A model that is fitted on these can be asked after any number of candidates.

    Args:
        judged: Every candidate, with indices of their own.
        rng: Draws the subsets.
    """
    found = []
    size = 2
    while size <= len(judged):
        drawn = [judged[index] for index in rng.sample(range(len(judged)), size)]
        votes = tally(outcome_of(one.candidate, one.verdict) for one in drawn)
        if votes:
            found.append((votes_on(drawn, votes), select(drawn, votes)))
        size *= 2
    return found


def _votes_of(judged: Sequence[VerifiedCandidate]) -> list[tuple[VerifiedCandidate, tuple[int, ...]]]:
    """Each candidate with the classes that its vote is shared between, as tallied: none where it weighs nothing."""
    heard = [outcome_of(entry.candidate, entry.verdict).weight > 0 for entry in judged]
    whole = attempt_the_whole(entry.candidate for entry, weighs in zip(judged, heard, strict=True) if weighs)
    return [
        (entry, voted(entry.candidate, whole) if weighs else ()) for entry, weighs in zip(judged, heard, strict=True)
    ]


def _cheapest(judged: Sequence[VerifiedCandidate]) -> VerifiedCandidate:
    return min(judged, key=_cost)


def _cost(entry: VerifiedCandidate) -> tuple[int, int]:
    return entry.candidate.usage.new_tokens, entry.candidate.spec.index


def _chosen(entry: VerifiedCandidate, decided_by: DecidedBy, reason: str, confidence: float | None = None) -> Selection:
    return Selection(entry.candidate.answer, decided_by, reason, entry.candidate.spec.index, confidence)


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
