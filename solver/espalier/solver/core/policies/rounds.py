"""What all policies share: candidates come in rounds, and every limit of the budget is hard."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, replace
from typing import ClassVar

from espalier.common.seeds import derive_seed
from espalier.solver.core.candidate import Candidate, Repair, Spec
from espalier.solver.core.comparison import next_pair
from espalier.solver.core.policy import MIN_TOKENS, Outcome, PairComparison, PolicyState, Stop, outcome_of
from espalier.solver.core.ways import Way
from espalier.verifiers.verdict import Status, Verdict

REJOIN_TEMPERATURE = 1.0
"""Of re-joins of a candidate that was sampled at temperature 0: they would all repeat its conclusion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """The base of all policies: how large the next round is, and a rule for stopping between tells.

    A round is a function of the outcomes of the rounds before it, so `ask` needs no memory of what it said. Where the
    budget has re-joins, a round has two halves: its candidates, and when all of them are told, further conclusions of
    their branches. Re-joins are numbered behind the k candidates: the j-th one of candidate i is number j·k + i.

    Attributes:
        temperatures: A ladder for diversity: candidate i samples at rung i, from the start again after the last.
        hints: Strategies for diversity, handed out in turn and appended to the problem; none by default.
        ways: Ways of solving, handed out in turn; none: as the problem is put. A repair goes its candidate's way.
    """

    name: ClassVar[str]

    temperatures: tuple[float, ...] = (1.0,)
    hints: tuple[str, ...] = ()
    ways: tuple[Way, ...] = ()

    def __post_init__(self) -> None:
        if not self.temperatures:
            raise ValueError("temperatures must not be empty")
        for temperature in self.temperatures:
            if not temperature >= 0:
                raise ValueError(f"temperature must be at least 0, got {temperature}")

    def size(self, left: int, past: tuple[Outcome, ...]) -> int:
        """Candidates of the next round.

        Args:
            left: How many there may still be; at least 1.
            past: Outcomes of the rounds before: of each of their candidates, then of their re-joins.

        Returns:
            1 to `left`, or 0 when the policy wants no further round.
        """
        raise NotImplementedError

    def settled(self, outcomes: tuple[Outcome, ...]) -> bool:
        """Whether the answer is clear without a PASS."""
        return False

    def repairs(self, size: int, past: tuple[Outcome, ...]) -> tuple[Repair, ...]:
        """What the first candidates of a round of `size` have to put right; the others are fresh samples."""
        return ()

    def ask(self, state: PolicyState) -> tuple[Spec, ...]:
        """See :meth:`espalier.solver.core.policy.Policy.ask`."""
        following = self._next(state)
        return () if isinstance(following, Stop) else following

    def tell(self, state: PolicyState, candidate: Candidate, verdict: Verdict) -> PolicyState:
        """See :meth:`espalier.solver.core.policy.Policy.tell`."""
        if state.stopped or any(outcome.index == candidate.spec.index for outcome in state.outcomes):
            return state
        outcomes = list(state.outcomes)
        insort(outcomes, outcome_of(candidate, verdict), key=lambda outcome: outcome.index)
        state = replace(state, outcomes=tuple(outcomes))
        following = self._next(state)
        return replace(state, stopped=following) if isinstance(following, Stop) else state

    def compare(self, state: PolicyState) -> tuple[Outcome, Outcome] | None:
        """See :meth:`espalier.solver.core.policy.Policy.compare`. Compares when sampling has come to a limit."""
        sampled = state.stopped in (Stop.CANDIDATES, Stop.TOKENS, Stop.ROUNDS)
        return self._pair(state) if sampled else None

    def compared(self, state: PolicyState, comparison: PairComparison) -> PolicyState:
        """See :meth:`espalier.solver.core.policy.Policy.compared`."""
        return replace(state, comparisons=(*state.comparisons, comparison))

    def _pair(self, state: PolicyState, certainty: float = 0.95) -> tuple[Outcome, Outcome] | None:
        left = len(state.comparisons) < state.budget.comparisons
        return next_pair(state, certainty) if left else None

    def _next(self, state: PolicyState) -> tuple[Spec, ...] | Stop:
        """The missing candidates of the current round, or why there is no further one."""
        if state.stopped:
            return state.stopped
        if any(outcome.status is Status.PASS for outcome in state.outcomes):
            return Stop.PASSED
        if self.settled(state.outcomes):
            return Stop.CONSENSUS
        told = {outcome.index for outcome in state.outcomes}
        start = number = 0
        while True:
            past = tuple(outcome for outcome in state.outcomes if outcome.source < start)
            left = state.budget.candidates - start
            size = self.size(left, past) if left else 0
            if not size:
                return Stop.CANDIDATES
            if state.budget.rounds is not None and number >= state.budget.rounds:
                return Stop.ROUNDS
            size, share = _affordable(size, state.budget.tokens, past)
            if not size:
                return Stop.TOKENS
            specs = self._specs(state.seed, number, past, start, size, share)
            if missing := tuple(spec for spec in specs if spec.index not in told):
                return missing
            if missing := tuple(spec for spec in self._rejoins(state, specs) if spec.index not in told):
                return missing
            start, number = start + size, number + 1

    def _rejoins(self, state: PolicyState, specs: tuple[Spec, ...]) -> tuple[Spec, ...]:
        """Further conclusions from the branches of a round's candidates, all of which are told."""
        budget, last = state.budget, specs[-1].index
        able = {outcome.index for outcome in state.outcomes if outcome.rejoin is None and outcome.rejoinable}
        wanted = [(time, spec) for time in range(1, budget.rejoins + 1) for spec in specs if spec.index in able]
        # What was spent before any of them began: outcomes of the re-joins themselves must not change their shares.
        spent = tuple(
            outcome
            for outcome in state.outcomes
            if outcome.source <= last and (outcome.rejoin is None or outcome.source < specs[0].index)
        )
        size, share = _affordable(len(wanted), budget.tokens, spent)
        return tuple(
            replace(
                spec,
                index=(index := time * budget.candidates + spec.index),
                seed=derive_seed(state.seed, index),
                temperature=spec.temperature or REJOIN_TEMPERATURE,
                max_tokens=share,
                rejoin=spec.index,
            )
            for time, spec in wanted[:size]
        )

    def _specs(
        self, seed: int, number: int, past: tuple[Outcome, ...], start: int, size: int, share: int | None
    ) -> tuple[Spec, ...]:
        """All candidates of a round."""
        repairs = self.repairs(size, past)
        ways = {index: self.ways[index % len(self.ways)] for index in range(start, start + size) if self.ways}
        gone = {outcome.index: Way(outcome.way) for outcome in past if outcome.way}
        ways |= {start + at: gone[one.candidate] for at, one in enumerate(repairs) if one.candidate in gone}
        return tuple(
            Spec(
                index=index,
                round=number,
                seed=derive_seed(seed, index),
                temperature=self.temperatures[index % len(self.temperatures)],
                max_tokens=share,
                hint=self.hints[index % len(self.hints)] if self.hints else "",
                repair=repairs[index - start] if index - start < len(repairs) else None,
                way=ways.get(index, ""),
            )
            for index in range(start, start + size)
        )


def _affordable(size: int, tokens: int | None, past: tuple[Outcome, ...]) -> tuple[int, int | None]:
    """How many candidates the tokens left allow, and the equal share of each; None: no limit."""
    if tokens is None:
        return size, None
    left = tokens - sum(outcome.tokens for outcome in past)
    size = min(size, max(left, 0) // MIN_TOKENS)
    return size, left // size if size else None
