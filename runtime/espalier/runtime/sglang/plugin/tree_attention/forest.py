"""Which rows of a decode batch share which tokens: a forest, worked out from the chains of prefixes of the rows."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

Chain = Sequence[tuple[Hashable, int]]
"""A row's shared prefixes, shortest first: what identifies the prefix, and its length in tokens from the row's start.
Rows with the same key have the same slots of the key-value memory up to that length."""

MAX_DEPTH = 4
"""Segments that a row may have before its own tokens. Deeper trees are flattened: the rest counts as the row's own."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens that a block of rows shares: `[start, stop)` of each row in `order[first : first + count]`.

    Attributes:
        parent: Index of the segment before it in all these rows, or -1. Of the blocks of a parent it may be any.
    """

    start: int
    stop: int
    first: int
    count: int
    parent: int


@dataclass(frozen=True, slots=True)
class Forest:
    """How a batch is read.

    Attributes:
        order: Rows of the batch, so that the rows of each segment follow one another.
        segments: Parents before their children.
        own_start: By row, where the tokens begin that are read for this row alone.
        last: By row, its deepest segment, or -1.
    """

    order: tuple[int, ...]
    segments: tuple[Segment, ...]
    own_start: tuple[int, ...]
    last: tuple[int, ...]

    @property
    def saved(self) -> int:
        """Tokens a step that are not read again."""
        return sum((each.stop - each.start) * (each.count - 1) for each in self.segments)


def group(chains: Sequence[Chain], *, block_rows: int, min_saved: int, max_segments: int) -> Forest:
    """The forest of a batch; O(rows x depth).

    Args:
        chains: One per row.
        block_rows: Rows that one segment may have; larger groups become several segments of the same tokens.
        min_saved: A prefix is read apart if that saves so many tokens (its length x rows but one).
        max_segments: Segments that there is room for.
    """
    builder = _Builder(chains, block_rows, min_saved, max_segments)
    builder.split(range(len(chains)), depth=0, index=0, start=0, parent=-1)
    return Forest(tuple(builder.order), tuple(builder.segments), tuple(builder.own_start), tuple(builder.last))


@dataclass
class _Builder:
    chains: Sequence[Chain]
    block_rows: int
    min_saved: int
    max_segments: int
    order: list[int] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    own_start: list[int] = field(init=False)
    last: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.own_start = [0] * len(self.chains)
        self.last = [-1] * len(self.chains)

    def split(self, rows: Iterable[int], *, depth: int, index: int, start: int, parent: int) -> None:
        """Append `rows`, which have the first `index` links of their chains in common and `start` tokens read."""
        groups: dict[Hashable, list[int]] = {}
        for row in rows:
            links = self.chains[row]
            groups.setdefault((0, links[index][0]) if index < len(links) else (1, row), []).append(row)
        for members in groups.values():
            if len(members) == 1:
                self.order.append(members[0])
                continue
            deeper, stop = index + 1, self.chains[members[0]][index][1]
            while len({self._key(row, deeper) for row in members}) == 1 and self._key(members[0], deeper) is not None:
                stop = self.chains[members[0]][deeper][1]
                deeper += 1
            if depth < MAX_DEPTH and self._worth_it(len(members), stop - start):
                self._emit(members, depth, deeper, start, stop, parent)
            else:
                self.split(members, depth=depth, index=deeper, start=start, parent=parent)

    def _key(self, row: int, index: int) -> Hashable:
        links = self.chains[row]
        return links[index][0] if index < len(links) else None

    def _worth_it(self, count: int, length: int) -> bool:
        blocks = -(-count // self.block_rows)
        return (count - blocks) * length >= self.min_saved and len(self.segments) + blocks <= self.max_segments

    def _emit(self, members: list[int], depth: int, index: int, start: int, stop: int, parent: int) -> None:
        first, number = len(self.order), len(self.segments)
        blocks = -(-len(members) // self.block_rows)
        share = -(-len(members) // blocks)
        self.segments += [
            Segment(start, stop, first + at, min(share, len(members) - at), parent)
            for at in range(0, len(members), share)
        ]
        for row in members:
            self.own_start[row], self.last[row] = stop, number
        self.split(members, depth=depth + 1, index=index, start=stop, parent=number)
