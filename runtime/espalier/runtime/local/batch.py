"""What a pass computes, as arrays."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from espalier.runtime.local.scheduler import Chunk

Int64Array = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PackedChunks:
    """The N tokens of some chunks, one after the other.

    Attributes:
        tokens, positions, slots: (N,); `slots` are where keys and values go.
        last: (C,) the last token of each chunk that wants another one.
    """

    tokens: Int64Array
    positions: Int64Array
    slots: Int64Array
    last: Int64Array


def pack(chunks: Sequence[Chunk]) -> PackedChunks:
    """O(tokens)."""
    ends = np.cumsum([len(chunk) for chunk in chunks])
    wanting = np.array([chunk.wanted is not None for chunk in chunks])
    return PackedChunks(
        tokens=_flat(chunk.tokens[chunk.computed] for chunk in chunks),
        positions=_flat(chunk.positions[chunk.computed] for chunk in chunks),
        slots=_flat(chunk.slots for chunk in chunks),
        last=ends[wanting] - 1,
    )


def padded(rows: Sequence[array[int]]) -> Int64Array:
    """(B, longest) numbers of B rows, with zeros behind the shorter ones."""
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    table = np.zeros((len(rows), lengths.max()), np.int64)
    table[np.arange(table.shape[1]) < lengths[:, None]] = np.frombuffer(b"".join(rows), np.int64)
    return table


def _flat(runs: Iterable[Sequence[int]]) -> Int64Array:
    return np.array(list(chain.from_iterable(runs)), np.int64)
