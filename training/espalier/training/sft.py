"""Supervised fine-tuning with the parallel mask and positions.

The loss is the mean over all trained tokens of an optimiser step. The schedule is measured in steps or in minutes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import AutoTokenizer

from espalier.runtime.prompt import PromptTemplate
from espalier.training.config import ConfigError, MetricsConfig, SftConfig, TrainerConfig
from espalier.training.data.packing import PackedSequence
from espalier.training.data.responses import ExampleSource, ResponseFileError, read_examples
from espalier.training.export import finish
from espalier.training.model.logprobs import Scores
from espalier.training.model.network import Batch, Policy, collate, load_network
from espalier.training.run.checkpoint import Progress, restore, save
from espalier.training.run.deadline import Deadline
from espalier.training.run.directory import prepare
from espalier.training.run.distributed import ALONE, Group
from espalier.training.run.metrics import Report, journal
from espalier.training.trainer import Trainer

REPORT_EVERY = 20
"""Optimiser steps between two reports."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a run lasts.

    Attributes:
        steps: Length of the schedule in optimiser steps; None: `minutes` count.
        minutes: Length of the schedule in minutes of training, over all its parts.
        stop_after: Minutes after which this part of the run stops, resumable; it takes one step at least.
    """

    steps: int | None = None
    minutes: float | None = None
    stop_after: float | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give the length of the schedule either in steps or in minutes")

    def done(self, progress: Progress) -> float:
        """Share of the schedule that lies behind, in [0, 1]."""
        if self.minutes is not None:
            return min(1.0, progress.seconds / (60 * self.minutes))
        return min(1.0, progress.step / (self.steps or 1))


def _loss(_: Batch, scores: Scores, tokens: int) -> Tensor:
    return -scores.logprobs.sum() / tokens


def _parts(items: list[PackedSequence], size: int) -> Iterator[list[PackedSequence]]:
    return (items[i : i + size] for i in range(0, len(items), size))


@torch.no_grad()
def losses_by_task(policy: Policy, batches: list[Batch], names: Sequence[str]) -> dict[str, float]:
    """Mean loss per trained token of each task."""
    sums, counts = torch.zeros(2, len(names), dtype=torch.float64)
    for batch in batches:
        weight = (batch.targets >= 0).flatten().cpu().double()
        task = batch.task.flatten().cpu()
        losses = -policy(batch).logprobs.flatten().cpu().double()
        sums += torch.bincount(task, weights=losses, minlength=len(names))
        counts += torch.bincount(task, weights=weight, minlength=len(names))
    return {name: (sums[i] / counts[i]).item() for i, name in enumerate(names) if counts[i] > 0}


class Source(Protocol):
    """Where packed sequences come from."""

    @property
    def names(self) -> Sequence[str]:
        """What the task indices stand for."""
        ...

    def packed_sequences(self, position: int) -> Iterator[PackedSequence]:
        """The endless stream from number `position` on."""
        ...

    def held_out(self) -> list[PackedSequence]:
        """Packed sequences to measure the loss on."""
        ...


@dataclass(frozen=True, slots=True)
class Run:
    """What :func:`fit` is told beside model and data.

    Attributes:
        trainer: How weights are updated.
        batch_size: Packed sequences in an optimiser step, over all processes.
        checkpoint_every: Optimiser steps between checkpoints; 0: only where this part of the run ends.
        metrics: Where metrics go.
        out: Folder for checkpoints, weights and metrics.
        budget: When to stop.
        report: Shows an entry of the metrics.
        group: The processes that train together.
        resume: Go on from the checkpoint in `out`.
        initial: Model directory that the run began from; None: random weights.
    """

    trainer: TrainerConfig
    batch_size: int
    checkpoint_every: int
    metrics: MetricsConfig
    out: Path
    budget: Budget
    report: Report
    group: Group = ALONE
    resume: bool = False
    initial: Path | None = None

    def __post_init__(self) -> None:
        at_once = self.trainer.micro_batch_size * self.group.size
        if self.batch_size < 1 or self.batch_size % at_once:
            raise ConfigError(
                f"batch_size {self.batch_size} cannot be shared out to {self.group.size} processes in micro-batches of "
                f"{self.trainer.micro_batch_size}: write a multiple of {at_once}"
            )


def fit(network: Any, tokenizer: Any, source: Source, run: Run) -> Progress:
    """Train a model on packed sequences, write a checkpoint to `out/checkpoint` and the usable weights to `out/model`.

    On CUDA the layers are compiled and computed in bfloat16; anywhere else it is plain float32.

    Raises:
        CheckpointError: `resume` is asked for and there is no fitting checkpoint.
        NotFiniteError: The loss is not finite. The micro-batches of that step are in `out`.
    """
    budget, group, saved = run.budget, run.group, run.out / "checkpoint"
    trainer = Trainer.of(network, tokenizer, run.trainer, group)
    begun = restore(saved, network, trainer.optimizers, group) if run.resume else Progress()
    size = run.trainer.micro_batch_size
    held_out_batches = [collate(part, group.device) for part in _parts(source.held_out(), size)]
    stream = source.packed_sequences(begun.position)
    started, tokens = time.monotonic(), 0

    def over(progress: Progress) -> bool:
        late = budget.stop_after is not None and progress.seconds - begun.seconds >= 60 * budget.stop_after
        return budget.done(progress) >= 1.0 or (late and progress.step > begun.step)

    progress = begun
    with _journal(run, begun.step) as record:
        while not over(progress):
            step_rows = list(islice(stream, run.batch_size))
            batches = [collate(part, group.device) for part in _parts(step_rows[group.rank :: group.size], size)]
            step = trainer.step(batches, _loss, progress.step, budget.done(progress), run.out)
            tokens += sum(len(row.tokens) for row in step_rows)
            seconds = group.largest(begun.seconds + time.monotonic() - started)
            progress = Progress(progress.step + 1, progress.position + run.batch_size, seconds)
            due = run.checkpoint_every and progress.step % run.checkpoint_every == 0
            if step and (due or over(progress) or progress.step % REPORT_EVERY == 0):
                record(
                    {
                        "step": progress.step,
                        "loss": round(step.loss, 4),
                        "grad_norm": round(step.grad_norm, 4),
                        "learning_rate": float(f"{step.learning_rate:.4g}"),
                        "tokens_per_second": round(tokens / (seconds - begun.seconds)),
                        "done": round(budget.done(progress), 4),
                    }
                )
            if due and not over(progress):
                save(saved, network, trainer.optimizers, progress, group)
        by_task = losses_by_task(trainer.policy, held_out_batches, source.names) if held_out_batches else {}
        record({"step": progress.step, "held_out": {name: round(value, 4) for name, value in by_task.items()}})
    save(saved, network, trainer.optimizers, progress, group)
    finish(run.out, network, tokenizer, run.initial, group)
    return progress


def fine_tune(
    config: SftConfig,
    initial: Path,
    data: Path,
    out: Path,
    report: Report,
    *,
    deadline: Deadline = Deadline(),
    group: Group = ALONE,
    resume: bool = False,
) -> bool:
    """Fine-tune a pretrained model on a file of responses into `out/model`.

    Args:
        config: The run's settings.
        initial: Model directory with a tokenizer that has a chat template.
        data: See :func:`espalier.training.data.responses.read_examples`.
        out: Folder for checkpoint, weights and `metrics.jsonl`.
        report: Shows an entry of the metrics, or a note.
        deadline: When this part of the run has to stop, with a checkpoint.
        group: The processes that train together.
        resume: Go on from the checkpoint in `out`, if there is one.

    Returns:
        Whether the run is finished.

    Raises:
        ConfigError: Settings or model cannot be trained with, or the settings differ from those of the run resumed.
        ResponseFileError: The file cannot be trained on.
        CheckpointError: A checkpoint cannot be read or written.
        NotFiniteError: The loss is not finite.
    """
    if group.is_main:
        prepare(config, out, resume=resume, free=("checkpoint_every", "metrics"))
    group.barrier()
    torch.manual_seed(config.seed)
    tokenizer = AutoTokenizer.from_pretrained(initial)
    examples = read_examples(data, tokenizer, PromptTemplate.load(initial), config.form)
    fitting = [one for one in examples if len(one.tokens) <= config.trainer.sequence_length]
    if len(fitting) < len(examples):
        longest = max(len(one.tokens) for one in examples)
        left_out = (
            f"{len(examples) - len(fitting)} of {len(examples)} responses are longer than trainer.sequence_length"
        )
        note = f"{left_out} {config.trainer.sequence_length} and left out; the longest has {longest} tokens"
        if not fitting:
            raise ResponseFileError(f"{data}: {note}")
        if group.is_main:
            report({"note": note})
    source = ExampleSource(fitting, config.trainer.sequence_length, config.seed)
    steps = max(1, config.epochs * len(source) // config.batch_size)
    network = load_network(initial, group.device)
    run = Run(
        config.trainer,
        config.batch_size,
        config.checkpoint_every,
        config.metrics,
        out,
        Budget(steps=steps, stop_after=deadline.minutes_left()),
        report,
        group,
        resume and any((out / "checkpoint").glob("[0-9]*")),
        initial,
    )
    return fit(network, tokenizer, source, run).step >= steps


def _journal(run: Run, step: int) -> AbstractContextManager[Report]:
    """Only the main process keeps a journal."""
    if not run.group.is_main:
        return nullcontext(lambda entry: None)
    return journal(run.out, run.metrics, step, asdict(run.trainer), run.report)
