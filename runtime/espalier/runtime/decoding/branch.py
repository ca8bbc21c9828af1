"""A branch being decoded: its tokens, what it sees, and the blocks inside it."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np

from espalier.runtime.constraint import FREE
from espalier.runtime.grammar import State
from espalier.runtime.layout import Path


def branch_noise(seed: int | None, path: Path) -> np.random.Generator:
    """The randomness of one branch: a function of the request's seed and the branch's path alone."""
    if seed is None:
        return np.random.default_rng()
    return np.random.default_rng([seed, *(number for turn in path for number in turn)])


class KeyValues(Protocol):
    """Where a branch's keys and values are, as the embedded engine's `BlockTable` says it."""

    pages: array[int]
    fills: array[int]

    def fork(self) -> Self: ...

    def extend(self, count: int) -> Sequence[int]: ...

    def join(self, steps: Sequence[Self]) -> None: ...

    def release(self) -> None: ...


@dataclass(eq=False, slots=True)
class ForkedBlock:
    """A block of a branch.

    Attributes:
        at: The branch's tokens before its steps.
        steps: Its branches, in plan order.
        uncomputed: Steps that are not closed with all keys and values in place.
    """

    at: int
    steps: list[Branch]
    uncomputed: int


@dataclass(eq=False, slots=True)
class Branch:
    """The root response (empty path) or one step.

    Tokens are appended as they are sampled or forced; keys and values follow behind: those of `tokens[:computed]`
    exist. Decoding for the first time and restoring after an eviction are the same thing, only that the tokens are
    already known in the second case.

    Attributes:
        path: See :data:`espalier.runtime.layout.Path`.
        parent: None for the root.
        noise: Randomness of this branch alone.
        state: Where it stands in the grammar.
        constrained_by: State of the automaton of a constrained request, see :mod:`espalier.runtime.constraint`.
        position: Position of the next token.
        tokens, logprobs, forced, positions: One entry per own token.
        forks: Its blocks so far.
        open_forks: Blocks whose steps are still decoding: 0 or 1.
        closed: No further token will come.
        row: What it sees; None before it has started (or was evicted).
        computed: See above.
        joined: Blocks whose steps are part of `row`.
    """

    path: Path
    parent: Branch | None
    noise: np.random.Generator
    state: State
    position: int
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    forced: list[bool] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    forks: list[ForkedBlock] = field(default_factory=list)
    suspended: bool = False
    closed: bool = False
    row: KeyValues | None = None
    computed: int = 0
    joined: int = 0
    constrained_by: int = FREE

    def append(self, token: int, logprob: float, *, forced: bool) -> None:
        self.tokens.append(token)
        self.logprobs.append(logprob)
        self.forced.append(forced)
        self.positions.append(self.position)
        self.position += 1

    def run(self) -> int:
        """How many tokens can be computed before the next join (or the end)."""
        end = self.forks[self.joined].at if self.joined < len(self.forks) else len(self.tokens)
        return end - self.computed

    def wants_token(self) -> bool:
        """Whether computing the present run leads to a new token."""
        return not self.closed and not self.suspended and self.joined == len(self.forks)

    def reached(self, fork: ForkedBlock) -> bool:
        """Whether the steps of `fork` can start: everything before them is computed."""
        return self.row is not None and self.computed == fork.at and self.forks[self.joined] is fork

    def evict(self) -> None:
        """Give up keys and values; tokens stay."""
        if self.row is not None:
            self.row.release()
        self.row, self.computed, self.joined = None, 0, 0
        for fork in self.forks:
            fork.uncomputed = len(fork.steps)

    def family(self) -> Iterator[Branch]:
        """This branch and all below it, parents first."""
        yield self
        for fork in self.forks:
            for step in fork.steps:
                yield from step.family()
