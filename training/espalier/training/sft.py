"""Supervised fine-tuning on traces, with the parallel mask and positions.

The loss is the mean over all trained tokens of an optimiser step. Matrices are updated by Muon, embeddings and norms by
AdamW. The learning rate warms up, stays, and falls linearly to zero over the last part of the schedule, which is
measured in steps or in minutes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import AdamW, Optimizer
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from espalier.training.config import ConfigError, DataConfig, MetricsConfig, OptimizerConfig, SftConfig
from espalier.training.data.packing import Row
from espalier.training.data.stream import TASK_NAMES, held_out_rows, rows
from espalier.training.model.muon import Muon
from espalier.training.model.network import Batch, Policy, build, collate, compile_layers
from espalier.training.run.checkpoint import Progress, export, load_weights, restore, save
from espalier.training.run.directory import prepare
from espalier.training.run.distributed import ALONE, Group
from espalier.training.run.errors import NotFiniteError
from espalier.training.run.metrics import Report, journal

REPORT_EVERY = 20
"""Optimiser steps between two reports; reading the loss makes the host wait for the device."""


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


def rate(config: OptimizerConfig, step: int, done: float) -> float:
    """Factor of the peak learning rate: linear warm-up, constant, linear decay."""
    warm = min(1.0, (step + 1) / max(1, config.warm_up))
    decay = min(1.0, (1.0 - done) / config.decay_share) if config.decay_share > 0 else 1.0
    return warm * decay


def optimizers(model: Qwen3ForCausalLM, config: OptimizerConfig) -> dict[str, Optimizer]:
    """Muon for the matrices of the layers, AdamW for all else."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "layers." in n]
    others = [p for n, p in model.named_parameters() if not (p.ndim == 2 and "layers." in n)]
    return {
        "muon": Muon(matrices, lr=config.muon_rate, weight_decay=config.weight_decay),
        "adam": AdamW(others, lr=config.adam_rate, betas=(0.9, 0.95), weight_decay=0.0),
    }


def update(
    policy: Policy,
    step_optimizers: dict[str, Optimizer],
    own_rows: list[Row],
    config: OptimizerConfig,
    factor: float,
    group: Group,
) -> Tensor:
    """One optimiser step on the rows of all processes.

    Returns:
        This process's share of the mean loss over the trained tokens, on the device.
    """
    batches = [collate(part, group.device) for part in _parts(own_rows, config.rows_per_pass)]
    total = group.total(sum(batch.trained for batch in batches))
    loss = torch.zeros((), device=group.device)
    for batch in batches:
        part = -policy(batch).logprobs.sum() / total
        part.backward()
        loss += part.detach()
    torch.nn.utils.clip_grad_norm_(policy.parameters(), config.clip)
    for name, optimizer in step_optimizers.items():
        for parameters in optimizer.param_groups:
            parameters["lr"] = factor * (config.muon_rate if name == "muon" else config.adam_rate)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss


def _parts(items: list[Row], size: int) -> Iterator[list[Row]]:
    return (items[i : i + size] for i in range(0, len(items), size))


@torch.no_grad()
def losses_by_task(policy: Policy, batches: list[Batch]) -> dict[str, float]:
    """Mean loss per trained token of each task."""
    sums, counts = torch.zeros(2, len(TASK_NAMES), dtype=torch.float64)
    for batch in batches:
        weight = (batch.targets >= 0).flatten().cpu().double()
        task = batch.task.flatten().cpu()
        losses = -policy(batch).logprobs.flatten().cpu().double()
        sums += torch.bincount(task, weights=losses, minlength=len(TASK_NAMES))
        counts += torch.bincount(task, weights=weight, minlength=len(TASK_NAMES))
    return {name: (sums[i] / counts[i]).item() for i, name in enumerate(TASK_NAMES) if counts[i] > 0}


class Source(Protocol):
    """Where rows come from."""

    def rows(self, position: int) -> Iterator[Row]:
        """The endless stream from row number `position` on."""
        ...

    def held_out(self) -> list[Row]:
        """Rows to measure the loss on."""
        ...


@dataclass(frozen=True, slots=True)
class TraceSource:
    """Freshly written traces of the tasks."""

    tokenizer: Path
    data: DataConfig
    held_out_size: int

    def rows(self, position: int) -> Iterator[Row]:
        return rows(self.tokenizer, self.data, position)

    def held_out(self) -> list[Row]:
        return held_out_rows(self.tokenizer, self.data, self.held_out_size)


def train(
    config: SftConfig,
    tokenizer_folder: Path,
    out: Path,
    budget: Budget,
    report: Report,
    *,
    group: Group = ALONE,
    resume: bool = False,
    initial: Path | None = None,
) -> Progress:
    """Train a model of the config's shape on traces; see :func:`fit`.

    Args:
        config: The run's settings.
        tokenizer_folder: Where the tokenizer lies.
        out: Folder for checkpoint, weights and `metrics.jsonl`.
        budget: When to stop.
        report: Receives one record per report, as it is written to `metrics.jsonl`.
        group: The processes that train together, and where they compute.
        resume: Go on from the checkpoint in `out`.
        initial: Folder of exported weights to begin from, with a fresh optimiser; None: random weights.

    Returns:
        How far the run has come.

    Raises:
        CheckpointError: `resume` is asked for and there is no fitting checkpoint.
        ConfigError: The settings differ from those of the run that is resumed.
    """
    if group.is_main:
        prepare(config, out, resume=resume, free=("metrics",))
    group.barrier()
    torch.manual_seed(config.seed)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tokenizer_folder)
    model = build(config.model, tokenizer)
    if initial is not None:
        load_weights(initial, model)
    source = TraceSource(tokenizer_folder, config.data, config.held_out_rows)
    run = Run(config.optimizer, config.metrics, out, budget, report, group, resume)
    return fit(model, tokenizer, source, run)


@dataclass(frozen=True, slots=True)
class Run:
    """What :func:`fit` is told beside model and rows.

    Attributes:
        optimizer: Settings of the optimisers.
        metrics: Where metrics go.
        out: Folder for checkpoints, weights and metrics.
        budget: When to stop.
        report: Shows an entry of the metrics.
        group: The processes that train together.
        resume: Go on from the checkpoint in `out`.
    """

    optimizer: OptimizerConfig
    metrics: MetricsConfig
    out: Path
    budget: Budget
    report: Report
    group: Group = ALONE
    resume: bool = False


def fit(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, source: Source, run: Run) -> Progress:
    """Train a model on rows, write a checkpoint to `out/checkpoint` and the usable weights to `out/model`.

    On CUDA the layers are compiled and computed in bfloat16; anywhere else it is plain float32.

    Raises:
        ConfigError: The rows of a step cannot be shared out to the processes.
        CheckpointError: `resume` is asked for and there is no fitting checkpoint.
        NotFiniteError: The loss is not finite where it is looked at: where it is reported, and before a checkpoint is
            written. The rows of that step are in `out`.
    """
    config, budget, group, saved = run.optimizer, run.budget, run.group, run.out / "checkpoint"
    if config.rows_per_step % group.size:
        raise ConfigError(f"rows_per_step {config.rows_per_step} cannot be shared out to {group.size} processes")
    torch.set_float32_matmul_precision("high")
    policy = Policy(model)
    policy.train()
    group.shard(policy)
    run_optimizers = optimizers(model, config)
    begun = restore(saved, model, run_optimizers, group) if run.resume else Progress()
    if group.device.type == "cuda":
        compile_layers(model)
    held_out_batches = [collate(part, group.device) for part in _parts(source.held_out(), config.rows_per_pass)]
    stream = source.rows(begun.rows)
    started, tokens = time.monotonic(), 0

    def over(progress: Progress) -> bool:
        late = budget.stop_after is not None and progress.seconds - begun.seconds >= 60 * budget.stop_after
        return budget.done(progress) >= 1.0 or (late and progress.step > begun.step)

    progress = begun
    with _journal(run, begun.step) as record:
        while not over(progress):
            factor = rate(config, progress.step, budget.done(progress))
            step_rows = list(islice(stream, config.rows_per_step))
            own_rows = step_rows[group.rank :: group.size]
            loss = update(policy, run_optimizers, own_rows, config, factor, group)
            tokens += sum(len(row.tokens) for row in step_rows)
            seconds = group.largest(begun.seconds + time.monotonic() - started)
            progress = Progress(progress.step + 1, progress.rows + config.rows_per_step, seconds)
            due = config.checkpoint_every and progress.step % config.checkpoint_every == 0
            if due or over(progress) or progress.step % REPORT_EVERY == 0:
                value = group.sum(loss).item()
                if not math.isfinite(value):
                    raise NotFiniteError(_left_behind(own_rows, progress.step, value, run))
                record(
                    {
                        "step": progress.step,
                        "loss": round(value, 4),
                        "rate": round(factor, 4),
                        "tokens_per_second": round(tokens / (seconds - begun.seconds)),
                        "done": round(budget.done(progress), 4),
                    }
                )
            if due and not over(progress):
                save(saved, model, run_optimizers, progress, group)
        by_task = losses_by_task(policy, held_out_batches) if held_out_batches else {}
        record({"step": progress.step, "held_out": {name: round(value, 4) for name, value in by_task.items()}})
    save(saved, model, run_optimizers, progress, group)
    export(run.out / "model", model, tokenizer, group)
    return progress


def _journal(run: Run, step: int) -> AbstractContextManager[Report]:
    """Only the main process keeps a journal."""
    if not run.group.is_main:
        return nullcontext(lambda entry: None)
    return journal(run.out, run.metrics, step, asdict(run.optimizer), run.report)


def _left_behind(own_rows: list[Row], step: int, loss: float, run: Run) -> str:
    path = run.out / f"not-finite-{step}-{run.group.rank}.safetensors"
    tokens = torch.stack([torch.from_numpy(row.tokens) for row in own_rows])
    trained = torch.stack([torch.from_numpy(row.trained) for row in own_rows])
    save_file({"tokens": tokens, "trained": trained}, path)
    return f"step {step}: the loss is {loss}; lower the learning rates. The rows of this step are in {path}"
