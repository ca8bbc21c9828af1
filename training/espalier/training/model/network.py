"""The seedling's network, and its forward pass over packed rows.

The network is `transformers`' Qwen3 as it is. Only its attention function is this module's: it takes visibility as
`runtime/espalier/runtime/layout.py` describes it, as a FlexAttention block mask (CUDA) or as a dense mask (anywhere).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the customary name)
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.utils.checkpoint import checkpoint
from transformers import (
    AttentionInterface,
    AutoModelForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from espalier.runtime.layout import Packed, batch_block_mask, dense_mask
from espalier.training.config import ConfigError, ModelConfig
from espalier.training.data.packing import Row
from espalier.training.model.logprobs import IGNORED, Scores, token_logprobs

ATTENTION = "espalier_packed"
"""Name under which the attention function is known to `transformers`."""


@cache
def _fused_attention() -> Any:
    """FlexAttention compiled, for layers that are not: otherwise it works out all n x n scores.

    There is a kernel for each shape of the rows, so keep to one length. Compiled at first use: it takes its time.
    """
    return torch.compile(flex_attention, dynamic=False)


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    visible: BlockMask | Tensor,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of (batch, heads, length, dim) under a block mask or a (batch, 1, length, length) boolean mask."""
    if isinstance(visible, BlockMask):
        alone = query.is_cuda and not torch.compiler.is_compiling()
        attend: Any = _fused_attention() if alone else flex_attention
        out = attend(query, key, value, block_mask=visible, scale=scaling, enable_gqa=True)
    else:
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=visible, scale=scaling, enable_gqa=True)
    return out.transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, _attention)


def build(config: ModelConfig, tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """A freshly initialised network; take the seed from torch's generator."""
    shape = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads,
        head_dim=config.head_dim,
        intermediate_size=config.intermediate,
        max_position_embeddings=config.context,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        tie_word_embeddings=True,
        attention_bias=False,
        use_cache=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen3ForCausalLM(shape)
    model.set_attn_implementation(ATTENTION)
    return model


def load_network(folder: Path, device: torch.device) -> Any:
    """The network of a model directory in float32, ready for packed rows.

    Raises:
        ConfigError: There is no model.
    """
    if not (folder / "config.json").is_file():
        raise ConfigError(f"no model in {folder}: config.json is missing")
    network: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    network.config.use_cache = False
    network.set_attn_implementation(ATTENTION)
    return network.to(device)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows on a device.

    Attributes:
        tokens: (rows, length) ids.
        positions: (rows, length) rotary positions.
        targets: (rows, length) the next token where it is trained, else `IGNORED`.
        task: (rows, length) task index of the target.
        visible: Block mask, or (rows, 1, length, length) boolean.
        trained: Number of trained targets.
    """

    tokens: Tensor
    positions: Tensor
    targets: Tensor
    task: Tensor
    visible: BlockMask | Tensor
    trained: int


def collate(rows: Sequence[Row], device: torch.device) -> Batch:
    """Stack rows; block mask on CUDA, dense mask elsewhere.

    A trained token is predicted from the one before it in the row. That one always belongs to the same branch: what
    opens a branch or joins branches is forced, and forced tokens are not trained.
    """
    tokens = np.stack([row.tokens for row in rows])
    trained = np.stack([row.trained for row in rows])
    targets = np.full(tokens.shape, IGNORED, dtype=np.int64)
    targets[:, :-1] = np.where(trained[:, 1:], tokens[:, 1:], IGNORED)
    task = np.zeros(tokens.shape, dtype=np.int64)
    task[:, :-1] = np.stack([row.task for row in rows])[:, 1:]

    def move(array: np.ndarray[Any, Any]) -> Tensor:
        tensor = torch.from_numpy(array)
        return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)

    packed = [row.packed for row in rows]
    positions = np.stack([item.positions for item in packed]).astype(np.int64)
    return Batch(
        move(tokens.astype(np.int64)),
        move(positions),
        move(targets),
        move(task),
        visibility(packed, device),
        int((targets >= 0).sum()),
    )


def visibility(rows: Sequence[Packed], device: torch.device) -> BlockMask | Tensor:
    """Who sees whom in rows of equal length: a block mask on CUDA, a dense mask elsewhere."""
    if device.type == "cuda":
        return block_mask(rows, device)
    return torch.from_numpy(np.stack([dense_mask(row) for row in rows]))[:, None].to(device)


def block_mask(rows: Sequence[Packed], device: torch.device) -> BlockMask:
    """The block mask of rows of equal length, whatever their depth of nesting."""
    depth = max(1, *(len(row.hidden_from) for row in rows))

    def deep(intervals: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.pad(intervals, ((0, depth - len(intervals)), (0, 0)))  # [0, 0) hides nothing

    even = [replace(row, hidden_from=deep(row.hidden_from), hidden_until=deep(row.hidden_until)) for row in rows]
    return batch_block_mask(even, device)


def score(network: Qwen3ForCausalLM, batch: Batch) -> Scores:
    """(rows, length) log-probability of every trained target at its place; bf16 arithmetic on CUDA."""
    device = batch.tokens.device
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
        hidden = network.model(
            input_ids=batch.tokens,
            position_ids=batch.positions,
            attention_mask={"full_attention": batch.visible},
            use_cache=False,
        ).last_hidden_state
        return token_logprobs(hidden, network.lm_head.weight, batch.targets)


class Policy(torch.nn.Module):
    """A network whose forward pass is :func:`score`: the module to shard, since FSDP gathers what a forward pass uses.

    `network` is the `transformers` model; weights for engines and files are named after it.
    """

    def __init__(self, network: Qwen3ForCausalLM) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch) -> Scores:
        """See :func:`score`."""
        return score(self.network, batch)


def token_losses(network: Qwen3ForCausalLM, batch: Batch) -> Tensor:
    """(rows, length) cross-entropy of each trained target, 0 elsewhere."""
    return -score(network, batch).logprobs


def compile_layers(model: Qwen3ForCausalLM) -> None:
    """Compile every decoder layer in place; one compilation serves all."""
    for layer in model.model.layers:
        layer.forward = torch.compile(layer.forward, dynamic=False)


def checkpoint_layers(model: Qwen3ForCausalLM) -> None:
    """Keep only the input of every decoder layer for the backward pass, which computes the rest again."""
    for layer in model.model.layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False)
