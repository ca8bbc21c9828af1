"""Batches that decode, for the kernels of tree_attention.py and fa3_decode.py."""

from __future__ import annotations

import numpy as np

Levels = tuple[tuple[int, int], ...]
"""Tokens from a row's start that groups of so many rows share, shortest first."""

Heads = tuple[int, int, int]
"""Query heads, key-value heads, width."""

QWEN_4B: Heads = (32, 8, 128)
SHAPES: tuple[tuple[int, int, Levels, Heads], ...] = (
    (128, 3200, ((3000, 8),), QWEN_4B),
    (80, 3200, ((3000, 5),), QWEN_4B),
    (128, 1000, ((800, 8),), QWEN_4B),
    (128, 8000, ((7500, 8),), QWEN_4B),
    (128, 1000, (), QWEN_4B),
    (128, 3200, (), QWEN_4B),
    (80, 3000, ((2000, 80), (2800, 5)), QWEN_4B),
    (16, 2300, ((2000, 16),), QWEN_4B),
    (8, 3200, ((3000, 8),), QWEN_4B),
    (8, 3200, (), QWEN_4B),
    (2, 1000, ((800, 2),), QWEN_4B),
    (128, 3200, ((3000, 8),), (28, 4, 128)),
    (128, 3200, ((3000, 8),), (16, 16, 128)),
)
"""Rows, context, sharing, heads."""

LAYERS_BYTES = 5e8
"""Layers take turns until they hold so much, several times the cache."""


def scattered(rows: int, context: int, levels: Levels) -> tuple[np.ndarray, int]:
    """(rows, context) slots, scattered at random, and how many different ones."""
    slots = np.zeros((rows, context), dtype=np.int64)
    used = begin = 0
    for length, size in levels:
        groups = -(-rows // size)
        shared = used + np.arange(groups * (length - begin)).reshape(groups, -1)
        slots[:, begin:length] = shared.repeat(size, 0)[:rows]
        used, begin = used + shared.size, length
    own = rows * (context - begin)
    slots[:, begin:] = used + np.arange(own).reshape(rows, -1)
    used += own
    return np.random.default_rng(0).permutation(used)[slots], used


def layers(slots: int, heads: Heads) -> int:
    """So many layers with keys and values in 16 bits take turns."""
    return max(1, min(24, int(LAYERS_BYTES // (slots * heads[1] * heads[2] * 4))))


def label(rows: int, context: int, levels: Levels, heads: Heads) -> dict[str, object]:
    """The columns of a table that say which batch it is."""
    shared = ", ".join(f"{length} by {size}" for length, size in levels) or "-"
    return {"rows": rows, "context": context, "shared": shared, "heads": f"{heads[0]}/{heads[1]}"}
