"""Batches of judged rollouts, by number."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from espalier.training.config import RlConfig
from espalier.training.data.problems import ProblemStream
from espalier.training.rl.batch import usable_groups
from espalier.training.rl.judged import JudgedRollout
from espalier.training.rl.objective import Objective
from espalier.training.rl.rollout import Collector
from espalier.training.run.distributed import TrainingGroup


@dataclass(frozen=True, slots=True)
class Algorithm:
    """What tells the kinds of reinforcement learning apart.

    Attributes:
        objective: From rewards to a gradient.
        format_reward: Whether keeping to the grammar is rewarded, too.
    """

    objective: Objective
    format_reward: bool


@dataclass(frozen=True, slots=True)
class RolloutBatch:
    """This process's share of a batch.

    Attributes:
        rollouts: All of them.
        groups: Those that can be trained on, by prompt.
        dropped: Groups that were dropped, by reason.
    """

    rollouts: tuple[JudgedRollout, ...]
    groups: list[list[JudgedRollout]]
    dropped: Counter[str]


@dataclass(frozen=True, slots=True)
class BatchSampler:
    """Draws batches. Batch number i depends on the settings, i and the weights alone: a resumed run repeats it, and so
    does a run of another number of processes, up to rounding, unless it has redraws: each process fills up its own
    share."""

    config: RlConfig
    method: Algorithm
    collector: Collector
    problems: ProblemStream
    group: TrainingGroup

    async def __call__(self, number: int) -> RolloutBatch:
        """Batch number `number`; filled up with other problems while groups are dropped and redraws are left."""
        rollout = self.config.rollout
        share = rollout.prompts // self.group.size
        rollouts: list[JudgedRollout] = []
        groups: list[list[JudgedRollout]] = []
        dropped: Counter[str] = Counter()
        for turn in range(1 + rollout.redraws):
            first = (number * (1 + rollout.redraws) + turn) * rollout.prompts + self.group.rank * share
            wanted = range(first, first + share - len(groups))
            if not wanted:
                break
            asked = [self.problems(i) for i in wanted]
            fresh = await self.collector.collect(asked, rollout.samples, str(self.config.seed), first)
            kept, lost = usable_groups(fresh, only_informative=self.method.objective.only_informative)
            rollouts += [one for group in fresh for one in group]
            groups += kept
            dropped += lost
        return RolloutBatch(tuple(rollouts), groups, dropped)
