"""Weights of a network as others need them: whole, named as in the plain architecture, adapters merged.

Adapters are LoRA as `peft` injects it: the network keeps its class and its forward pass, and the layers that are
adapted hold the frozen weight as `base_layer` beside two small factors. The rows of the tags in the embedding are
trained whole; they replace rows of the frozen matrix (`peft`'s trainable tokens).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import get_peft_model
from peft.tuners.lora import LoraLayer
from peft.tuners.trainable_tokens import TrainableTokensLayer
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from espalier.training.config import ConfigError, LoraConfig

ADAPTER = "default"
"""The name under which `peft` keeps the one adapter of a network."""

_ADAPTER_PARTS = (".lora_A.", ".lora_B.", ".trainable_tokens_delta.")


def add_adapter(network: Any, config: LoraConfig, tag_ids: Sequence[int]) -> None:
    """Freeze a network and put a LoRA adapter into it, in place.

    Args:
        network: A `transformers` causal language model.
        config: Rank, alpha and targets.
        tag_ids: Rows of the embedding (and of a tied output layer) that are trained whole.

    Raises:
        ConfigError: No layer has one of the target names.
    """
    rows = {name: sorted(tag_ids) for name in _row_matrices(network)}
    settings = PeftLoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        target_modules=list(config.targets),
        task_type="CAUSAL_LM",
        trainable_token_indices=rows if config.tag_rows else None,
    )
    network.requires_grad_(False)
    try:
        get_peft_model(network, settings, adapter_name=ADAPTER)  # its wrapper is not needed: the layers are in place
    except ValueError as error:
        raise ConfigError(f"trainer.lora.targets: {error}") from None


def _row_matrices(network: Any) -> list[str]:
    """Names of the modules whose rows belong to tokens: the embedding, and an output layer that is not tied to it."""
    embedding, output = network.get_input_embeddings(), network.get_output_embeddings()
    modules = [embedding] if output.weight is embedding.weight else [embedding, output]
    return [name.rpartition(".")[2] for name, module in network.named_modules() if module in modules]


def has_adapter(network: nn.Module) -> bool:
    """Whether :func:`add_adapter` has been here."""
    return any(isinstance(module, LoraLayer) for module in network.modules())


def is_adapter(name: str) -> bool:
    """Whether a parameter of this name belongs to the adapter."""
    return any(part in name for part in _ADAPTER_PARTS)


def whole(tensor: Tensor) -> Tensor:
    """A tensor that may be shared out over processes, in one piece; every process has to call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def full_weights(network: nn.Module, dtype: torch.dtype = torch.bfloat16) -> Iterator[tuple[str, Tensor]]:
    """The parameters of the plain architecture by name, whole, adapters merged, in the type that engines serve.

    Only one parameter at a time is gathered (in `dtype`, adapted ones in float32); a caller that keeps none needs the
    memory of the largest. All processes must consume it alike, since gathering is collective. Tied weights come once.
    """
    for name, parameter in network.named_parameters():
        if is_adapter(name):
            continue
        owner, _, leaf = name.partition(".base_layer.")
        layer = network.get_submodule(owner) if leaf else None
        if leaf == "weight" and isinstance(layer, LoraLayer | TrainableTokensLayer):
            weight = _merged(layer, whole(parameter.detach()).float()).to(dtype)
        else:
            weight = whole(parameter.detach().to(dtype))
        yield plain_name(name), weight


def plain_name(name: str) -> str:
    """The name of a parameter in the architecture without adapters."""
    return name.replace(".token_adapter.", ".").replace(".base_layer.", ".")


def _merged(layer: Any, weight: Tensor) -> Tensor:
    if isinstance(layer, TrainableTokensLayer):
        rows = whole(layer.trainable_tokens_delta[ADAPTER].detach()).to(weight)
        index = torch.tensor(layer.token_indices[ADAPTER], device=weight.device)
        return weight.index_copy(0, index, rows)
    down, up = (whole(factors[ADAPTER].weight.detach()).float() for factors in (layer.lora_A, layer.lora_B))
    return weight.addmm(up, down, alpha=layer.scaling[ADAPTER])


def save_adapter(network: Any, folder: Path, base: str) -> None:
    """Write the adapter in bfloat16, as `peft.PeftModel.from_pretrained` reads it. Every process has to call it.

    Args:
        network: With an adapter.
        folder: Gets `adapter_config.json` and `adapter_model.safetensors`.
        base: Name or path of the model that the adapter belongs to.
    """
    tensors = {
        f"base_model.model.{name.replace(f'.{ADAPTER}', '')}": whole(parameter.detach()).bfloat16().contiguous().cpu()
        for name, parameter in network.named_parameters()
        if is_adapter(name)
    }
    if torch.distributed.is_initialized() and torch.distributed.get_rank():
        return
    folder.mkdir(parents=True, exist_ok=True)
    config = network.peft_config[ADAPTER]
    config.base_model_name_or_path = base
    config.inference_mode = True
    config.save_pretrained(folder)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
