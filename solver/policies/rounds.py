"""What all policies share: candidates come in rounds, and every limit of the budget is hard."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from espalier.solver.candidate import Candidate
from espalier.solver.policy import MIN_TOKENS, Outcome, Repair, Spec, State, Stop, outcome_of, seed_of
from espalier.verifiers.verdict import Status, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """The base of all policies: a schedule of rounds, and a rule for stopping between tells.

    A round is a function of the outcomes of the rounds before it, so `ask` needs no memory of what it said.

    Attributes:
        temperatures: A ladder for diversity: candidate i samples at rung i, from the start again after the last.
        hints: Strategies for diversity, handed out in turn and appended to the problem; none by default.
    """

    name: ClassVar[str]

    temperatures: tuple[float, ...] = (1.0,)
    hints: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.temperatures:
            raise ValueError("temperatures must not be empty")
        for temperature in self.temperatures:
            if not temperature >= 0:
                raise ValueError(f"temperature must be at least 0, got {temperature}")

    def sizes(self, k: int) -> Iterator[int]:
        """Candidates per round, k in all."""
        raise NotImplementedError

    def settled(self, outcomes: tuple[Outcome, ...]) -> bool:
        """Whether the answer is clear without a PASS."""
        return False

    def repairs(self, size: int, past: tuple[Outcome, ...]) -> tuple[Repair, ...]:
        """What the first candidates of a round of `size` have to put right; the others are fresh samples."""
        return ()

    def ask(self, state: State) -> tuple[Spec, ...]:
        """See :meth:`espalier.solver.policy.Policy.ask`."""
        following = self._next(state)
        return () if isinstance(following, Stop) else following

    def tell(self, state: State, candidate: Candidate, verdict: Verdict) -> State:
        """See :meth:`espalier.solver.policy.Policy.tell`."""
        if state.stopped or any(outcome.index == candidate.spec.index for outcome in state.outcomes):
            return state
        outcomes = list(state.outcomes)
        insort(outcomes, outcome_of(candidate, verdict), key=lambda outcome: outcome.index)
        state = replace(state, outcomes=tuple(outcomes))
        following = self._next(state)
        return replace(state, stopped=following) if isinstance(following, Stop) else state

    def _next(self, state: State) -> tuple[Spec, ...] | Stop:
        """The missing candidates of the current round, or why there is no further one."""
        if state.stopped:
            return state.stopped
        if any(outcome.status is Status.PASS for outcome in state.outcomes):
            return Stop.PASSED
        if self.settled(state.outcomes):
            return Stop.CONSENSUS
        told = {outcome.index for outcome in state.outcomes}
        start, last = 0, Stop.CANDIDATES
        for number, size in enumerate(self.sizes(state.budget.candidates)):
            if state.budget.rounds is not None and number >= state.budget.rounds:
                return Stop.ROUNDS
            specs = self._round(state, number, start, size)
            if not specs:
                return Stop.TOKENS
            if missing := tuple(spec for spec in specs if spec.index not in told):
                return missing
            start += len(specs)
            if len(specs) < size:
                last = Stop.TOKENS
        return last

    def _round(self, state: State, number: int, start: int, size: int) -> tuple[Spec, ...]:
        """All candidates of a round: as many as the tokens left allow, each with an equal share of them."""
        past = tuple(outcome for outcome in state.outcomes if outcome.round < number)
        share = None
        if state.budget.tokens is not None:
            left = state.budget.tokens - sum(outcome.tokens for outcome in past)
            size = min(size, left // MIN_TOKENS)
            if size <= 0:
                return ()
            share = left // size
        repairs = self.repairs(size, past)
        return tuple(
            Spec(
                index=index,
                round=number,
                seed=seed_of(state.seed, index),
                temperature=self.temperatures[index % len(self.temperatures)],
                max_tokens=share,
                hint=self.hints[index % len(self.hints)] if self.hints else "",
                repair=repairs[index - start] if index - start < len(repairs) else None,
            )
            for index in range(start, start + size)
        )
