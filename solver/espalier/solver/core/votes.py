"""Weights of equivalence classes of answers: what has changed, and when a vote is settled."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from functools import lru_cache

from espalier.verifiers.consensus import posterior_ahead


def changed(before: Mapping[int, float], after: Mapping[int, float]) -> dict[int, float]:
    """The classes whose weight is another one than before, with their weight now: 0 where they have none any more."""
    return {
        number: after.get(number, 0.0)
        for number in before.keys() | after.keys()
        if before.get(number) != after.get(number)
    }


def leader_probability(votes: Mapping[int, float]) -> float:
    """Posterior probability that the heaviest class is ahead of the next one; 0.5 without votes.

    Args:
        votes: Weight of each class, the heaviest first.
    """
    leader, runner_up, *_ = (*votes.values(), 0.0, 0.0)
    return _ahead(leader, runner_up)


def votes_needed(votes: Mapping[int, float], certainty: float, most: int) -> int:
    """The smallest number of further votes that could settle a vote: all for the leader, each of full weight.

    Args:
        votes: Weight of each class so far, the heaviest first.
        certainty: Probability of the leader that settles the vote.
        most: The result where more would be needed, or where there are no votes; at least 1.

    Returns:
        1 to `most`.
    """
    if not votes:
        return most
    leader, runner_up, *_ = (*votes.values(), 0.0)
    return 1 + bisect_left(range(1, most), certainty, key=lambda further: _ahead(leader + further, runner_up))


@lru_cache(maxsize=1 << 12)
def _ahead(votes: float, rival: float) -> float:
    """A policy asks for its earlier rounds again with every outcome; their probabilities are computed once."""
    return posterior_ahead(votes, rival)
