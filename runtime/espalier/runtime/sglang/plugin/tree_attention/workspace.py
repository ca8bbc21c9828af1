"""Fixed buffers of tree attention, the table that tells the kernels of the forest, and the launches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import triton

from espalier.runtime.sglang.plugin.tree_attention.forest import MAX_DEPTH, Forest
from espalier.runtime.sglang.plugin.tree_attention.kernels import attend_kernel, merge_kernel, plan_kernel

_ARRAYS = 8
_HEADER = 16
"""Numbers at the start of the table; the number of segments is the first."""

# Columns, each as long as there may be rows; the first four are start, stop, first and count of the segments.
_PARENT, _ORDER, _OWN, _LAST = 4, 5, 6, 7


@dataclass(frozen=True, slots=True)
class Heads:
    """Query heads, key-value heads and width of a head, as one tensor-parallel rank has them."""

    query: int
    key_value: int
    width: int

    @property
    def ratio(self) -> int:
        return self.query // self.key_value


@dataclass(frozen=True, slots=True)
class Tuning:
    """What the search on the GPU chose.

    Attributes:
        queries: Queries of a segment's tile: block_rows x ratio of the heads.
        block: Tokens of a segment's tile.
        own_block: Tokens of the tile of a row's own tokens.
        warps, stages: Of `attend_kernel`.
        programs: Programs wanted a multiprocessor.
        min_tokens: Tokens that an item has at least, where there are so many.
    """

    queries: int = 32
    block: int = 64
    own_block: int = 64
    warps: int = 2
    stages: int = 3
    programs: int = 6
    min_tokens: int = 128

    @classmethod
    def of(cls, heads: Heads) -> Tuning:
        """What was fastest on an H200 for this ratio of heads."""
        return cls(queries=16 if heads.ratio == 1 else 32)


class Workspace:
    """Fixed buffers for batches of up to `max_rows` rows, and the launches that use them.

    Attributes:
        block_rows: Rows that a segment may have.
    """

    MAX_PARTS = 64
    PARTS = 16
    """Parts a row that there is room for with a full batch; smaller batches have up to `MAX_PARTS` a row."""

    def __init__(self, max_rows: int, heads: Heads, device: torch.device, processors: int, tuning: Tuning) -> None:
        """
        Args:
            max_rows: Rows of the largest batch.
            heads: Of every layer.
            device: Where everything is.
            processors: Multiprocessors of the device.
            tuning: See there.
        """
        self.max_rows = max_rows
        self.heads = heads
        self.tuning = tuning
        self.block_rows = max(1, tuning.queries // heads.ratio)
        self._target = max(1, processors * tuning.programs // heads.key_value)
        self._room = max(max_rows * self.PARTS, self.MAX_PARTS)
        ints: dict[str, Any] = {"dtype": torch.int32, "device": device}
        self._forest: Forest | None = None
        self._table = torch.from_numpy(self.pack(None)).to(device)
        self._items = torch.zeros(self._max_items(max_rows), **ints)
        self._offsets = torch.zeros(2 * max_rows, **ints)
        self._parts = torch.zeros(max_rows, **ints)
        self._state = torch.zeros(2, **ints)
        floats: dict[str, Any] = {"dtype": torch.float32, "device": device}
        self._out = torch.empty(self._room * heads.query * heads.width, **floats)
        self._lse = torch.empty(self._room * heads.query, **floats)

    def _max_items(self, rows: int) -> int:
        return self._target + 2 * rows

    def _parts_of(self, rows: int) -> int:
        return min(self.MAX_PARTS, self._room // rows)

    def set(self, forest: Forest | None) -> None:
        """Tell the device which rows share what, in stream order; None: nothing is shared."""
        if forest is not self._forest:
            self._forest = forest
            table = torch.from_numpy(self.pack(forest))
            self._table.copy_(table.pin_memory() if self._table.is_cuda else table, non_blocking=True)

    def pack(self, forest: Forest | None) -> np.ndarray:
        """(16 + 8 x max_rows,) int32: the table."""
        table = np.zeros(_HEADER + _ARRAYS * self.max_rows, dtype=np.int32)
        columns = table[_HEADER:].reshape(_ARRAYS, self.max_rows)
        columns[_PARENT] = columns[_LAST] = -1
        if forest is not None:
            count, rows = len(forest.segments), len(forest.order)
            table[0] = count
            for column, name in enumerate(("start", "stop", "first", "count", "parent")):
                columns[column, :count] = [getattr(each, name) for each in forest.segments]
            columns[_ORDER, :rows] = forest.order
            columns[_OWN, :rows] = forest.own_start
            columns[_LAST, :rows] = forest.last
        return table

    def plan(self, rows: int, kv_indptr: torch.Tensor) -> None:
        """Cut the work of this step into items.

        Args:
            rows: Of the batch, padding included.
            kv_indptr: (rows + 1,) int32: where each row's slots begin in `kv_indices`.
        """
        plan_kernel[(2 * rows,)](
            self._table,
            kv_indptr,
            self._items,
            self._offsets,
            self._parts,
            self._state,
            rows,
            self.max_rows,
            self._target,
            self._parts_of(rows),
            self.tuning.min_tokens,
            BLOCK_R=triton.next_power_of_2(self.max_rows),
            BLOCK_P=self.MAX_PARTS,
            DEPTH=MAX_DEPTH,
            N=max(self.tuning.block, self.tuning.own_block),
            num_warps=4,
        )

    def attend(
        self,
        q: torch.Tensor,
        k_buffer: torch.Tensor,
        v_buffer: torch.Tensor,
        out: torch.Tensor,
        kv_indptr: torch.Tensor,
        kv_indices: torch.Tensor,
        scale: float,
    ) -> None:
        """Attention of one layer, after `plan`.

        Args:
            q: (rows, query heads, width).
            k_buffer: (slots, key-value heads, width), as v_buffer.
            v_buffer: See k_buffer.
            out: (rows, query heads, width): is written.
            kv_indptr: See `plan`.
            kv_indices: (tokens,) slots of all rows, one row after the other.
            scale: Of the scores.
        """
        rows, heads, tuning = q.shape[0], self.heads, self.tuning
        parts = self._parts_of(rows)
        attend_kernel[(self._max_items(rows) * heads.key_value,)](
            q,
            k_buffer,
            v_buffer,
            kv_indptr,
            kv_indices,
            self._table,
            self._items,
            self._offsets,
            self._state,
            self._out,
            self._lse,
            rows,
            self.max_rows,
            parts,
            scale * 1.4426950408889634,
            q.stride(0),
            k_buffer.stride(0),
            k_buffer.stride(1),
            v_buffer.stride(0),
            v_buffer.stride(1),
            HEADS=heads.query,
            KV=heads.key_value,
            D=heads.width,
            M_SEGMENT=max(16, tuning.queries),
            M_OWN=max(16, triton.next_power_of_2(heads.ratio)),
            N=tuning.block,
            N_OWN=tuning.own_block,
            num_warps=tuning.warps,
            num_stages=tuning.stages,
        )
        merge_kernel[(rows, heads.query)](
            self._out,
            self._lse,
            self._parts,
            out,
            out.stride(0),
            parts,
            HEADS=heads.query,
            D=heads.width,
            P=8,
            num_warps=1,
        )
