"""Checkpoints: everything a run needs to go on as if it had not stopped, and the weights alone for use.

All tensors are stored as safetensors, all numbers as JSON; nothing is pickled. A checkpoint is written beside its final
place and then renamed, so a run that dies while writing leaves the previous one intact.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from espalier.training.tokenizer import save as save_tokenizer

SHARD_SIZE = "15MB"


class CheckpointError(RuntimeError):
    """A checkpoint is missing or does not fit the run."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come: optimiser steps, rows drawn from the stream, seconds spent training."""

    step: int = 0
    rows: int = 0
    seconds: float = 0.0


def _optimizer_tensors(optimizers: Mapping[str, Optimizer]) -> dict[str, Tensor]:
    tensors = {}
    for name, optimizer in optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"{name}.{index}.{key}"] = torch.as_tensor(value).contiguous()
    return tensors


def save(folder: Path, model: Qwen3ForCausalLM, optimizers: Mapping[str, Optimizer], progress: Progress) -> None:
    """Write a checkpoint, in full precision."""
    fresh = folder.with_name(f"{folder.name}.writing")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    weights = {name: p.detach().contiguous() for name, p in model.named_parameters()}
    save_file(weights, fresh / "model.safetensors")
    save_file(_optimizer_tensors(optimizers), fresh / "optimizer.safetensors")
    save_file({"torch": torch.get_rng_state()}, fresh / "random.safetensors")
    (fresh / "progress.json").write_text(json.dumps(asdict(progress)))
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def restore(folder: Path, model: Qwen3ForCausalLM, optimizers: Mapping[str, Optimizer]) -> Progress:
    """Load a checkpoint into a model and its optimisers.

    Raises:
        CheckpointError: there is none in the folder, or it belongs to another model.
    """
    try:
        progress = Progress(**json.loads((folder / "progress.json").read_text()))
        weights = load_file(folder / "model.safetensors")
        stored = load_file(folder / "optimizer.safetensors")
        torch.set_rng_state(load_file(folder / "random.safetensors")["torch"])
    except FileNotFoundError as error:
        raise CheckpointError(f"no checkpoint in {folder}: {error.filename} is missing") from error
    _copy(weights, model, folder)
    for name, optimizer in optimizers.items():
        state: dict[int, dict[str, Tensor]] = {}
        for path, tensor in stored.items():
            owner, index, key = path.split(".")
            if owner == name:
                state.setdefault(int(index), {})[key] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return progress


def load_weights(folder: Path, model: Qwen3ForCausalLM) -> None:
    """Copy exported weights into a model.

    Raises:
        CheckpointError: there are none in the folder, or they belong to another model.
    """
    weights = {
        name: value for shard in sorted(folder.glob("*.safetensors")) for name, value in load_file(shard).items()
    }
    _copy(weights, model, folder)


def _copy(weights: Mapping[str, Tensor], model: Qwen3ForCausalLM, folder: Path) -> None:
    parameters = dict(model.named_parameters())
    if any(name not in weights or weights[name].shape != p.shape for name, p in parameters.items()):
        raise CheckpointError(f"{folder} holds no weights of a model of this shape")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])


def export(folder: Path, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write weights (bfloat16, shards of at most 15 MB), config and tokenizer as `AutoModelForCausalLM` reads them."""
    config = copy.deepcopy(model.config)
    config.use_cache = True
    exported = Qwen3ForCausalLM(config).bfloat16()
    exported.load_state_dict(model.state_dict())
    exported.save_pretrained(folder, max_shard_size=SHARD_SIZE)
    save_tokenizer(tokenizer, folder)
