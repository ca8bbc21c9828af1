"""The one training loop: steps, checkpoints, metrics, evaluation, and an end that can be gone on from.

Supervised and reinforcement learning give it what differs: where a batch comes from and what is learned from it
(:class:`Stepper`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from espalier.runtime.defaults import DecodingDefaults
from espalier.training.config import MetricsConfig
from espalier.training.export import finish
from espalier.training.run.checkpoint import Progress, has_checkpoint, restore, save
from espalier.training.run.deadline import Deadline
from espalier.training.run.directory import CHECKPOINTS, begin_anew
from espalier.training.run.distributed import ALONE, TrainingGroup
from espalier.training.run.metrics import Report, journal
from espalier.training.trainer import Trainer


@dataclass(frozen=True, slots=True)
class RunLength:
    """How long a run is, over all its parts.

    Attributes:
        steps: In optimiser steps; None: `minutes` count.
        minutes: In minutes of training.
    """

    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give the length of the schedule either in steps or in minutes")

    def done(self, progress: Progress) -> float:
        """Share of the run that lies behind, in [0, 1]."""
        if self.minutes is not None:
            return min(1.0, progress.seconds / (60 * self.minutes))
        return min(1.0, progress.step / (self.steps or 1))


@dataclass(frozen=True, slots=True)
class StepResult:
    """What came of one batch.

    Attributes:
        consumed: How far the stream of sequences or batches has moved.
        entry: The metrics of the step; None: there is nothing to record.
        counted: Whether it was a step. A batch with nothing to train on is none.
    """

    consumed: int
    entry: Mapping[str, Any] | None
    counted: bool = True


class Stepper(Protocol):
    """What tells the kinds of training apart. All processes of a run call the same methods in the same order."""

    async def begin(self, progress: Progress, record: Report) -> None:
        """Get ready to go on from here; notes go to `record`."""
        ...

    async def step(self, progress: Progress, done: float) -> StepResult:
        """Draw the next batch and learn from it; `done` is the share of the run that lies behind."""
        ...

    def saved(self, step: int) -> None:
        """A checkpoint was written behind this step."""
        ...

    async def evaluate(self, step: int) -> Mapping[str, Any]:
        """Measure on what is held out, behind this step; empty where nothing is held out."""
        ...


@dataclass(frozen=True, slots=True)
class Run:
    """What the loop is told beside model and data.

    Attributes:
        out: Folder for checkpoints, weights and metrics.
        length: When the run is finished.
        metrics: Where metrics go.
        settings: Of the run, for its folder and the places that metrics go to.
        show: Shows an entry of the metrics, or a note, to a person.
        initial: Model directory that the run began from; None: random weights.
        group: The processes that train together.
        deadline: When this part of the run stops, resumable; it takes one step at least.
        resume: Go on from the last checkpoint in `out`.
        checkpoint_every: Optimiser steps between checkpoints; 0: only where this part of the run ends.
        keep_checkpoints: How many of the latest are kept.
        record_every: Optimiser steps between two entries of the metrics.
        evaluate_every: Optimiser steps between two evaluations, one of them before the first step; 0: one at the end.
        decoding: How the model is to be decoded when it is served; None: nothing is said of it.
    """

    out: Path
    length: RunLength
    metrics: MetricsConfig
    settings: Mapping[str, Any]
    show: Report
    initial: Path | None = None
    group: TrainingGroup = ALONE
    deadline: Deadline = field(default_factory=Deadline)
    resume: bool = False
    checkpoint_every: int = 0
    keep_checkpoints: int = 1
    record_every: int = 1
    evaluate_every: int = 0
    decoding: DecodingDefaults | None = None

    @property
    def checkpoints(self) -> Path:
        """Their folder."""
        return self.out / CHECKPOINTS


def resumable(out: Path) -> bool:
    """Whether there is a checkpoint in the folder of a run."""
    return has_checkpoint(out / CHECKPOINTS)


async def train(stepper: Stepper, trainer: Trainer, tokenizer: Any, run: Run) -> bool:
    """Take steps until the run is finished or its deadline has passed.

    A finished run leaves `out/model` (and `out/adapter`); one that was stopped leaves a checkpoint. All processes call
    it.

    Args:
        stepper: What is trained on, and how.
        trainer: The weights being trained.
        tokenizer: Stored with the model.
        run: Everything else.

    Returns:
        Whether the run is finished.

    Raises:
        CheckpointError: There is no fitting checkpoint to resume from, or one cannot be written.
        NotFiniteError: The loss is not finite. The micro-batches of that step are in `out`.
    """
    group, length = run.group, run.length
    network, optimizers = trainer.network, trainer.optimizers
    if group.is_main and not run.resume:
        begin_anew(run.out, run.settings)
    begun = restore(run.checkpoints, network, optimizers, group) if run.resume else Progress()
    with _journal(run, begun.step) as record:
        await stepper.begin(begun, record)
        if run.evaluate_every and not begun.step:
            await _evaluate(stepper, 0, record)
        started, progress = time.monotonic(), begun
        while (done := length.done(progress)) < 1.0:
            await asyncio.sleep(0)  # where Ctrl-C arrives: between two steps
            taken = await stepper.step(progress, done)
            seconds = group.largest(begun.seconds + time.monotonic() - started)
            progress = Progress(progress.step + taken.counted, progress.position + taken.consumed, seconds)
            if not taken.counted:
                continue
            done = length.done(progress)
            stop = done >= 1.0 or bool(group.largest(float(run.deadline.passed())))
            due = stop or _every(run.checkpoint_every, progress)
            if taken.entry is not None and (due or _every(run.record_every, progress)):
                record({"step": progress.step, **taken.entry, "done": round(done, 4)})
            if done >= 1.0 or _every(run.evaluate_every, progress):  # a run goes on behind its checkpoint
                await _evaluate(stepper, progress.step, record)
            if due:
                save(run.checkpoints, network, optimizers, progress, group, run.keep_checkpoints)
                stepper.saved(progress.step)
            if stop:
                break
        if done < 1.0:
            return False
        finish(run.out, network, tokenizer, run.initial, run.decoding, group)
    return True


async def _evaluate(stepper: Stepper, step: int, record: Report) -> None:
    if found := await stepper.evaluate(step):
        record({"step": step, "held_out": dict(found)})


def _every(steps: int, progress: Progress) -> bool:
    return bool(steps) and progress.step % steps == 0


def _journal(run: Run, step: int) -> AbstractContextManager[Report]:
    """Only the main process keeps a journal."""
    if not run.group.is_main:
        return nullcontext(lambda entry: None)
    return journal(run.out, run.metrics, step, run.settings, run.show)
