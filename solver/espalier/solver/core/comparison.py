"""Which answers are worth a comparison: a tournament that spends where the vote is undecided. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from espalier.solver.core.policy import Outcome, PolicyState, tally
from espalier.solver.core.votes import leader_probability

FIRST_COST = 2.0
"""New tokens of a comparison before one has been made: a letter in each order."""


def next_pair(state: PolicyState, certainty: float) -> tuple[Outcome, Outcome] | None:
    """Representatives of the leading class and of its strongest rival that have not been compared yet.

    None where the leader is certain enough, where there is no rival, and where all has been compared.
    """
    if leader_probability(state.votes) >= certainty:
        return None
    members: dict[int, list[Outcome]] = {}
    for outcome in sorted(state.outcomes, key=lambda one: (one.tokens, one.index)):
        if outcome.answer_class is not None and outcome.weight > 0:
            members.setdefault(outcome.answer_class, []).append(outcome)
    ranked = [number for number in state.votes if number in members]
    if not ranked:
        return None
    leader, *rivals = ranked
    done = {frozenset(one.candidates) for one in state.comparisons}
    for rival in rivals:
        pairs = [(a, b) for a in members[leader] for b in members[rival]]
        ranks = sorted(range(len(pairs)), key=lambda at: sum(divmod(at, len(members[rival]))))
        for at in ranks:
            if frozenset(one.index for one in pairs[at]) not in done:
                return pairs[at]
    return None


def gain(votes: Mapping[int, float], weight: float) -> float:
    """How far one more vote of this weight is expected to settle who leads: the fall of the variance of "the leader is
    ahead", with the vote for the leader or its rival as their votes so far make likely.
    """
    leader, rival, *_ = (*votes.values(), 0.0, 0.0)
    likely = (leader + 1) / (leader + rival + 2)

    def variance(a: float, b: float) -> float:
        ahead = leader_probability({0: a, 1: b})
        return ahead * (1 - ahead)

    later = likely * variance(leader + weight, rival) + (1 - likely) * variance(leader, rival + weight)
    return variance(leader, rival) - later


def comparing_pays(state: PolicyState) -> bool:
    """Whether one more comparison settles more for each new token than one more candidate.

    Both are measured by what this solve has seen: a candidate costs and weighs what candidates have on average, those
    without a vote included. A comparison costs what comparisons have, and weighs as much as they were decided: a model
    that contradicts itself when the order is swapped says 1/2, which weighs nothing.
    """
    if not state.outcomes:
        return False
    votes = state.votes
    decided = [abs(2 * one.score - 1) for one in state.comparisons]
    by_comparing = gain(votes, fmean(decided) if decided else 1.0)
    candidates = len({one.source for one in state.outcomes})  # each with its re-joins: they share its vote and add cost
    by_sampling = gain(votes, sum(tally(state.outcomes).values()) / candidates)
    cost = max(fmean(one.tokens for one in state.comparisons) if state.comparisons else FIRST_COST, 1.0)
    return by_comparing / cost > by_sampling / max(sum(one.tokens for one in state.outcomes) / candidates, 1.0)
