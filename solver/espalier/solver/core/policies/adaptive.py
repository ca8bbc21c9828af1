"""Few candidates first, more while nothing is settled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from espalier.solver.core.comparison import comparing_pays
from espalier.solver.core.policies.rounds import Rounds
from espalier.solver.core.policy import Outcome, PairComparison, PolicyState, Stop, stop, tally
from espalier.solver.core.votes import leader_probability, votes_needed


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptive(Rounds):
    """Doubles the number of candidates round by round: 2, 4, 8, … up to k in all.

    Stops at the first PASS. Where no check can say PASS it votes: equivalence classes of answers, each vote weighted by
    its verdict's score, until the leading class is ahead of the runner-up with probability `certainty`. A round then
    has no more candidates than votes could settle it: fewer never would, and those beyond may not be needed.

    Attributes:
        first: Candidates of the first round.
        certainty: Posterior probability (Beta(1, 1) prior) that ends a vote.
    """

    name: ClassVar[str] = "adaptive"

    first: int = 2
    certainty: float = 0.95

    def __post_init__(self) -> None:
        # Not super(): a slotted dataclass is a new class, and the zero-argument form still means the old one.
        Rounds.__post_init__(self)
        if self.first < 1:
            raise ValueError(f"first must be at least 1, got {self.first}")
        if not 0.5 < self.certainty < 1:
            raise ValueError(f"certainty must be between 0.5 and 1, got {self.certainty}")

    def size(self, left: int, past: tuple[Outcome, ...]) -> int:
        most = min(max(self.first, sum(outcome.rejoin is None for outcome in past)), left)
        return votes_needed(tally(past), self.certainty, most)

    def settled(self, outcomes: tuple[Outcome, ...]) -> bool:
        return leader_probability(tally(outcomes)) >= self.certainty

    def compare(self, state: PolicyState) -> tuple[Outcome, Outcome] | None:
        """Compares between rounds, too, where that settles more for its tokens than a candidate would."""
        if state.stopped is None and state.budget.comparisons and comparing_pays(state):
            return self._pair(state, self.certainty)
        return Rounds.compare(self, state)

    def compared(self, state: PolicyState, comparison: PairComparison) -> PolicyState:
        state = Rounds.compared(self, state, comparison)
        settled = leader_probability(state.votes) >= self.certainty
        return stop(state, Stop.CONSENSUS) if settled else state
