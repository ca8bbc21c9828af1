"""What happens during a solve, for everyone who watches: the terminal, the trace, a client's stream."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from espalier.runtime.engine import Event, Usage
from espalier.solver.core.candidate import Candidate, Spec
from espalier.solver.core.policy import Budget, PairComparison, PolicyState
from espalier.solver.core.problem import Problem
from espalier.solver.core.result import Result
from espalier.verifiers.generated_tests import GeneratedTests
from espalier.verifiers.verdict import Verdict

if TYPE_CHECKING:
    from espalier.runtime.layout import Path


@dataclass(frozen=True, slots=True)
class Accepted:
    """A solve begins. `examples` are those that the problem states, where programs are run on them."""

    problem: Problem
    policy: str
    budget: Budget
    seed: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CandidateStarted:
    """A response is asked for. `question` is what the model is asked where that is not the problem's text alone."""

    spec: Spec
    question: str | None
    prompt: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Streamed:
    """Something happened in a response. `text` is that of new tokens or of an opened branch's plan."""

    candidate: int
    event: Event
    text: str = ""


@dataclass(frozen=True, slots=True)
class AnswerJudged:
    """A verdict on the answer of a step (`path`) or of the response (empty path).

    `repeated` says that the same answer had been judged before and was not judged again.
    """

    candidate: int
    path: Path
    answer: str
    verdict: Verdict
    repeated: bool


@dataclass(frozen=True, slots=True)
class CandidateFinished:
    """A response has ended and is judged. `votes`: weights of classes that changed, see :func:`.votes.changed`."""

    candidate: Candidate
    verdict: Verdict
    votes: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class WrittenTests:
    """The model has written tests for programs, at the cost of `usage`."""

    tests: GeneratedTests
    usage: Usage


@dataclass(frozen=True, slots=True)
class Compared:
    """The model has compared the answers of two candidates, at the cost of `usage`. `votes`: as of a candidate."""

    comparison: PairComparison
    usage: Usage
    votes: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class RoundFinished:
    """All candidates of a round are told, or the solve has stopped within it."""

    round: int
    state: PolicyState


@dataclass(frozen=True, slots=True)
class Solved:
    """The solve is over, with or without an answer."""

    result: Result


SolveEvent = (
    Accepted
    | CandidateStarted
    | Streamed
    | WrittenTests
    | AnswerJudged
    | CandidateFinished
    | RoundFinished
    | Compared
    | Solved
)

Observer = Callable[[SolveEvent], None]
"""Called in order, in the event loop: must return at once and not raise."""


def new_solve_id() -> str:
    """A name for a solve that no other solve has: 16 hexadecimal digits."""
    return os.urandom(8).hex()


def fan_out(*watches: Observer) -> Observer:
    """One watcher for several; of none, one that looks away."""
    awake = tuple(one for one in watches if one is not _look_away)
    if not awake:
        return _look_away
    if len(awake) == 1:
        return awake[0]

    def watch(event: SolveEvent) -> None:
        for one in awake:
            one(event)

    return watch


def _look_away(_: SolveEvent) -> None:
    pass
