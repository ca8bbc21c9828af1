"""Supervised fine-tuning with the parallel mask and positions.

The loss is the mean over all trained tokens of an optimiser step. The schedule is measured in steps or in minutes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from espalier.runtime.defaults import DecodingDefaults
from espalier.runtime.prompt import PromptTemplate
from espalier.training.config import ConfigError, SftConfig, TrainerConfig
from espalier.training.data.example import TrainingExample
from espalier.training.data.packing import PackedSequence
from espalier.training.data.responses import ExampleSource, ResponseFileError, read_examples
from espalier.training.loop import Run, RunLength, StepResult, resumable
from espalier.training.loop import train as run_loop
from espalier.training.model.logprobs import Scores
from espalier.training.model.network import MicroBatch, PolicyNetwork, collate, load_network, load_tokenizer
from espalier.training.run.checkpoint import Progress
from espalier.training.run.deadline import Deadline
from espalier.training.run.directory import prepare
from espalier.training.run.distributed import ALONE, TrainingGroup
from espalier.training.run.metrics import Report
from espalier.training.trainer import Trainer

RECORD_EVERY = 20
"""Optimiser steps between two entries of the metrics."""


class SequenceSource(Protocol):
    """Where packed sequences come from."""

    @property
    def names(self) -> Sequence[str]:
        """What the task indices stand for."""
        ...

    def packed_sequences(self, position: int) -> Iterator[PackedSequence]:
        """The endless stream from number `position` on."""
        ...

    def held_out(self) -> list[PackedSequence]:
        """Packed sequences to measure the loss on; empty: it is not measured."""
        ...


@dataclass(slots=True)
class SupervisedStepper:
    """Steps on packed sequences.

    Attributes:
        trainer: The weights being trained.
        source: What is trained on.
        batch_size: Packed sequences in an optimiser step, over all processes.
        out: Where a batch that breaks a step is left.
    """

    trainer: Trainer
    source: SequenceSource
    batch_size: int
    out: Path
    _stream: Iterator[PackedSequence] = field(default_factory=lambda: iter(()))
    _held_out: Sequence[PackedSequence] = ()
    _seconds: float = 0.0
    _tokens: int = 0

    def __post_init__(self) -> None:
        size, group = self.trainer.config.micro_batch_size, self.trainer.group
        at_once = size * group.size
        if self.batch_size < 1 or self.batch_size % at_once:
            raise ConfigError(
                f"batch_size {self.batch_size} cannot be shared out to {group.size} processes in micro-batches of "
                f"{size}: write a multiple of {at_once}"
            )

    async def begin(self, progress: Progress, record: Report) -> None:
        """Find the place in the stream."""
        self._held_out = self.source.held_out()
        self._stream = self.source.packed_sequences(progress.position)

    async def step(self, progress: Progress, done: float) -> StepResult:
        """One optimiser step on the next sequences, of which each process takes its share."""
        started, group = time.monotonic(), self.trainer.group
        sequences = list(islice(self._stream, self.batch_size))
        batches = list(self._batches(sequences[group.rank :: group.size]))
        step = self.trainer.step(batches, _loss, progress.step, done, self.out)
        self._tokens += sum(len(one.tokens) for one in sequences)
        self._seconds += time.monotonic() - started
        if step is None:
            return StepResult(self.batch_size, None)
        entry = {
            "loss": round(step.loss, 4),
            "grad_norm": round(step.grad_norm, 4),
            "learning_rate": float(f"{step.learning_rate:.4g}"),
            "tokens_per_second": round(self._tokens / self._seconds),
        }
        return StepResult(self.batch_size, entry)

    def saved(self, step: int) -> None:
        """Nothing depends on checkpoints."""

    async def evaluate(self, step: int) -> Mapping[str, float]:
        """Loss of each task on the held-out sequences."""
        if not self._held_out:
            return {}
        by_task = losses_by_task(self.trainer.policy, self._batches(self._held_out), self.source.names)
        return {name: round(value, 4) for name, value in by_task.items()}

    def _batches(self, sequences: Sequence[PackedSequence]) -> Iterator[MicroBatch]:
        """Micro-batches, each collated when it is asked for."""
        size, device = self.trainer.config.micro_batch_size, self.trainer.group.device
        return (collate(sequences[start : start + size], device) for start in range(0, len(sequences), size))


def _loss(_: MicroBatch, scores: Scores, tokens: int) -> Tensor:
    return -scores.logprobs.sum() / tokens


@torch.no_grad()
def losses_by_task(policy: PolicyNetwork, batches: Iterable[MicroBatch], names: Sequence[str]) -> dict[str, float]:
    """Mean loss per trained token of each task."""
    sums, counts = torch.zeros(2, len(names), dtype=torch.float64)
    for batch in batches:
        weight = (batch.targets >= 0).flatten().cpu().double()
        task = batch.task.flatten().cpu()
        losses = -policy(batch).logprobs.flatten().cpu().double()
        sums += torch.bincount(task, weights=losses, minlength=len(names))
        counts += torch.bincount(task, weights=weight, minlength=len(names))
    return {name: (sums[i] / counts[i]).item() for i, name in enumerate(names) if counts[i] > 0}


def fit(
    network: Any, tokenizer: Any, source: SequenceSource, trainer: TrainerConfig, batch_size: int, run: Run
) -> bool:
    """Train a model on packed sequences; whether the run is finished. See :func:`espalier.training.loop.train`.

    On CUDA the layers are compiled and computed in bfloat16; anywhere else it is plain float32.

    Args:
        network: The model, which is changed in place.
        tokenizer: Its tokenizer.
        source: What it is trained on.
        trainer: How weights are updated.
        batch_size: Packed sequences in an optimiser step, over all processes.
        run: Length, folders and the like.

    Raises:
        ConfigError: The batch cannot be shared out to the processes.
    """
    stepper = SupervisedStepper(Trainer.of(network, tokenizer, trainer, run.group), source, batch_size, run.out)
    return asyncio.run(run_loop(stepper, stepper.trainer, tokenizer, run))


def fine_tune(
    config: SftConfig,
    initial: Path,
    data: Path,
    out: Path,
    report: Report,
    *,
    deadline: Deadline = Deadline(),
    group: TrainingGroup = ALONE,
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
        ResponseFileError: A file cannot be trained on.
        CheckpointError: A checkpoint cannot be read or written.
        NotFiniteError: The loss is not finite.
    """
    if group.is_main:
        prepare(config, out, resume=resume, free=("checkpoint_every", "held_out", "metrics"))
    group.barrier()
    torch.manual_seed(config.seed)
    tokenizer = load_tokenizer(initial)
    template = PromptTemplate.load(initial)

    def examples_of(path: Path) -> list[TrainingExample]:
        read = read_examples(path, tokenizer, template, config.form)
        note = left_out(read, config.trainer.sequence_length)
        fitting = [one for one in read if len(one.tokens) <= config.trainer.sequence_length]
        if not fitting:
            raise ResponseFileError(f"{path}: {note}")
        if note and group.is_main:
            report({"note": note})
        return fitting

    held_out = examples_of(Path(config.held_out.file)) if config.held_out.file else []
    examples = examples_of(data)
    source = ExampleSource(examples, config.trainer.sequence_length, config.seed, held_out)
    run = Run(
        out,
        RunLength(steps=max(1, config.epochs * len(source) // config.batch_size)),
        config.metrics,
        asdict(config),
        report,
        initial,
        group,
        deadline,
        resume=resume and resumable(out),
        checkpoint_every=config.checkpoint_every,
        record_every=RECORD_EVERY,
        evaluate_every=config.held_out.every,
        decoding=passed_on(initial, examples),
    )
    return fit(load_network(initial, group.device), tokenizer, source, config.trainer, config.batch_size, run)


def passed_on(initial: Path, examples: Sequence[TrainingExample]) -> DecodingDefaults | None:
    """How a model is decoded that is fine-tuned on these: as the model it began from says, if they have blocks.

    Raises:
        ValueError: The directory of that model says it in a file that cannot be used.
    """
    return DecodingDefaults.stored(initial) if any(len(one.layout.branches) > 1 for one in examples) else None


def left_out(examples: Sequence[TrainingExample], sequence_length: int) -> str:
    """How many of the examples are longer than a sequence; empty if none is."""
    lengths = [len(one.tokens) for one in examples]
    longer = sum(length > sequence_length for length in lengths)
    if not longer:
        return ""
    return (
        f"{longer} of {len(lengths)} responses are longer than trainer.sequence_length {sequence_length} and left out; "
        f"the longest has {max(lengths)} tokens"
    )
