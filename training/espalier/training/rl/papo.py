"""Stage 3, PAPO: reinforcement learning under the computation graph that is served.

The fork/join engine keeps the structure, so the reward is the outcome alone. With `rollout.mode = "sequential"` this is
the baseline of the paper, sequential reinforcement learning: everything else is the same. `credit.kind = "set"` gives
branches, plans and joins credit of their own.
"""

from __future__ import annotations

from espalier.runtime.engine import Mode
from espalier.training.config import ConfigError, CreditKind, RlConfig
from espalier.training.rl.credit import Credit, OutcomeCredit, SampleCredit, SetCredit, ShorterPath
from espalier.training.rl.objective import Papo
from espalier.training.rl.sampler import Algorithm


def method(config: RlConfig) -> Algorithm:
    """PAPO with the outcome as reward.

    Raises:
        ConfigError: Set credit for sequential rollouts without a size of the sets; rollouts of older weights without
            importance weights.
    """
    if config.rollout.ahead and not config.objective.max_importance_weight:
        raise ConfigError(
            "rollout.ahead: what is sampled ahead is a step old; set objective.max_importance_weight (for example 2.0)"
        )
    settings = config.credit
    credit: Credit = OutcomeCredit()
    if settings.kind is CreditKind.SET and config.rollout.mode is Mode.PARALLEL:
        credit = SetCredit(settings.k, settings.k_until, settings.divide)
    elif settings.kind is CreditKind.SET:
        if not settings.k:
            raise ConfigError(
                'credit.k: sequential rollouts have no blocks to take it from; give a number, or kind = "outcome"'
            )
        credit = SampleCredit(settings.k, settings.k_until, settings.divide)
    if settings.shorter:
        credit = ShorterPath(credit, settings.shorter)
    objective = Papo(config.objective.max_importance_weight or None, credit, settings.balance_kinds)
    return Algorithm(objective, format_reward=False)
