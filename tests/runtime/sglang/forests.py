"""Random forests of rows: who shares what, and in which slots everything is."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from espalier.runtime.sglang.plugin.tree_attention.forest import Chain


@dataclass
class Rows:
    """Attributes:
    chains: By row, as the plugin tells them.
    slots: By row, the slot of each of its tokens.
    """

    chains: list[Chain] = field(default_factory=list)
    slots: list[list[int]] = field(default_factory=list)


def random_rows(seed: int, *, longest: int = 60, depth: int = 5, most: int = 40) -> Rows:
    """One to three trees of nested blocks; rows are their leaves, in random order. Slots are scattered."""
    rng = random.Random(seed)
    free = iter(rng.sample(range(50_000), 50_000))
    made = Rows()

    def grow(chain: list[tuple[object, int]], prefix: list[int], below: int) -> None:
        row = prefix + [next(free) for _ in range(rng.randint(1, longest))]
        children = rng.choice((0, 0, 1, 2, 3, 5)) if below and len(made.slots) < most else 0
        if not children:
            made.chains.append(tuple(chain))
            made.slots.append(row)
        for _ in range(children):
            grow([*chain, (row[-1], len(row))], row, below - 1)

    for _ in range(rng.randint(1, 3)):
        grow([], [], depth)
    order = rng.sample(range(len(made.slots)), len(made.slots))
    return Rows([made.chains[row] for row in order], [made.slots[row] for row in order])


def dense(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, slots: list[list[int]], scale: float) -> torch.Tensor:
    """(rows, heads, width): attention row by row, in float64."""

    def one(query: torch.Tensor, where: list[int]) -> torch.Tensor:
        keys, values = k[where].double(), v[where].double()
        grouped = query.double().view(k.shape[1], -1, query.shape[-1])
        weights = (torch.einsum("hgd,thd->hgt", grouped, keys) * scale).softmax(-1)
        return torch.einsum("hgt,thd->hgd", weights, values).reshape(query.shape)

    return torch.stack([one(query, where) for query, where in zip(q, slots, strict=True)])


def relative(out: torch.Tensor, right: torch.Tensor) -> Iterator[float]:
    """Per row, the norm of the difference over the norm; NaN stays NaN."""
    for mine, its in zip(out.double(), right, strict=True):
        yield float((mine - its).norm() / its.norm())
