"""Policies: which candidates are sampled next, and when to stop. Pure values: a state goes in, a state comes out.

The solving loop (:mod:`.loop`) calls `ask` for the candidates that are missing, generates and judges them, and `tell`s
each outcome as it comes. Nothing here knows of engines, verifiers or clocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from espalier.solver.core.candidate import Candidate, Spec, attempt_the_whole, voted
from espalier.verifiers.verdict import Status, Verdict

MAX_CANDIDATES = 1024
"""The largest k."""

MAX_REJOINS = 16
"""The most conclusions that are drawn from the branches of one candidate beside its own."""

MIN_TOKENS = 64
"""A candidate that may not have as many tokens is not started: it could not state an answer."""

MAX_COUNT = (1 << 32) - 1
"""The most tokens and rounds of a solve, as far as messages count them."""

MAX_COMPARISONS = 64
"""The most comparisons of two answers that a solve may make."""


class BudgetError(ValueError):
    """A limit that nothing can be done under; the message names it.

    Attributes:
        field: Of the budget.
        problem: What is wrong.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{'k' if field == 'candidates' else field} {problem}")
        self.field = field
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Budget:
    """Hard limits of one solve; whichever is reached first ends it.

    Attributes:
        candidates: Responses to sample at most: the k of best-of-k.
        tokens: New tokens of all candidates together, forced ones included; None: no limit. Shared out evenly in each
            round, so that it cannot be exceeded.
        seconds: Wall time; None: no limit.
        rounds: Times that a policy may look at verdicts and ask again; None: no limit.
        rejoins: Further conclusions that are drawn from the branches of each candidate before another one is paid for.
            They are not among the `candidates`, their tokens are among the `tokens`.
        comparisons: Times that the model may compare two answers, in both orders, where no check judges them.
    """

    candidates: int = 8
    tokens: int | None = None
    seconds: float | None = None
    rounds: int | None = None
    rejoins: int = 0
    comparisons: int = 0

    def __post_init__(self) -> None:
        """
        Raises:
            BudgetError: Nothing can be done under a limit, or it is above what a solve may have.
        """
        for name, least, most in (
            ("candidates", 1, MAX_CANDIDATES),
            ("tokens", MIN_TOKENS, MAX_COUNT),
            ("rounds", 1, MAX_COUNT),
            ("rejoins", 0, MAX_REJOINS),
            ("comparisons", 0, MAX_COMPARISONS),
        ):
            count = getattr(self, name)
            if count is not None and not least <= count <= most:
                raise BudgetError(name, f"must be between {least} and {most}, got {count}")
        if self.seconds is not None and not self.seconds > 0:
            raise BudgetError("seconds", f"must be above 0, got {self.seconds}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a policy remembers of a candidate that was told.

    Attributes:
        index: Of its spec.
        round: Of its spec.
        tokens: New tokens that it cost.
        status: Of its verdict.
        score: Of its verdict.
        answer: What it answered; None if it did not.
        answer_class: The equivalence class of the answer; None where votes do not count.
        branch_classes: Of the candidate.
        feedback: Of its verdict.
        rejoin: Of its spec.
        rejoinable: Whether the candidate's branches can be concluded anew.
        way: Of its spec.
        examples: Of the candidate.
    """

    index: int
    round: int
    tokens: int
    status: Status
    score: float
    answer: str | None = None
    answer_class: int | None = None
    feedback: str = ""
    rejoin: int | None = None
    rejoinable: bool = False
    way: str = ""
    examples: float | None = None
    branch_classes: tuple[int, ...] = ()

    @property
    def source(self) -> int:
        """Index of the candidate whose branches its conclusion rests on."""
        return self.index if self.rejoin is None else self.rejoin

    @property
    def weight(self) -> float:
        """What its vote counts where it is the only conclusion of its branches: the score, unless the verdict is no
        ground for a vote."""
        return self.score if self.status is Status.UNKNOWN and self.answer_class is not None else 0.0


@dataclass(frozen=True, slots=True)
class PairComparison:
    """What the model said of two answers that it was shown in both orders.

    Attributes:
        candidates: Indices of the two, each the representative of its class.
        classes: Classes of their answers.
        score: Probability that the first is right and not the second, mean over the orders; 1/2 where it did not say.
        tokens: New tokens that it cost.
    """

    candidates: tuple[int, int]
    classes: tuple[int, int]
    score: float
    tokens: int


class Stop(StrEnum):
    """Why nothing more is sampled."""

    PASSED = "passed"
    """A candidate satisfied the check."""
    CONSENSUS = "consensus"
    """One answer leads the vote with enough certainty."""
    CANDIDATES = "candidates"
    TOKENS = "tokens"
    SECONDS = "seconds"
    ROUNDS = "rounds"


@dataclass(frozen=True, slots=True)
class PolicyState:
    """Everything a policy knows of one solve.

    Attributes:
        seed: From it the seeds of all candidates follow.
        budget: The limits.
        outcomes: Of the candidates told so far, by index.
        stopped: Why nothing more is sampled; None while the solve goes on.
        comparisons: Of answers so far.
    """

    seed: int
    budget: Budget
    outcomes: tuple[Outcome, ...] = ()
    stopped: Stop | None = None
    comparisons: tuple[PairComparison, ...] = ()

    @property
    def tokens(self) -> int:
        """New tokens spent so far."""
        return sum(outcome.tokens for outcome in self.outcomes)

    @property
    def votes(self) -> Mapping[int, float]:
        """Weight of each class of answers, the heaviest first. A comparison is one vote that its classes share."""
        weights = tally(self.outcomes)
        if not self.comparisons:
            return weights
        for one in self.comparisons:
            for number, share in zip(one.classes, (one.score, 1 - one.score), strict=True):
                weights[number] = weights.get(number, 0.0) + share
        return dict(sorted(weights.items(), key=lambda item: (-item[1], item[0])))


class Policy(Protocol):
    """Spends a budget. Implementations are frozen dataclasses: settings, no state."""

    @property
    def name(self) -> str:
        """As people choose it."""
        ...

    def ask(self, state: PolicyState) -> tuple[Spec, ...]:
        """Every candidate of the current round that has not been told yet; none when the solve is over.

        Asking again without a tell in between returns the same: a runner skips those it is working on, and one that
        resumes from a stored state generates just what is missing.
        """
        ...

    def tell(self, state: PolicyState, candidate: Candidate, verdict: Verdict) -> PolicyState:
        """The state with one more outcome. Telling the same candidate again, or after the stop, changes nothing."""
        ...

    def compare(self, state: PolicyState) -> tuple[Outcome, Outcome] | None:
        """Two answers to compare before anything more is sampled; None: none. Asked while no candidate is under way."""
        ...

    def compared(self, state: PolicyState, comparison: PairComparison) -> PolicyState:
        """The state with one more comparison."""
        ...


def tally(outcomes: Iterable[Outcome]) -> dict[int, float]:
    """Weight of each class, heaviest first; classes of equal weight in the order of their numbers.

    A candidate has one vote: its answer and those of its steps that share it have equal parts, see
    :func:`.candidate.voted`.

    Conclusions of the same branches share one vote: with n of them that vote, each counts its weight over n. They have
    read the same work, so their errors go together, and n of them are no n witnesses.

    Where programs were run on the examples that their problem states, only those that pass the most have a vote.
    """
    outcomes = [outcome for outcome in outcomes if outcome.answer_class is not None and outcome.weight > 0]
    whole = attempt_the_whole(outcomes)
    most = max((outcome.examples for outcome in outcomes if outcome.examples is not None), default=None)
    sharing: Counter[int] = Counter()
    votes: dict[tuple[int, int], float] = {}
    for outcome in outcomes:
        if outcome.examples == most:
            sharing[outcome.source] += 1
            stated = voted(outcome, whole)
            for number in stated:
                vote = (outcome.source, number)
                votes[vote] = votes.get(vote, 0.0) + outcome.weight / len(stated)
    weights: dict[int, float] = {}
    for (source, answer_class), weight in votes.items():
        weights[answer_class] = weights.get(answer_class, 0.0) + weight / sharing[source]
    return dict(sorted(weights.items(), key=lambda item: (-item[1], item[0])))


def begin(seed: int, budget: Budget) -> PolicyState:
    """The state before the first candidate."""
    return PolicyState(seed, budget)


def stop(state: PolicyState, why: Stop) -> PolicyState:
    """The state after a limit outside of the policy's sight, the clock, was reached."""
    return state if state.stopped else replace(state, stopped=why)


def outcome_of(candidate: Candidate, verdict: Verdict) -> Outcome:
    """What to remember of a candidate."""
    return Outcome(
        index=candidate.spec.index,
        round=candidate.spec.round,
        tokens=candidate.usage.new_tokens,
        status=verdict.status,
        score=0.0 if verdict.status is Status.ERROR else verdict.score,
        answer=candidate.answer,
        answer_class=candidate.answer_class,
        feedback=verdict.feedback,
        rejoin=candidate.spec.rejoin,
        rejoinable=bool(candidate.branches),
        way=candidate.spec.way,
        examples=candidate.examples,
        branch_classes=candidate.branch_classes,
    )
