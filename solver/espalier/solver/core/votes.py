"""Votes over equivalence classes of answers."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from functools import lru_cache

from espalier.solver.core.policy import Outcome
from espalier.verifiers.consensus import posterior_ahead


def tally(outcomes: Iterable[Outcome]) -> dict[int, float]:
    """Weight of each class, heaviest first; classes of equal weight in the order of their numbers."""
    weights: dict[int, float] = {}
    for outcome in outcomes:
        if outcome.answer_class is not None and outcome.weight > 0:
            weights[outcome.answer_class] = weights.get(outcome.answer_class, 0.0) + outcome.weight
    return dict(sorted(weights.items(), key=lambda item: (-item[1], item[0])))


def leader_probability(outcomes: Iterable[Outcome]) -> float:
    """Posterior probability that the heaviest class is ahead of the next one; 0.5 where nobody has voted."""
    leader, runner_up, *_ = (*tally(outcomes).values(), 0.0, 0.0)
    return _ahead(leader, runner_up)


def votes_needed(outcomes: Iterable[Outcome], certainty: float, most: int) -> int:
    """The smallest number of further votes that could settle a vote: all for the leader, each of full weight.

    Args:
        outcomes: The votes so far.
        certainty: Of the lead that settles it.
        most: What more than so many comes to, and a vote that nobody has taken part in; at least 1.

    Returns:
        1 to `most`.
    """
    weights = tuple(tally(outcomes).values())
    if not weights:
        return most
    leader, runner_up, *_ = (*weights, 0.0)
    return 1 + bisect_left(range(1, most), certainty, key=lambda votes: _ahead(leader + votes, runner_up))


@lru_cache(maxsize=1 << 12)
def _ahead(votes: float, rival: float) -> float:
    """A policy recalls its earlier rounds with every outcome; their probabilities are computed once."""
    return posterior_ahead(votes, rival)
