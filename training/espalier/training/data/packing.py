"""Packed sequences: several examples side by side, one behind the other in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from espalier.runtime.layout import Packed, pack, with_tables
from espalier.training.data.example import RolloutTokens, TrainingExample


@dataclass(frozen=True, slots=True)
class PackedSequence:
    """Examples packed into a row of fixed length.

    Attributes:
        tokens: (length,) ids; 0 (the padding token) behind the last example.
        trained: (length,) whether the token is predicted.
        task: (length,) index of the task the token belongs to, for loss by task.
        packed: Positions and visibility.
        rollout: As in the examples.
    """

    tokens: npt.NDArray[np.int32]
    trained: npt.NDArray[np.bool_]
    task: npt.NDArray[np.int8]
    packed: Packed
    rollout: RolloutTokens | None = None


def packed_sequence(examples: Sequence[tuple[int, TrainingExample]], length: int) -> PackedSequence:
    """Put (task index, example) pairs side by side into a row; without any, a row of padding.

    Raises:
        ValueError: they do not fit.
    """
    tokens = np.zeros(length, dtype=np.int32)
    trained = np.zeros(length, dtype=np.bool_)
    task = np.zeros(length, dtype=np.int8)
    rollout = RolloutTokens.none(length) if any(example.rollout for _, example in examples) else None
    start = 0
    for kind, example in examples:
        at = slice(start, start + len(example.tokens))
        tokens[at], trained[at], task[at] = example.tokens, example.trained, kind
        if rollout and example.rollout:
            own = example.rollout
            rollout.logprobs[at], rollout.advantages[at], rollout.kinds[at] = own.logprobs, own.advantages, own.kinds
            rollout.states[at] = own.states
        start = at.stop
    return PackedSequence(
        tokens, trained, task, with_tables(pack([example.layout for _, example in examples], length)), rollout
    )


def bins(sizes: Sequence[int], capacity: int) -> list[list[int]]:
    """Indices of items, shared out to as few bins as first-fit-decreasing finds; every item is in exactly one.

    Raises:
        ValueError: an item is larger than a bin; the message names it.
    """
    members: list[list[int]] = []
    space: list[int] = []
    for item in sorted(range(len(sizes)), key=lambda index: -sizes[index]):
        if sizes[item] > capacity:
            raise ValueError(f"item {item} has {sizes[item]} tokens and a packed sequence {capacity}")
        at = next((i for i, free in enumerate(space) if free >= sizes[item]), len(space))
        if at == len(space):
            members.append([])
            space.append(capacity)
        members[at].append(item)
        space[at] -= sizes[item]
    return members
