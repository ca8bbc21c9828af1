"""From judged attempts to micro-batches: groups, advantages, packed rows.

Rows hold each token once: the sibling branches of a block stand side by side behind the prefix that they share, and
see what the engine's branches saw (:mod:`espalier.runtime.layout`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from espalier.training.data.example import Example
from espalier.training.data.packing import bins, row_of
from espalier.training.model.network import Batch, collate
from espalier.training.rl.credit import Bools, Floats, Scored, kinds, segments
from espalier.training.rl.objective import Sampled
from espalier.training.rl.reward import Reward
from espalier.training.rl.rollout import JudgedRollout, rollout_layout


@dataclass(frozen=True, slots=True)
class Judged:
    """An attempt and what it is worth."""

    attempt: JudgedRollout
    reward: Reward


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One response, ready for training.

    Attributes:
        example: Token ids, which of them are trained, and their layout.
        logprobs: (n,) as the engine reported them when it sampled.
        advantages: (n,)
        kinds: (n,) the :class:`espalier.training.rl.credit.TokenKind` of each token; 0 in the prompt.
    """

    example: Example
    logprobs: Floats
    advantages: Floats
    kinds: npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """A micro-batch: what the model reads, and what the objective needs beside its answer.

    Attributes:
        batch: Tokens, positions, visibility and targets.
        rollout_logprobs, advantages, kinds: (rows, length), at the places of the targets.
    """

    batch: Batch
    rollout_logprobs: Tensor
    advantages: Tensor
    kinds: Tensor

    def sampled(self, logprobs: Tensor) -> Sampled:
        """With the (rows, length) log-probabilities of the targets under the weights being trained."""
        return Sampled(logprobs, self.rollout_logprobs, self.advantages, self.batch.targets >= 0)


def usable_groups(
    groups: Sequence[Sequence[Judged]], *, only_informative: bool
) -> tuple[list[list[Judged]], Counter[str]]:
    """The valid attempts of every group that can be compared, and how many groups were dropped and why.

    Args:
        groups: The attempts at each prompt.
        only_informative: Drop groups whose rewards are all equal, too (DAPO's dynamic sampling).
    """
    kept: list[list[Judged]] = []
    dropped: Counter[str] = Counter()
    for group in groups:
        valid = [one for one in group if one.reward.value is not None]
        if len(valid) < 2:
            dropped["too_few_valid"] += 1
        elif only_informative and len({one.reward.value for one in valid}) == 1:
            dropped["uninformative"] += 1
        else:
            kept.append(valid)
    return kept, dropped


def scored(judged: Judged) -> Scored:
    """A valid attempt as credit is worked out from it."""
    attempt, value = judged.attempt, judged.reward.value
    if value is None:
        raise ValueError(f"an attempt at {attempt.problem.id} is {judged.reward.fate}: it has no reward")
    return Scored(
        reward=value,
        segments=segments(attempt.rollout.paths, attempt.structure, len(attempt.rollout.prompt)),
        branches={branch.path: branch.right for branch in attempt.branches},
        rejoins=attempt.rejoin_rewards,
        critical_path=attempt.usage.critical_path_tokens,
    )


def trajectory(attempt: JudgedRollout, advantages: Floats | float, trained: Bools | bool = True) -> Trajectory:
    """What the engine reported, as a training sequence: no token is trained but those that were sampled.

    Args:
        attempt: A response with n new tokens.
        advantages: (n,), or one for all.
        trained: (n,), or one for all: which of the sampled tokens.
    """
    rollout = attempt.rollout
    offset = len(rollout.prompt)
    tokens = np.array((*rollout.prompt, *rollout.tokens), dtype=np.int32)
    mask = np.zeros(len(tokens), dtype=np.bool_)
    mask[offset:] = ~np.array(rollout.forced, dtype=np.bool_) & trained
    logprobs, spread = np.zeros((2, len(tokens)), dtype=np.float32)
    logprobs[offset:], spread[offset:] = rollout.logprobs, advantages
    of_kind = np.zeros(len(tokens), dtype=np.int8)
    of_kind[offset:] = kinds(segments(rollout.paths, attempt.structure, offset))
    return Trajectory(Example(tokens, mask, rollout_layout(rollout)), logprobs, spread, of_kind)


def parts(
    trajectories: Sequence[Trajectory],
    row_length: int,
    rows_per_part: int,
    device: torch.device,
    *,
    even: bool = False,
) -> list[MicroBatch]:
    """Pack trajectories into rows, and rows into micro-batches.

    Args:
        trajectories: What is trained.
        row_length: Tokens in a row.
        rows_per_part: Rows in a micro-batch.
        device: Where to put them.
        even: Fill the last micro-batch up with rows of padding, so that all have one shape.

    Raises:
        ValueError: One is longer than a row.
    """
    try:
        shares = bins([len(one.example.tokens) for one in trajectories], row_length)
    except ValueError as error:
        raise ValueError(f"optimizer.row_length is too small: {error}") from None
    rows = [[trajectories[index] for index in share] for share in shares]
    batches = [rows[start : start + rows_per_part] for start in range(0, len(rows), rows_per_part)]
    if even:
        batches = [batch + [[]] * (rows_per_part - len(batch)) for batch in batches]
    return [_part(batch, row_length, device) for batch in batches]


def empty_part(row_length: int, rows: int, device: torch.device) -> MicroBatch:
    """A micro-batch that trains nothing, for a rank that has to take part in a pass of the others."""
    return _part([[]] * rows, row_length, device)


def _part(rows: Sequence[Sequence[Trajectory]], length: int, device: torch.device) -> MicroBatch:
    def at_targets(values: list[list[npt.NDArray[Any]]], dtype: type[np.generic] = np.float32) -> Tensor:
        """(rows, length) values of the tokens, moved to where they are predicted."""
        table = np.zeros((len(rows), length), dtype=dtype)
        for row, runs in zip(table, values, strict=True):
            joined = np.concatenate([*runs, np.zeros(0, dtype=dtype)])
            row[: max(len(joined) - 1, 0)] = joined[1:]
        return torch.from_numpy(table).to(device)

    return MicroBatch(
        collate([row_of([(0, one.example) for one in row], length) for row in rows], device),
        at_targets([[one.logprobs for one in row] for row in rows]),
        at_targets([[one.advantages for one in row] for row in rows]),
        at_targets([[one.kinds for one in row] for row in rows], np.int8),
    )
