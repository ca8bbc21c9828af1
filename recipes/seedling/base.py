"""The base: a small model that is trained from nothing on traces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast

from espalier.training.config import ConfigError
from espalier.training.data.packing import PackedSequence
from espalier.training.loop import Run, RunLength
from espalier.training.run.checkpoint import CheckpointError
from espalier.training.run.deadline import Deadline
from espalier.training.run.directory import prepare
from espalier.training.run.distributed import ALONE, TrainingGroup
from espalier.training.run.metrics import Report
from espalier.training.sft import RECORD_EVERY, fit
from recipes.seedling.network import build
from recipes.seedling.settings import BaseConfig, DataConfig
from recipes.seedling.stream import TASK_NAMES, held_out_sequences, packed_sequences


@dataclass(frozen=True, slots=True)
class TraceSource:
    """Freshly written traces of the tasks."""

    tokenizer: Path
    data: DataConfig
    held_out_size: int
    names: tuple[str, ...] = TASK_NAMES

    def packed_sequences(self, position: int) -> Iterator[PackedSequence]:
        return packed_sequences(self.tokenizer, self.data, position)

    def held_out(self) -> list[PackedSequence]:
        return held_out_sequences(self.tokenizer, self.data, self.held_out_size)


def train(
    config: BaseConfig,
    tokenizer_folder: Path,
    out: Path,
    length: RunLength,
    report: Report,
    *,
    group: TrainingGroup = ALONE,
    deadline: Deadline = Deadline(),
    resume: bool = False,
    initial: Path | None = None,
) -> bool:
    """Train a model of the config's shape on traces; see :func:`espalier.training.sft.fit`.

    Args:
        config: The run's settings.
        tokenizer_folder: Where the tokenizer lies.
        out: Folder for checkpoint, weights and `metrics.jsonl`.
        length: When it is finished.
        report: Receives one record per report, as it is written to `metrics.jsonl`.
        group: The processes that train together, and where they compute.
        deadline: When this part of the run has to stop, with a checkpoint.
        resume: Go on from the checkpoint in `out`.
        initial: Folder of exported weights to begin from, with a fresh optimiser; None: random weights.

    Returns:
        Whether the run is finished.

    Raises:
        CheckpointError: `resume` is asked for and there is no fitting checkpoint.
        ConfigError: The settings differ from those of the run that is resumed, or there is no such tokenizer.
    """
    if group.is_main:
        prepare(config, out, resume=resume, free=("metrics",))
    group.barrier()
    torch.manual_seed(config.seed)
    if not tokenizer_folder.is_dir():
        raise ConfigError(f"no tokenizer in {tokenizer_folder}: there is no such directory")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tokenizer_folder)
    model = build(config.model, tokenizer)
    if initial is not None:
        load_weights(initial, model)
    source = TraceSource(tokenizer_folder, config.data, config.held_out_sequences)
    run = Run(
        out,
        length,
        config.metrics,
        asdict(config),
        report,
        None,
        group,
        deadline,
        resume=resume,
        checkpoint_every=config.checkpoint_every,
        record_every=RECORD_EVERY,
    )
    return fit(model, tokenizer, source, config.trainer, config.batch_size, run)


def load_weights(folder: Path, model: Any) -> None:
    """Copy exported weights into a model of the same shape.

    Raises:
        CheckpointError: there are none in the folder, or they belong to another model.
    """
    weights = {
        name: value for shard in sorted(folder.glob("*.safetensors")) for name, value in load_file(shard).items()
    }
    parameters = dict(model.named_parameters())
    if any(name not in weights or weights[name].shape != p.shape for name, p in parameters.items()):
        raise CheckpointError(f"{folder} holds no weights of a model of this shape")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
