"""Reinforcement learning: sample, judge, take one step, hand the new weights to the engine, and again.

The same loop for one process and for many, for the local engine and for servers, and for all objectives. Strictly on
policy: every batch of rollouts is made by the present weights and trains one optimiser step.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from espalier.training.config import ConfigError, RlConfig
from espalier.training.data.problems import held_out_problems, stream
from espalier.training.export import finish
from espalier.training.model.network import load_network
from espalier.training.rl.branches import set_counts, set_metrics
from espalier.training.rl.learner import Learned, Learner
from espalier.training.rl.monitor import ROLLOUTS, RolloutLog, export_step, held_out_entry, keep_best
from espalier.training.rl.reward import OUTCOMES, RolloutStatus
from espalier.training.rl.rollout import JudgedRollout
from espalier.training.rl.rollout_engine import collector_for, sync_weights
from espalier.training.rl.sampler import Algorithm, BatchSampler, RolloutBatch
from espalier.training.run.checkpoint import Progress, restore, save
from espalier.training.run.deadline import Deadline
from espalier.training.run.directory import prepare
from espalier.training.run.distributed import ALONE, Group
from espalier.training.run.metrics import Report, journal
from espalier.training.trainer import Trainer

FRUITLESS = 3
"""Batches in a row without anything to train on after which a run gives up."""


FREE = (
    "steps",
    "checkpoint_every",
    "keep_checkpoints",
    "export_checkpoints",
    "log_rollouts",
    "held_out",
    "service",
    "metrics",
)
"""Settings that a run may change when it is resumed."""


class NoTrainableDataError(RuntimeError):
    """Batch after batch has nothing to train on; the message says what became of the rollouts."""


def train(
    config: RlConfig,
    method: Algorithm,
    initial: Path,
    out: Path,
    show: Report,
    *,
    resume: bool = False,
    deadline: Deadline = Deadline(),
    group: Group = ALONE,
) -> bool:
    """Train, with checkpoints in `out/checkpoint`, metrics in `out/metrics.jsonl` and the weights at last in
    `out/model`.

    Args:
        config: The run's settings; stored as `out/config.json`.
        method: Objective and reward.
        initial: Model directory to begin from.
        out: Folder of the run.
        show: Shows an entry of the metrics, or a note, to a person.
        resume: Go on from the last checkpoint in `out`, if there is one.
        deadline: When this part of the run has to stop, with a checkpoint.
        group: The processes that train together.

    Returns:
        Whether the run is finished.

    Raises:
        ConfigError: The settings make no sense, or differ from those of the run that is resumed.
        CheckpointError: A checkpoint cannot be read or written.
        EngineError: The engine failed.
        NotFiniteError: The loss is not finite; the batch is in `out`.
        NoTrainableDataError: Several batches in a row have nothing to train on.
    """
    if group.is_main:
        prepare(config, out, resume=resume, free=FREE)
    group.barrier()
    return asyncio.run(_train(config, method, initial, out, show, resume, deadline, group))


async def _train(
    config: RlConfig,
    method: Algorithm,
    initial: Path,
    out: Path,
    show: Report,
    resume: bool,
    deadline: Deadline,
    group: Group,
) -> bool:
    rollout = config.rollout
    if rollout.prompts % group.size:
        raise ConfigError(f"rollout.prompts {rollout.prompts} cannot be shared out to {group.size} processes")
    problems = stream(config.problems)
    held_out = held_out_problems(config.problems, config.held_out) if config.held_out.every else []
    network = load_network(initial, group.device)
    tokenizer = AutoTokenizer.from_pretrained(initial)
    notes: list[Report] = []  # who hears of the verifiers, once the journal is open

    def tell(text: str) -> None:
        for note in notes:
            note({"note": text if group.is_main else f"process {group.rank}: {text}"})

    opened = collector_for(config.service, network, tokenizer, initial, rollout.mode, rollout.limits, tell)
    async with opened as collector:
        trainer = Trainer.of(network, tokenizer, config.trainer, group)
        log = RolloutLog(out / ROLLOUTS, config.log_rollouts, tokenizer) if group.is_main else None
        learner = Learner(trainer, method.objective, config.objective.max_mismatch_kl, log)
        saved = out / "checkpoint"
        resumed = resume and any(saved.glob("[0-9]*"))
        progress = restore(saved, network, trainer.optimizers, group) if resumed else Progress()
        with _journal(config, out, progress, show, group) as record:
            if log is not None:
                log.begin(progress.step)
            notes.append(record if group.is_main else show)
            judging = replace(
                collector,
                judge_branches=config.judges_branches,
                branch_programs=rollout.branch_programs,
                rejoins=rollout.rejoins,
                format_reward=method.format_reward,
                max_length=config.trainer.sequence_length,
            )
            draw = BatchSampler(config, method, judging, problems, group)
            learner.version = await sync_weights(collector.engine, network, group, collector.outage)
            fruitless = 0

            async def look(step: int) -> None:
                """Measure on held-out problems; the main process does, the others wait."""
                accuracy = None
                if group.is_main:
                    found = await held_out_entry(collector, held_out, config.held_out.samples, config.seed)
                    accuracy = found["accuracy"]
                    record(
                        {"step": step, "held_out": {name: _rounded(v) for name, v in found.items() if v is not None}}
                    )
                await asyncio.to_thread(group.barrier)
                keep_best(out, accuracy, step, network, tokenizer, initial, group)

            if held_out and not progress.step:
                await look(0)
            while progress.step < config.steps:
                started = time.monotonic()
                batch = await draw(progress.position)
                await asyncio.to_thread(group.barrier)  # a process may wait long for its verifier or a last response
                generated = time.monotonic()
                learned = learner.learn(batch.groups, progress.step, out, progress.step / config.steps)
                trained = time.monotonic()
                if learned is None:
                    fruitless = _no_step(batch, progress, fruitless, record, group)
                    progress = Progress(progress.step, progress.position + 1, progress.seconds)
                    continue
                fruitless = 0
                learner.version = await sync_weights(collector.engine, network, group, collector.outage)
                seconds = Seconds(generated - started, trained - generated, time.monotonic() - trained)
                progress = Progress(progress.step + 1, progress.position + 1, progress.seconds + seconds.total)
                record(entry(progress, config, batch, learned, seconds, group))
                stop = group.maximum(torch.tensor(int(deadline.passed()))).item() and progress.step < config.steps
                if stop or progress.step % config.checkpoint_every == 0 or progress.step == config.steps:
                    save(saved, network, trainer.optimizers, progress, group, config.keep_checkpoints)
                    if config.export_checkpoints:
                        export_step(config, out, progress.step, network, tokenizer, initial, group)
                if held_out and (progress.step % config.held_out.every == 0 or progress.step == config.steps):
                    await look(progress.step)
                if stop:
                    return False
            finish(out, network, tokenizer, initial, group)
    return True


@dataclass(frozen=True, slots=True)
class Seconds:
    """Where the time of a step went; verifying overlaps generating."""

    generate: float
    train: float
    sync: float

    @property
    def total(self) -> float:
        return self.generate + self.train + self.sync


def entry(
    progress: Progress, config: RlConfig, batch: RolloutBatch, learned: Learned, seconds: Seconds, group: Group
) -> dict[str, Any]:
    """The metrics of a step, over all processes (which all have to call it)."""
    tasks = tuple(config.problems.tasks)
    total = _totals(batch, tasks, group)
    attempts, decided, rewarded = (max(1.0, total[name]) for name in ("attempts", "decided", "rewarded"))
    return {
        "step": progress.step,
        "reward": round(total["reward"] / rewarded, 4),
        "accuracy": round(total[RolloutStatus.PASSED] / decided, 4),
        "accuracy_by_task": {
            name: round(total[f"{RolloutStatus.PASSED}/{name}"] / total[f"decided/{name}"], 4)
            for name in tasks
            if total[f"decided/{name}"]
        },
        "well_formed": round(total["well_formed"] / attempts, 4),
        "parallel": round(total["forked"] / attempts, 4),
        "responses": int(total["attempts"]),
        "verdicts": int(total["verdicts"]),
        "tokens": round(total["tokens"] / attempts, 1),
        "rejoin_tokens": int(total["rejoin_tokens"]),
        "critical_path": round(total["critical_path"] / attempts, 1),
        **{status.value: int(total[status]) for status in RolloutStatus},
        "refused": int(total["refused"]),
        "dropped_too_few_valid": int(total["too_few_valid"]),
        "dropped_uninformative": int(total["uninformative"]),
        **{name: _rounded(value) for name, value in asdict(learned).items()},
        **set_metrics(total),
        "seconds_generate": round(seconds.generate, 3),
        "seconds_train": round(seconds.train, 3),
        "seconds_sync": round(seconds.sync, 3),
        "tokens_per_second": round((total["tokens"] + total["rejoin_tokens"]) / seconds.total),
        "done": round(progress.step / config.steps, 4),
    }


def _rounded(value: float | dict[str, float]) -> Any:
    if isinstance(value, dict):
        return {name: round(one, 4) for name, one in value.items()}
    return float(f"{value:.9g}")


def _totals(batch: RolloutBatch, tasks: Sequence[str], group: Group) -> dict[str, float]:
    """Sums over the attempts of all processes; some also by task."""
    values = [one.reward.value for one in batch.attempts if one.reward.value is not None]
    statuses = Counter(one.status for one in batch.attempts)
    of_task = Counter((one.problem.task, one.status) for one in batch.attempts)
    sums: dict[str, float] = {
        "attempts": len(batch.attempts),
        "rewarded": len(values),
        "reward": sum(values),
        "decided": sum(count for status, count in statuses.items() if status in OUTCOMES),
        "well_formed": sum(one.well_formed for one in batch.attempts),
        "verdicts": _verdicts(batch.attempts),
        "forked": sum(one.forked for one in batch.attempts),
        "tokens": sum(one.usage.new_tokens for one in batch.attempts),
        "rejoin_tokens": sum(again.usage.new_tokens for one in batch.attempts for again in one.rejoins),
        "critical_path": sum(one.usage.critical_path_tokens for one in batch.attempts),
        "refused": sum(one.refused for one in batch.attempts),
        "too_few_valid": batch.dropped["too_few_valid"],
        "uninformative": batch.dropped["uninformative"],
        **{status: statuses[status] for status in RolloutStatus},
        **set_counts(batch.attempts),
        **{f"{RolloutStatus.PASSED}/{name}": of_task[name, RolloutStatus.PASSED] for name in tasks},
        **{f"decided/{name}": sum(of_task[name, status] for status in OUTCOMES) for name in tasks},
    }
    return dict(zip(sums, group.sum(torch.tensor(list(sums.values()), dtype=torch.float64)).tolist(), strict=True))


def _verdicts(attempts: Sequence[JudgedRollout]) -> int:
    """Verdicts that were asked for: one on each conclusion, and one on each different answer of a prompt's steps."""
    asked = {(attempt.problem.id, branch.answer) for attempt in attempts for branch in attempt.branches}
    conclusions = sum((attempt.verdict is not None) + len(attempt.rejoins) for attempt in attempts)
    return conclusions + len(asked)


def _no_step(batch: RolloutBatch, progress: Progress, fruitless: int, record: Report, group: Group) -> int:
    """Say why a batch trains nothing; the number of such batches in a row.

    Raises:
        NoTrainableDataError: It is `FRUITLESS`.
    """
    total = _totals(batch, (), group)
    became = ", ".join(f"{int(total[status])} {status.value}" for status in RolloutStatus if total[status])
    details = {_evidence(one) or one.detail for one in batch.attempts if one.reward.value is None}
    said = next(iter(sorted(details - {""})), "")
    note = f"no step: nothing to train on in this batch ({became})" + (f"; for example: {said}" if said else "")
    record({"step": progress.step, "note": note})
    if fruitless + 1 == FRUITLESS:
        raise NoTrainableDataError(
            f"{FRUITLESS} batches in a row had nothing to train on ({became}); {said}".rstrip("; ")
        )
    return fruitless + 1


def _evidence(attempt: JudgedRollout) -> str:
    evidence = attempt.verdict.evidence if attempt.verdict else ()
    return evidence[0].detail if evidence else ""


def _journal(
    config: RlConfig, out: Path, progress: Progress, show: Report, group: Group
) -> AbstractContextManager[Report]:
    """Only the main process keeps a journal."""
    if not group.is_main:
        return nullcontext(lambda entry: None)
    return journal(out, config.metrics, progress.step, asdict(config), show)
