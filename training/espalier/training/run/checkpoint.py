"""Checkpoints: everything a run needs to go on as if it had not stopped, and the weights alone for use.

Tensors are stored with torch.distributed.checkpoint as safetensors, every process its own shards, and numbers as JSON;
nothing is pickled. Any number of processes can load what any other number has saved.

A checkpoint is written under a name that is never read and then renamed to the next free number; older ones are deleted
after that. So whenever a run dies there is a whole checkpoint, if there ever was one, and the highest number is latest.
"""

from __future__ import annotations

import errno
import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import Optimizer

from espalier.training.run.distributed import ALONE, TrainingGroup

_WRITING = "writing"
_FLAT = StateDictOptions(flatten_optimizer_state_dict=True)


class CheckpointError(RuntimeError):
    """A checkpoint is missing or does not fit the run."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come: optimiser steps, place in its stream of sequences or batches, seconds spent training."""

    step: int = 0
    position: int = 0
    seconds: float = 0.0


def save(
    folder: Path,
    model: Any,
    optimizers: Mapping[str, Optimizer],
    progress: Progress,
    group: TrainingGroup = ALONE,
    keep: int = 1,
) -> None:
    """Write a checkpoint into a folder, in full precision, and delete all but the latest `keep`.

    All processes must call it.

    Raises:
        CheckpointError: it cannot be written, on a full disk say. The previous checkpoint is still there.
    """
    fresh, older = folder / _WRITING, _saved(folder)

    def begin() -> None:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)

    def publish() -> None:
        (fresh / "progress.json").write_text(json.dumps(asdict(progress)))
        fresh.rename(folder / f"{int(older[-1].name) + 1 if older else 1:08d}")

    state = _weights(model) | _optimizer_state(model, optimizers) | _random_state(group)
    try:
        _on_main(group, begin)
        with _quiet():
            state_dict_saver.save(state, storage_writer=HuggingFaceStorageWriter(str(fresh), save_distributed=True))
        _on_main(group, publish)
    except (OSError, CheckpointException) as error:
        if group.is_main:
            shutil.rmtree(fresh, ignore_errors=True)
        raise CheckpointError(f"cannot write a checkpoint to {folder}: {_cause(error)}; older ones are kept") from error
    if group.is_main:
        for path in older[: max(0, len(older) + 1 - keep)]:
            shutil.rmtree(path, ignore_errors=True)


def restore(folder: Path, model: Any, optimizers: Mapping[str, Optimizer], group: TrainingGroup = ALONE) -> Progress:
    """Load the latest checkpoint into a model and its optimisers. All processes must call it.

    A process beyond the number that saved keeps its random state.

    Raises:
        CheckpointError: there is none in the folder, or it belongs to another model.
    """
    saved = _saved(folder)
    if not saved:
        raise CheckpointError(f"no checkpoint in {folder}")
    latest = saved[-1]
    reader = HuggingFaceStorageReader(str(latest))
    of_optimizers = get_optimizer_state_dict(model, tuple(optimizers.values()), options=_FLAT)
    try:
        progress = Progress(**json.loads((latest / "progress.json").read_text()))
        stored = reader.read_metadata().state_dict_metadata
        random = {name: value for name, value in _random_state(group).items() if name in stored}
        with _quiet():
            state_dict_loader.load(_weights(model) | _tensors(of_optimizers) | random, storage_reader=reader)
    except (OSError, ValueError, TypeError, CheckpointException) as error:
        raise CheckpointError(f"{latest} holds no checkpoint of a model of this shape: {_cause(error)}") from error
    set_optimizer_state_dict(model, tuple(optimizers.values()), of_optimizers, options=_FLAT)
    for name, value in random.items():
        (torch.cuda.set_rng_state if name.endswith("cuda") else torch.set_rng_state)(value)
    return progress


def has_checkpoint(folder: Path) -> bool:
    """Whether a folder of checkpoints has a whole one."""
    return bool(_saved(folder))


def _saved(folder: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    return sorted(path for path in folder.glob("*") if path.name.isdecimal())


def _weights(model: Any) -> dict[str, Tensor]:
    """What is trained: all parameters, or those of the adapter alone."""
    return {f"model.{name}": p.detach() for name, p in model.named_parameters() if p.requires_grad}


def _optimizer_state(model: Any, optimizers: Mapping[str, Optimizer]) -> dict[str, Tensor]:
    return _tensors(get_optimizer_state_dict(model, tuple(optimizers.values()), options=_FLAT))


def _tensors(state: Mapping[str, object]) -> dict[str, Tensor]:
    """What changes from step to step; rates and the like come from the run's config."""
    return {name: value for name, value in state.items() if isinstance(value, Tensor) and name.startswith("state.")}


def _random_state(group: TrainingGroup) -> dict[str, Tensor]:
    states = {f"random.{group.rank}.cpu": torch.get_rng_state()}
    if group.device.type == "cuda":
        states[f"random.{group.rank}.cuda"] = torch.cuda.get_rng_state()
    return states


def _on_main(group: TrainingGroup, work: Callable[[], None]) -> None:
    """Work of the main process that the others wait for.

    Raises:
        OSError: on every process, when the work has failed.
    """
    failure: OSError | None = None
    if group.is_main:
        try:
            work()
        except OSError as error:
            failure = error
    code = int(group.maximum(torch.tensor(failure.errno or errno.EIO if failure else 0)).item())
    if failure:
        raise failure
    if code:
        raise OSError(code, "the main process could not write")


def _cause(error: BaseException) -> str:
    """The first failure on any process, in a line."""
    if isinstance(error, CheckpointException):
        error = next(iter(error.failures.values()))[0]
    return str(error).splitlines()[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warning that a run of one process is a run of one process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield
