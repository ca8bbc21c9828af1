"""Where every token stands and who may see whom: the single source for engines and trainer.

Take the linearised sequence (guideline, step 1, …, step n, takeaway, and so on). Then

* token i sees token j iff j <= i and no block holds them in two different steps;
* every step of a block starts one position behind its `</guideline>`, and what follows the block starts one position
  behind its longest step.

Decoding with fork and join must equal one dense forward pass with these positions and this visibility
(arXiv 2512.07461, section 3; the forced opening of a step belongs to the step).

Visibility in O(1) per pair and O(n·depth) memory: a step of a block hides its tokens from everything between its own
end and the end of the block's last step. So token j is invisible to i exactly when i falls into one of the intervals
`[end of step, end of steps)` of the steps that hold j, one interval per nesting level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from espalier.runtime.grammar import GrammarLimits, Vocabulary
from espalier.runtime.structure import Edge, Structure, read

if TYPE_CHECKING:
    import torch
    from torch.nn.attention.flex_attention import BlockMask

Int32Array = npt.NDArray[np.int32]
Path = tuple[tuple[int, int], ...]
"""From the root inwards: (number of the block within its branch from 0, number of the step from 1)."""


@dataclass(frozen=True, slots=True)
class BranchSpan:
    """The root response (empty path) or one step.

    Attributes:
        path: See :data:`Path`.
        start: Index of the first token, in the linearised order.
        end: One behind its last token, blocks inside it included.
        hidden_until: One behind the last step of its block: where its tokens become visible to others again.
    """

    path: Path
    start: int
    end: int
    hidden_until: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Positions and visibility of one linearised sequence of n tokens.

    Attributes:
        positions: (n,) rotary position of each token.
        branch: (n,) index into `branches` of the innermost branch that holds the token.
        branches: Root first, then steps in the order in which they open.
    """

    positions: Int32Array
    branch: Int32Array
    branches: tuple[BranchSpan, ...]

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def critical_path(self) -> int:
        """Tokens on the longest chain that has to be decoded one after the other, the prompt included."""
        return int(self.positions.max(initial=-1)) + 1

    def hidden(self) -> Int32Array:
        """(2, depth, n): for each token the intervals [from, until) of tokens that must not see it, outermost first."""
        by_path = {branch.path: branch for branch in self.branches}
        depth = max(len(branch.path) for branch in self.branches)
        table = np.zeros((2, depth, len(self.branches)), dtype=np.int32)
        for index, branch in enumerate(self.branches):
            for level in range(len(branch.path)):
                holder = by_path[branch.path[: level + 1]]
                table[:, level, index] = holder.end, holder.hidden_until
        return table[:, :, self.branch]


class LayoutBuilder:
    """Builds a layout run by run, in linearised order. Engines drive it from their branches, `layout` from tokens."""

    def __init__(self) -> None:
        self._runs: list[tuple[int, int, int]] = []  # first position, count, branch
        self._length = 0
        self._position = 0
        self._paths: list[Path] = [()]
        self._ends: dict[int, tuple[int, int]] = {}  # branch -> (end, hidden until)
        self._starts = [0]
        self._open = [0]  # branches, innermost last
        self._blocks: list[_OpenBlock] = []
        self._blocks_seen = [0]  # per open branch

    def text(self, count: int) -> None:
        """`count` tokens of the current branch."""
        if count:
            self._runs.append((self._position, count, self._open[-1]))
            self._position += count
            self._length += count

    def fork(self) -> None:
        """A block opens in the current branch, behind its `</guideline>`."""
        self._blocks.append(_OpenBlock(self._blocks_seen[-1], self._position))
        self._blocks_seen[-1] += 1

    def open(self) -> None:
        """The next step of the innermost block opens."""
        block = self._blocks[-1]
        block.members.append(len(self._paths))
        self._open.append(len(self._paths))
        self._paths.append((*self._paths[self._open[-2]], (block.number, len(block.members))))
        self._starts.append(self._length)
        self._blocks_seen.append(0)
        self._position = block.start

    def close(self) -> None:
        """The current step is complete."""
        block = self._blocks[-1]
        block.furthest = max(block.furthest, self._position)
        block.ends.append(self._length)
        self._open.pop()
        self._blocks_seen.pop()

    def join(self) -> None:
        """All steps of the innermost block are complete: what follows sees them and stands behind the longest."""
        block = self._blocks.pop()
        self._position = block.furthest
        self._ends.update((member, (end, self._length)) for member, end in zip(block.members, block.ends, strict=True))

    def layout(self) -> Layout:
        """The layout of what was built. Steps and blocks that are still open end here."""
        ends = self._ends.copy()
        for block in self._blocks:
            open_ends = [*block.ends, *[self._length] * (len(block.members) - len(block.ends))]
            ends.update((m, (end, self._length)) for m, end in zip(block.members, open_ends, strict=True))
        ends[0] = (self._length, self._length)
        arrays = [np.arange(first, first + count, dtype=np.int32) for first, count, _ in self._runs]
        branch = np.repeat(
            np.array([branch for *_, branch in self._runs], dtype=np.int32), [count for _, count, _ in self._runs]
        )
        branches = (
            BranchSpan(path, start, *ends[index])
            for index, (path, start) in enumerate(zip(self._paths, self._starts, strict=True))
        )
        return Layout(np.concatenate([np.zeros(0, np.int32), *arrays]), branch.astype(np.int32), tuple(branches))


class _OpenBlock:
    __slots__ = ("ends", "furthest", "members", "number", "start")

    def __init__(self, number: int, start: int) -> None:
        self.number = number
        self.start = start
        self.furthest = start
        self.members: list[int] = []
        self.ends: list[int] = []


def layout(
    tokens: Sequence[int], prompt_length: int, vocabulary: Vocabulary, limits: GrammarLimits = GrammarLimits()
) -> Layout:
    """Lay out prompt and linearised response. O(n).

    A sequence that ends early is laid out as far as it goes; behind a structural fault everything counts as text of
    the branch in which the fault happened.
    """
    return layout_of(read(tokens, prompt_length, vocabulary, limits), len(tokens))


def layout_of(structure: Structure, length: int) -> Layout:
    """The layout of a sequence of `length` tokens that has already been read."""
    builder = LayoutBuilder()
    done = 0
    for at, edge in structure.edges:
        builder.text(at - done)
        done = at
        match edge:
            case Edge.FORK:
                builder.fork()
            case Edge.OPEN:
                builder.open()
            case Edge.CLOSE:
                builder.close()
            case Edge.JOIN:
                builder.join()
    builder.text(length - done)
    return builder.layout()


def runs(paths: Sequence[Path]) -> Iterator[tuple[int, int, Path]]:
    """Stretches of equal paths as (start, end, path)."""
    start = 0
    for path, run in groupby(paths):
        end = start + sum(1 for _ in run)
        yield start, end, path
        start = end


def layout_of_paths(prompt_length: int, positions: Sequence[int], paths: Sequence[Path]) -> Layout:
    """The layout of prompt and response, from the positions and paths that an engine decoded with. O(n·depth).

    Nothing is parsed, so a response that was cut off or broke the grammar is laid out as it was decoded, too.

    Args:
        prompt_length: Tokens before the response.
        positions: (n,) position of each new token.
        paths: (n,) branch of each new token.
    """
    length = prompt_length + len(paths)
    starts: dict[Path, int] = {(): 0}
    ends: dict[Path, int] = {(): length}
    index = np.zeros(length, dtype=np.int32)
    numbers: dict[Path, int] = {(): 0}
    for start, end, path in runs(paths):
        index[prompt_length + start : prompt_length + end] = numbers.setdefault(path, len(numbers))
        for depth in range(1, len(path) + 1):
            starts.setdefault(path[:depth], prompt_length + start)
            ends[path[:depth]] = prompt_length + end
    hidden: dict[tuple[Path, int], int] = {}
    for path, end in ends.items():
        if path:
            block = (path[:-1], path[-1][0])
            hidden[block] = max(hidden.get(block, 0), end)
    branches = tuple(
        BranchSpan(path, starts[path], ends[path], hidden[path[:-1], path[-1][0]] if path else ends[path])
        for path in numbers
    )
    prompt = np.arange(prompt_length, dtype=np.int32)
    return Layout(np.concatenate([prompt, np.array(positions, dtype=np.int32)]), index, branches)


Tables = tuple[Int32Array, Int32Array, Int32Array, Int32Array]
"""Per block of queries the number of blocks of keys that it sees in part, their order (those first), and the same for
those that it sees in full: (blocks,), (blocks, blocks), (blocks,), (blocks, blocks)."""

BLOCK_SIZE = 128


@dataclass(frozen=True, slots=True)
class Packed:
    """Several layouts side by side in one row of `length` tokens, padding at the end.

    Attributes:
        positions: (length,) rotary positions; 0 in the padding.
        document: (length,) which layout a token belongs to; the padding is a document of its own.
        hidden_from, hidden_until: (depth, length) intervals as in :meth:`Layout.hidden`, in row indices.
        tables: Which blocks see which, if worked out ahead: see :func:`with_tables`.
    """

    positions: Int32Array
    document: Int32Array
    hidden_from: Int32Array
    hidden_until: Int32Array
    tables: Tables | None = None

    def __len__(self) -> int:
        return len(self.positions)


def pack(layouts: Sequence[Layout], length: int | None = None) -> Packed:
    """Put layouts side by side; tokens of different layouts never see each other. O(length·depth).

    Raises:
        ValueError: The layouts do not fit into `length`.
    """
    used = sum(map(len, layouts))
    length = used if length is None else length
    if used > length:
        raise ValueError(f"{used} tokens do not fit into a row of {length}")
    hidden = [item.hidden() for item in layouts]
    depth = max((item.shape[1] for item in hidden), default=0)
    positions = np.zeros(length, np.int32)
    document = np.full(length, len(layouts), dtype=np.int32)
    intervals = np.zeros((2, depth, length), np.int32)
    start = 0
    for index, (item, own) in enumerate(zip(layouts, hidden, strict=True)):
        row = slice(start, start + len(item))
        positions[row] = item.positions
        document[row] = index
        intervals[:, : own.shape[1], row] = own + start
        start = row.stop
    return Packed(positions, document, intervals[0], intervals[1])


def dense_mask(packed: Packed) -> npt.NDArray[np.bool_]:
    """(n, n) visibility: entry [i, j] says whether i sees j. O(n²·depth); for tests and short rows."""
    index = np.arange(len(packed))
    query, key = index[:, None], index[None, :]
    visible: npt.NDArray[np.bool_] = (key <= query) & (packed.document[:, None] == packed.document[None, :])
    for start, until in zip(packed.hidden_from, packed.hidden_until, strict=True):
        visible &= ~((start[None, :] <= query) & (query < until[None, :]))
    return visible


MaskMod = Callable[["torch.Tensor", "torch.Tensor", "torch.Tensor", "torch.Tensor"], "torch.Tensor"]


def mask_mod(packed: Packed, device: torch.device | str = "cpu") -> MaskMod:
    """The same visibility as FlexAttention `mask_mod(batch, head, query, key)`; O(n·depth) memory."""
    rows = _batch_mask_mod([packed], device)

    def visible(_batch: Any, head: Any, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return rows(0, head, query, key)

    return visible


def _batch_mask_mod(rows: Sequence[Packed], device: torch.device | str) -> Callable[..., torch.Tensor]:
    """The visibility of rows of equal length and depth, a row per batch entry."""
    import torch  # here: the command line reads layouts without paying for torch

    def moved(arrays: Sequence[npt.NDArray[Any]]) -> torch.Tensor:
        return torch.from_numpy(np.stack(arrays)).to(device)

    document = moved([row.document for row in rows])
    start, until = moved([row.hidden_from for row in rows]), moved([row.hidden_until for row in rows])

    def visible(batch: Any, _head: Any, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        seen = (key <= query) & (document[batch, query] == document[batch, key])
        for level in range(start.shape[1]):
            seen = seen & ~((start[batch, level, key] <= query) & (query < until[batch, level, key]))
        return seen

    return visible


def block_mask(packed: Packed, device: torch.device | str = "cpu", *, block_size: int = BLOCK_SIZE) -> BlockMask:
    """The visibility of one row as a FlexAttention `BlockMask`; see :func:`batch_block_mask`."""
    return batch_block_mask([packed], device, block_size=block_size)


def batch_block_mask(
    rows: Sequence[Packed], device: torch.device | str = "cpu", *, block_size: int = BLOCK_SIZE
) -> BlockMask:
    """The visibility of rows of equal length and depth as one FlexAttention `BlockMask`, a row per batch entry.

    Which blocks are empty, partial or full is worked out between *runs* of tokens with equal visibility, so nothing of
    size n² ever stands in memory: O(n·depth + (n/block)²) per row for the result.
    """
    import torch
    from torch.nn.attention.flex_attention import BlockMask

    def moved(arrays: Sequence[npt.NDArray[Any]]) -> torch.Tensor:
        return torch.from_numpy(np.stack(arrays)).to(device)

    known = [row.tables if row.tables and block_size == BLOCK_SIZE else _tables(row, block_size) for row in rows]
    counts, order, full_counts, full_order = (moved(column)[:, None] for column in zip(*known, strict=True))
    return BlockMask.from_kv_blocks(
        counts,
        order,
        full_counts,
        full_order,
        BLOCK_SIZE=block_size,
        mask_mod=_batch_mask_mod(rows, device),
        seq_lengths=(len(rows[0]), len(rows[0])),
    )


def with_tables(packed: Packed) -> Packed:
    """The same row with the tables of its block mask: workers that make rows spare the process that trains."""
    return replace(packed, tables=_tables(packed, BLOCK_SIZE))


def _tables(packed: Packed, block_size: int) -> Tables:
    def listed(grid: npt.NDArray[np.bool_]) -> tuple[Int32Array, Int32Array]:
        return grid.sum(1).astype(np.int32), np.argsort(~grid, axis=1, kind="stable").astype(np.int32)

    partial, full = _occupancy(packed, block_size)
    return (*listed(partial), *listed(full))


def _occupancy(packed: Packed, block_size: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """(blocks, blocks) grids: which blocks are partly and which are fully visible."""
    length = len(packed)
    facts = np.vstack([packed.document[None], packed.hidden_from, packed.hidden_until])
    bounds = np.unique(packed.hidden_until), np.unique(packed.hidden_from)
    cuts = np.unique(np.concatenate([[0], np.flatnonzero((facts[:, 1:] != facts[:, :-1]).any(0)) + 1, *bounds]))
    cuts = cuts[cuts < length]
    first, document = cuts, packed.document[cuts]
    # Between different runs causality is the order of the runs; inside a run it is the diagonal.
    seen = (first[None, :] <= first[:, None]) & (document[:, None] == document[None, :])
    for start, until in zip(packed.hidden_from[:, cuts], packed.hidden_until[:, cuts], strict=True):
        seen &= ~((start[None, :] <= first[:, None]) & (first[:, None] < until[None, :]))
    blocks = -(-length // block_size)
    ends = np.append(cuts[1:], length)
    block_start = np.arange(blocks)[:, None] * block_size
    holds = ((first[None, :] < block_start + block_size) & (ends[None, :] > block_start)).astype(np.float32)
    some = (holds @ seen.astype(np.float32) @ holds.T) > 0
    hidden = (holds @ (~seen).astype(np.float32) @ holds.T) > 0
    below = np.tri(blocks, k=-1, dtype=bool)
    full = some & ~hidden & below
    return some & np.tri(blocks, dtype=bool) & ~full, full
