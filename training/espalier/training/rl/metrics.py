"""The metrics of a step, over all processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from espalier.training.config import RlConfig
from espalier.training.rl.branches import set_counts, set_metrics
from espalier.training.rl.judged import JudgedRollout
from espalier.training.rl.learner import Learned
from espalier.training.rl.reward import JUDGED, OUTCOMES, RolloutStatus
from espalier.training.rl.sampler import RolloutBatch
from espalier.training.run.distributed import TrainingGroup


@dataclass(frozen=True, slots=True)
class Seconds:
    """Where the time of a step went; verifying overlaps generating.

    Attributes:
        generate: Waiting for rollouts. Those that are sampled ahead are waited for when the step has been taken.
        train: Taking the step.
        sync: Handing the weights to the engine.
    """

    generate: float
    train: float
    sync: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.generate + self.train + self.sync


def entry(
    config: RlConfig, batch: RolloutBatch, learned: Learned, seconds: Seconds, group: TrainingGroup
) -> dict[str, Any]:
    """The metrics of a step, over all processes (which all have to call it)."""
    tasks = tuple(config.problems.tasks)
    total = totals(batch, tasks, group)
    rollouts, decided, rewarded = (max(1.0, total[name]) for name in ("rollouts", "decided", "rewarded"))
    return {
        "reward": round(total["reward"] / rewarded, 4),
        "accuracy": round(total[RolloutStatus.PASSED] / decided, 4),
        "accuracy_by_task": {
            name: round(total[f"{RolloutStatus.PASSED}/{name}"] / total[f"decided/{name}"], 4)
            for name in tasks
            if total[f"decided/{name}"]
        },
        "well_formed": round(total["well_formed"] / rollouts, 4),
        "parallel": round(total["forked"] / rollouts, 4),
        "responses": int(total["rollouts"]),
        "verdicts": int(total["verdicts"]),
        "tokens": round(total["tokens"] / rollouts, 1),
        "rejoin_tokens": int(total["rejoin_tokens"]),
        "critical_path": round(total["critical_path"] / rollouts, 1),
        **{status.value: int(total[status]) for status in RolloutStatus},
        "refused": int(total["refused"]),
        "rejoins_refused": int(total["rejoins_refused"]),
        "dropped_too_few_valid": int(total["too_few_valid"]),
        "dropped_uninformative": int(total["uninformative"]),
        **{name: rounded(value) for name, value in asdict(learned).items()},
        **set_metrics(total),
        "seconds_generate": round(seconds.generate, 3),
        "seconds_train": round(seconds.train, 3),
        "seconds_sync": round(seconds.sync, 3),
        "tokens_per_second": round((total["tokens"] + total["rejoin_tokens"]) / seconds.total),
    }


def rounded(value: float | dict[str, float]) -> Any:
    """With as many digits as metrics have."""
    if isinstance(value, dict):
        return {name: round(one, 4) for name, one in value.items()}
    return float(f"{value:.9g}")


def totals(batch: RolloutBatch, tasks: Sequence[str], group: TrainingGroup) -> dict[str, float]:
    """Sums over the rollouts of all processes; some also by task."""
    values = [one.reward.value for one in batch.rollouts if one.reward.value is not None]
    statuses = Counter(one.status for one in batch.rollouts)
    of_task = Counter((one.problem.task, one.status) for one in batch.rollouts)
    sums: dict[str, float] = {
        "rollouts": len(batch.rollouts),
        "rewarded": len(values),
        "reward": sum(values),
        "decided": sum(count for status, count in statuses.items() if status in OUTCOMES),
        "well_formed": sum(one.well_formed for one in batch.rollouts),
        "verdicts": _verdicts(batch.rollouts),
        "forked": sum(one.forked for one in batch.rollouts),
        "tokens": sum(one.finished.usage.new_tokens for one in batch.rollouts),
        "rejoin_tokens": sum(again.usage.new_tokens for one in batch.rollouts for again in one.rejoins),
        "critical_path": sum(one.finished.usage.critical_path_tokens for one in batch.rollouts),
        "refused": sum(one.refused for one in batch.rollouts),
        "rejoins_refused": sum(again.refused for one in batch.rollouts for again in one.rejoins),
        "too_few_valid": batch.dropped["too_few_valid"],
        "uninformative": batch.dropped["uninformative"],
        **{status: statuses[status] for status in RolloutStatus},
        **set_counts(batch.rollouts),
        **{f"{RolloutStatus.PASSED}/{name}": of_task[name, RolloutStatus.PASSED] for name in tasks},
        **{f"decided/{name}": sum(of_task[name, status] for status in OUTCOMES) for name in tasks},
    }
    return dict(zip(sums, group.sum(torch.tensor(list(sums.values()), dtype=torch.float64)).tolist(), strict=True))


def _verdicts(rollouts: Sequence[JudgedRollout]) -> int:
    """Verdicts that were asked for: one on each conclusion, and one on each different answer of a prompt's steps."""
    asked = {(rollout.problem.id, branch.answer) for rollout in rollouts for branch in rollout.branches}
    judged = sum(again.status in JUDGED for rollout in rollouts for again in rollout.rejoins)
    return sum(rollout.verdict is not None for rollout in rollouts) + judged + len(asked)
