"""Stage 1, NPR-Zero: find the format by reinforcement learning, without a teacher.

Responses are decoded one token after the other. The reward is the outcome plus a format score of at most 0
(`reward.FORMAT_SCORES`), so a model that has only seen the tags begins to write whole blocks.
"""

from __future__ import annotations

from espalier.runtime.engine import Mode
from espalier.training.config import ConfigError, RlConfig
from espalier.training.rl.objective import Dapo
from espalier.training.rl.sampler import Algorithm


def method(config: RlConfig) -> Algorithm:
    """DAPO with the format score.

    Raises:
        ConfigError: The rollouts are not sequential.
    """
    if config.rollout.mode is not Mode.SEQUENTIAL:
        raise ConfigError('rollout.mode: stage zero decodes sequentially; write mode = "sequential"')
    return Algorithm(Dapo(config.objective.clip_low, config.objective.clip_high), format_reward=True)
