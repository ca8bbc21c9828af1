"""Stage 3, PAPO: reinforcement learning under the computation graph that is served.

The fork/join engine keeps the structure, so the reward is the outcome alone. With `rollout.mode = "sequential"` this is
the control of the paper, sequential reinforcement learning: everything else is the same.
"""

from __future__ import annotations

from espalier.training.rl.config import RlConfig
from espalier.training.rl.objective import Papo
from espalier.training.rl.sampler import Algorithm


def method(config: RlConfig) -> Algorithm:
    """PAPO with the outcome as reward."""
    return Algorithm(Papo(config.optimizer.weight_cap or None), format_score=False)
