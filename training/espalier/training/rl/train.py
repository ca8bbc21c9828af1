"""Reinforcement learning: sample, judge, take one step, hand the new weights to the engine, and again.

The same for one process and for many, for the local engine and for servers, and for all objectives. Every batch of
rollouts trains one optimiser step. It is made by the present weights; with `rollout.ahead` by those one step before, so
that engine and trainer work side by side.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from espalier.runtime.constraint import Constraint
from espalier.runtime.engine import Mode
from espalier.solver.core.problem import Problem
from espalier.training.config import ConfigError, RlConfig
from espalier.training.data.problems import held_out_problems, stream
from espalier.training.loop import Run, RunLength, StepResult, resumable
from espalier.training.loop import train as run_loop
from espalier.training.model.network import load_network, load_tokenizer
from espalier.training.rl.judged import JudgedRollout
from espalier.training.rl.learner import Learned, Learner
from espalier.training.rl.metrics import Seconds, entry, rounded, totals
from espalier.training.rl.monitor import ROLLOUTS, RolloutLog, export_step, forget_models, held_out_entry, keep_best
from espalier.training.rl.reward import RolloutStatus
from espalier.training.rl.rollout import Collector
from espalier.training.rl.rollout_engine import collector_for, sync_weights
from espalier.training.rl.sampler import Algorithm, BatchSampler, RolloutBatch
from espalier.training.run.checkpoint import Progress
from espalier.training.run.deadline import Deadline
from espalier.training.run.directory import prepare
from espalier.training.run.distributed import ALONE, TrainingGroup
from espalier.training.run.metrics import Report
from espalier.training.trainer import Trainer

Learn = Callable[[], Learned | None]

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
    group: TrainingGroup = ALONE,
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
    group: TrainingGroup,
) -> bool:
    rollout = config.rollout
    if rollout.prompts % group.size:
        raise ConfigError(f"rollout.prompts {rollout.prompts} cannot be shared out to {group.size} processes")
    problems = stream(config.problems)
    held_out = held_out_problems(config.problems, config.held_out) if config.held_out.every else []
    network = load_network(initial, group.device)
    tokenizer = load_tokenizer(initial)
    notes = Notes(group)
    decoded = (rollout.mode, rollout.limits, notes, rollout.constrained)
    async with collector_for(config.service, network, tokenizer, initial, *decoded) as collector:
        constraint = Constraint.of(collector.vocabulary, rollout.limits.grammar) if rollout.constrained else None
        trainer = Trainer.of(network, tokenizer, config.trainer, group)
        log = RolloutLog(out / ROLLOUTS, config.log_rollouts, tokenizer) if group.is_main else None
        judging = replace(
            collector,
            judge_branches=config.judges_branches,
            branch_programs=rollout.branch_programs,
            rejoins=rollout.rejoins,
            format_reward=method.format_reward,
            train_malformed=config.objective.train_malformed,
            max_length=config.trainer.sequence_length,
        )
        run = Run(
            out,
            RunLength(steps=config.steps),
            config.metrics,
            asdict(config),
            show,
            initial,
            group,
            deadline,
            resume=resume and resumable(out),
            checkpoint_every=config.checkpoint_every,
            keep_checkpoints=config.keep_checkpoints,
            evaluate_every=config.held_out.every,
            decoding=rollout.decoding if rollout.mode is Mode.PARALLEL else None,
        )
        stepper = ReinforcementStepper(
            config=config,
            run=run,
            learner=Learner(trainer, method.objective, config.objective.max_mismatch_kl, log, constraint),
            collector=collector,
            draw=BatchSampler(config, method, judging, problems, group),
            held_out=held_out,
            tokenizer=tokenizer,
            notes=notes,
        )
        return await run_loop(stepper, trainer, tokenizer, run)


@dataclass(slots=True)
class Notes:
    """What engine and verifiers have to say to a person, from any process; dropped until there is a place for it.

    Attributes:
        group: The processes of the run.
        to: Records and shows notes.
    """

    group: TrainingGroup
    to: Report | None = None

    def __call__(self, text: str) -> None:
        """Say it."""
        if self.to is not None:
            self.to({"note": text if self.group.is_main else f"process {self.group.rank}: {text}"})


@dataclass(frozen=True, slots=True)
class Draw:
    """A batch that is being sampled.

    Attributes:
        batch: Comes to it.
        version: Of the weights that the engine has.
    """

    batch: asyncio.Task[RolloutBatch]
    version: int


@dataclass(slots=True)
class ReinforcementStepper:
    """Steps on batches of rollouts.

    Attributes:
        config: The run's settings.
        run: The same as the loop sees it.
        learner: Takes optimiser steps, and logs rollouts.
        collector: Has responses to held-out problems judged.
        draw: Makes a batch from its number.
        held_out: Problems to measure on; empty: nothing is measured.
        tokenizer: Of the model.
        notes: Where engine and verifiers say that they are away.
    """

    config: RlConfig
    run: Run
    learner: Learner
    collector: Collector
    draw: BatchSampler
    held_out: Sequence[Problem]
    tokenizer: Any
    notes: Notes
    _record: Report = print
    _fruitless: int = 0
    _version: int = 0
    _next: Draw | None = None

    async def begin(self, progress: Progress, record: Report) -> None:
        """Hand the weights to the engine."""
        self._record = record
        self.notes.to = record if self.run.group.is_main else self.run.show
        if self.learner.log is not None:
            self.learner.log.begin(progress.step)
        if self.run.group.is_main and not progress.step:
            forget_models(self.run.out)
        await self._sync()

    async def step(self, progress: Progress, done: float) -> StepResult:
        """Sample and judge a batch, learn from it, and hand the new weights to the engine.

        With `rollout.ahead` the batch was sampled during the step before, and the next one is sampled during this one.
        No response is under way while weights change or are saved.

        Raises:
            NoTrainableDataError: It is one batch too many without anything to train on.
        """
        started = time.monotonic()
        draw, self._next = self._next or self._draw(progress.position), None
        batch = await draw.batch
        # A process may wait long for its verifier or a last response.
        await asyncio.to_thread(self.run.group.barrier)
        generated = time.monotonic()
        self.learner.version = draw.version
        learn = partial(self.learner.learn, batch.groups, progress.step, self.run.out, done)
        if self.config.rollout.ahead and progress.step + 1 < self.config.steps:
            self._next = self._draw(progress.position + 1)
            learned = await _beside(self._next.batch, learn, self.run.group.device)
        else:
            learned = learn()
        trained = time.monotonic()
        if self._next is not None:
            await asyncio.wait([self._next.batch])
        drawn = time.monotonic()
        if learned is None:
            self._no_step(batch, progress.step)
            return StepResult(1, None, counted=False)
        self._fruitless = 0
        await self._sync()
        seconds = Seconds(generated - started + drawn - trained, trained - generated, time.monotonic() - drawn)
        return StepResult(1, entry(self.config, batch, learned, seconds, self.run.group))

    def saved(self, step: int) -> None:
        """Export a model beside the checkpoint, if the settings ask for it."""
        if self.config.export_checkpoints:
            export_step(self.run, step, self._network, self.tokenizer)

    async def evaluate(self, step: int) -> Mapping[str, Any]:
        """Measure on held-out problems and keep the best model; the main process measures, the others wait."""
        if not self.held_out:
            return {}
        run, found = self.run, dict[str, Any]()
        if run.group.is_main:
            samples = self.config.held_out.samples
            found = await held_out_entry(self.collector, self.held_out, samples, self.config.seed)
        await asyncio.to_thread(run.group.barrier)
        keep_best(run, found.get("accuracy"), step, self._network, self.tokenizer)
        return {name: rounded(value) for name, value in found.items() if value is not None}

    @property
    def _network(self) -> Any:
        return self.learner.trainer.network

    async def _sync(self) -> None:
        collector, group = self.collector, self.run.group
        self._version = await sync_weights(collector.engine, self._network, group, collector.outage)

    def _draw(self, number: int) -> Draw:
        return Draw(asyncio.create_task(self.draw(number)), self._version)

    def _no_step(self, batch: RolloutBatch, step: int) -> None:
        """Say why a batch trains nothing.

        Raises:
            NoTrainableDataError: It is number `FRUITLESS` in a row.
        """
        total = totals(batch, (), self.run.group)
        became = ", ".join(f"{int(total[status])} {status.value}" for status in RolloutStatus if total[status])
        details = {_evidence(one) or one.finished.detail for one in batch.rollouts if one.reward.value is None}
        said = next(iter(sorted(details - {""})), "")
        note = f"no step: nothing to train on in this batch ({became})" + (f"; for example: {said}" if said else "")
        self._record({"step": step, "note": note})
        self._fruitless += 1
        if self._fruitless == FRUITLESS:
            raise NoTrainableDataError(
                f"{FRUITLESS} batches in a row had nothing to train on ({became}); {said}".rstrip("; ")
            )


async def _beside(batch: asyncio.Task[RolloutBatch], learn: Learn, device: torch.device) -> Learned | None:
    """Take a step while a batch is being sampled; a batch that nobody will learn from is given up."""
    try:
        return await asyncio.to_thread(_on, device, learn)
    except BaseException:
        batch.cancel()
        raise


def _on(device: torch.device, learn: Learn) -> Learned | None:
    # Every thread has a device of its own; `cuda` without a number, which `set_device` refuses, is the first one.
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        return learn()


def _evidence(rollout: JudgedRollout) -> str:
    evidence = rollout.verdict.evidence if rollout.verdict else ()
    return evidence[0].detail if evidence else ""
