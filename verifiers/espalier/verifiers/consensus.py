"""Votes when there is no reference: classes of equivalent answers, and how sure the lead of a class is."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from flint import arb

from espalier.verifiers.verdict import Evidence, Status, Verdict


@dataclass(frozen=True, slots=True)
class EquivalenceClass:
    """Answers that mean the same.

    Attributes:
        members: Indices into the answers that were voted on, ascending.
        representative: The answer that the others were compared with.
        weight: The sum of the members' weights.
    """

    members: tuple[int, ...]
    representative: str
    weight: float


@dataclass(frozen=True, slots=True)
class Vote:
    """A class of equivalent claims, and how sure its lead is.

    Attributes:
        found: The class; a claim that states no answer is in none.
        verdict: Decided by consensus, never PASS; its score is the posterior that the class is ahead.
    """

    found: EquivalenceClass
    verdict: Verdict


async def equivalence_classes(
    answers: Sequence[str],
    *,
    key: Callable[[str], Awaitable[Hashable]],
    same: Callable[[str, str], Awaitable[bool]],
    weights: Sequence[float] | None = None,
) -> tuple[EquivalenceClass, ...]:
    """Group answers by equivalence, the heaviest class first.

    Answers of one key are one class without a comparison, so that n answers cost about n keys and only the few distinct
    keys are compared in pairs. Each is compared with the representative of a class, the first answer of the most
    frequent key, not with every member: "5" equals "5 cm" and "5 kg", which must not make these two equal.

    Args:
        answers: The answers, as extracted.
        key: A canonical form: equal keys mean equivalent answers.
        same: Whether two answers are equivalent.
        weights: The weight of each vote, not negative; 1 each when None.

    Raises:
        ValueError: The weights do not fit the answers.
    """
    votes = _weights(answers, weights)
    keys = await asyncio.gather(*(key(answer) for answer in answers))
    by_key: dict[Hashable, list[int]] = {}
    for index, form in enumerate(keys):
        by_key.setdefault(form, []).append(index)
    merged: list[list[int]] = []
    for members in sorted(by_key.values(), key=lambda members: (-len(members), members[0])):
        for group in merged:
            if await same(answers[group[0]], answers[members[0]]):
                group.extend(members)
                break
        else:
            merged.append(list(members))
    return _classes(merged, answers, votes)


def classes_by_output(
    outputs: Sequence[Hashable], names: Sequence[str], weights: Sequence[float] | None = None
) -> tuple[EquivalenceClass, ...]:
    """Group programs by what they print on the same inputs.

    Args:
        outputs: For each program its outputs, one hashable value; two programs are equivalent when these are equal.
        names: What represents each program, for example its source.
        weights: As for :func:`equivalence_classes`.
    """
    votes = _weights(names, weights)
    groups: dict[Hashable, list[int]] = {}
    for index, output in enumerate(outputs):
        groups.setdefault(output, []).append(index)
    return _classes(list(groups.values()), names, votes)


def _weights(answers: Sequence[str], weights: Sequence[float] | None) -> Sequence[float]:
    votes = [1.0] * len(answers) if weights is None else weights
    if len(votes) != len(answers):
        raise ValueError(f"weights: {len(votes)} given for {len(answers)} answers")
    if any(not math.isfinite(vote) or vote < 0 for vote in votes):
        raise ValueError("weights: each must be finite and not negative")
    return votes


def _classes(groups: list[list[int]], answers: Sequence[str], votes: Sequence[float]) -> tuple[EquivalenceClass, ...]:
    classes = [
        EquivalenceClass(tuple(sorted(group)), answers[group[0]], math.fsum(votes[index] for index in group))
        for group in groups
    ]
    return tuple(sorted(classes, key=lambda found: (-found.weight, found.members[0])))


def posterior_ahead(votes: float, rival: float) -> float:
    """The probability that an answer is given more often than its rival, from their votes.

    With a uniform prior Beta(1, 1) on the share p of the answer among the votes for the two, the posterior is
    Beta(votes + 1, rival + 1), and this is its mass above 1/2 (the stopping rule of Aggarwal et al. 2023, "Let's Sample
    Step by Step", eq. 3). Whole votes: the exact sum P(Binomial(votes + rival + 1, 1/2) <= votes); other weights: the
    regularised incomplete beta function to 53 bits.

    Raises:
        ValueError: A negative number of votes.
    """
    if votes < 0 or rival < 0:
        raise ValueError(f"votes must not be negative, got {votes} and {rival}")
    if float(votes).is_integer() and float(rival).is_integer() and votes + rival < 10_000:
        trials = int(votes) + int(rival) + 1
        favourable = sum(math.comb(trials, count) for count in range(int(votes) + 1))
        return float(Fraction(favourable, 1 << trials))
    above = 1 - arb(1) / 2
    mass = above.beta_lower(arb(rival) + 1, arb(votes) + 1, regularized=True)
    return min(1.0, max(0.0, float(mass)))


def vote(classes: Sequence[EquivalenceClass]) -> tuple[Verdict, ...]:
    """One verdict for each class, never PASS: agreement is evidence, not proof.

    The score of a class is the posterior that it is ahead of the strongest other class (:func:`posterior_ahead`).
    """
    total = math.fsum(found.weight for found in classes)
    return tuple(_verdict(classes, index, total) for index in range(len(classes)))


def _verdict(classes: Sequence[EquivalenceClass], index: int, total: float) -> Verdict:
    own = classes[index]
    rival = max((found.weight for other, found in enumerate(classes) if other != index), default=0.0)
    score = posterior_ahead(own.weight, rival)
    detail = f"{own.weight:g} of {total:g} votes for {own.representative!r}, {rival:g} for the strongest other answer"
    return Verdict(Status.UNKNOWN, score, "consensus", (Evidence("votes", detail),))
