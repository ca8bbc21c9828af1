"""Rows of random tokens in the layouts that fork and join give, of any size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from espalier.runtime.layout import Layout, LayoutBuilder, pack
from espalier.training.data.packing import PackedSequence
from espalier.training.model.network import PolicyNetwork
from recipes.seedling.network import build
from recipes.seedling.settings import ModelConfig

VOCABULARY = 97

SHAPE = ModelConfig(
    hidden=32, layers=2, heads=4, kv_heads=2, head_dim=8, intermediate=48, context=512, rope_theta=10000.0
)


class Words:
    """What `build` needs to know of a tokenizer."""

    eos_token_id = 1
    pad_token_id = 0

    def __init__(self, count: int = VOCABULARY) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count


def policy(seed: int) -> PolicyNetwork:
    torch.manual_seed(seed)
    return PolicyNetwork(build(SHAPE, Words()).train())  # type: ignore[arg-type]


def forked(before: int, steps: Sequence[int], after: int) -> Layout:
    """`before` tokens, one block with steps of these lengths, `after` tokens."""
    builder = LayoutBuilder()
    builder.text(before)
    if steps:
        builder.fork()
        for step in steps:
            builder.open()
            builder.text(step)
            builder.close()
        builder.join()
    builder.text(after)
    return builder.layout()


def random_sequence(layouts: Sequence[Layout], length: int, seed: int, vocabulary: int = VOCABULARY) -> PackedSequence:
    """Random tokens in these layouts, about three in four of them trained."""
    draw = np.random.default_rng(seed)
    packed = pack(layouts, length)
    trained = draw.random(length) < 0.75
    trained[sum(map(len, layouts)) :] = False
    trained[np.flatnonzero(np.diff(packed.document, prepend=-1))] = False
    tokens = draw.integers(2, vocabulary, length).astype(np.int32)
    return PackedSequence(tokens, trained, np.zeros(length, np.int8), packed)


def rows(count: int, length: int = 96) -> list[PackedSequence]:
    """Rows of two responses each, with and without blocks."""
    return [random_sequence([forked(10, [5 + i, 12, 7], 9), forked(11 + i, [], 6)], length, i) for i in range(count)]
