"""From judged rollouts to micro-batches: groups, examples, packed sequences.

Rows hold each token once: the sibling branches of a block stand side by side behind the prefix that they share, and
see what the engine's branches saw (:mod:`espalier.runtime.layout`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch

from espalier.runtime.constraint import Constraint
from espalier.runtime.layout import layout_of_paths
from espalier.training.config import TrainerConfig
from espalier.training.data.example import RolloutTokens, TrainingExample
from espalier.training.data.packing import bins, packed_sequence
from espalier.training.model.network import MicroBatch, collate
from espalier.training.rl.credit import Bools, Floats
from espalier.training.rl.judged import JudgedRollout
from espalier.training.rl.segments import kinds


def usable_groups(
    groups: Sequence[Sequence[JudgedRollout]], *, only_informative: bool
) -> tuple[list[list[JudgedRollout]], Counter[str]]:
    """The valid responses of every group that can be compared, and how many groups were dropped and why.

    Args:
        groups: The responses to each prompt.
        only_informative: Drop groups whose rewards are all equal, too (DAPO's dynamic sampling).
    """
    kept: list[list[JudgedRollout]] = []
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


def example_of(
    judged: JudgedRollout,
    advantages: Floats | float,
    trained: Bools | bool = True,
    constraint: Constraint | None = None,
) -> TrainingExample:
    """What the engine reported, as a training sequence: no token is trained but those that were sampled.

    Args:
        judged: A response with n new tokens.
        advantages: (n,), or one for all.
        trained: (n,), or one for all: which of the sampled tokens.
        constraint: What it was sampled under; None: it was free.
    """
    rollout = judged.rollout
    offset = len(rollout.prompt)
    tokens = np.array((*rollout.prompt, *rollout.tokens), dtype=np.int32)
    mask = np.zeros(len(tokens), dtype=np.bool_)
    mask[offset:] = ~np.array(rollout.forced, dtype=np.bool_) & trained
    known = RolloutTokens.none(len(tokens))
    known.logprobs[offset:], known.advantages[offset:] = rollout.logprobs, advantages
    known.kinds[offset:] = kinds(judged.segments)
    if constraint is not None:
        known.states[offset:] = constraint.states(rollout.tokens, rollout.paths)
    return TrainingExample(tokens, mask, layout_of_paths(len(rollout.prompt), rollout.positions, rollout.paths), known)


def micro_batches(
    examples: Sequence[TrainingExample],
    config: TrainerConfig,
    device: torch.device,
    *,
    constraint: Constraint | None = None,
    count: int = 0,
    even: bool = False,
) -> list[MicroBatch]:
    """Pack examples into sequences, and those into micro-batches.

    Args:
        examples: What is trained.
        config: Lengths and sizes.
        device: Where to put them.
        constraint: What they were sampled under.
        count: At least so many: those beyond what the examples fill train nothing, for a process that has to take part
            in the passes of others.
        even: Fill the last micro-batches up with sequences of padding, so that all have one shape.

    Raises:
        ValueError: One example is longer than a row.
    """
    length, size = config.sequence_length, config.micro_batch_size
    try:
        shares = bins([len(one.tokens) for one in examples], length)
    except ValueError as error:
        raise ValueError(f"trainer.sequence_length is too small: {error}") from None
    packed = [packed_sequence([(0, examples[index]) for index in share], length) for share in shares]
    batches = [packed[start : start + size] for start in range(0, len(packed), size)]
    batches += [[]] * (count - len(batches))
    padding = packed_sequence([], length)
    filled = [batch + [padding] * ((size if even else 1) - len(batch)) for batch in batches]
    return [collate(batch, device, constraint) for batch in filled]
