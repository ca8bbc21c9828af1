"""Stage 3, PAPO: reinforcement learning under the computation graph that is served.

The fork/join engine keeps the structure, so the reward is the outcome alone. With `rollout.mode = "sequential"` this is
the control of the paper, sequential reinforcement learning: everything else is the same.
"""

from __future__ import annotations

from espalier.training.config_rl import RlConfig
from espalier.training.draw import Method
from espalier.training.objective import Papo


def method(config: RlConfig) -> Method:
    """PAPO with the outcome as reward."""
    return Method(Papo(config.optimizer.weight_cap or None), format_score=False)
