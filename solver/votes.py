"""Votes over equivalence classes of answers."""

from __future__ import annotations

from collections.abc import Iterable

from espalier.solver.policy import Outcome
from espalier.verifiers.consensus import posterior_ahead


def tally(outcomes: Iterable[Outcome]) -> dict[int, float]:
    """Weight of each class, heaviest first; classes of equal weight in the order of their numbers."""
    weights: dict[int, float] = {}
    for outcome in outcomes:
        if outcome.answer_class is not None and outcome.weight > 0:
            weights[outcome.answer_class] = weights.get(outcome.answer_class, 0.0) + outcome.weight
    return dict(sorted(weights.items(), key=lambda item: (-item[1], item[0])))


def lead(outcomes: Iterable[Outcome]) -> float:
    """Posterior probability that the heaviest class is ahead of the next one; 0.5 where nobody has voted."""
    leader, runner_up, *_ = (*tally(outcomes).values(), 0.0, 0.0)
    return posterior_ahead(leader, runner_up)
