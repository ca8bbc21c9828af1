"""Paged attention for any `transformers` model, through its attention interface.

The model runs on one packed row of new tokens, shape (1, N). In every layer the new keys and values are written to
their slots first; then each branch gathers the pages it sees. A token may therefore see another that is written in the
same pass, which is what makes forks and joins free of extra passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

NAME = "espalier_paged"


@dataclass(frozen=True, slots=True)
class Group:
    """Branches that add the same number of tokens in a pass.

    Attributes:
        tokens: Which packed tokens are theirs, branch by branch.
        count: B, branches.
        pages: (B·P,) pages they see, each branch padded to P pages.
        mask: (B, 1, T, L) which of the L = P·size gathered slots each of the T new tokens sees.
    """

    tokens: slice
    count: int
    pages: torch.Tensor
    mask: torch.Tensor


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward pass over N packed tokens: (N,) slots to write, and who reads what."""

    slots: torch.Tensor
    groups: tuple[Group, ...]


class KVCache:
    """Keys and values of all layers: per layer two tensors (pages, size, key-value heads, head dim)."""

    def __init__(
        self, layers: int, pages: int, size: int, heads: int, dim: int, *, dtype: torch.dtype, device: torch.device
    ) -> None:
        shape = (pages, size, heads, dim)
        self.size = size
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(layers)]


def group(
    rows: Sequence[tuple[Sequence[int], Sequence[int]]], new: int, tokens: slice, size: int, device: torch.device
) -> Group:
    """Tables of a group of branches.

    Args:
        rows: Per branch its pages and how far each is filled, new tokens included.
        new: T, new tokens per branch; they are the last ones of the row.
        tokens: Where they stand among the packed tokens.
        size: Tokens per page.
        device: Where the tables go.
    """
    width = max(len(pages) for pages, _ in rows)
    table = torch.tensor([[*pages, *[0] * (width - len(pages))] for pages, _ in rows])
    fills = torch.tensor([[*fill, *[0] * (width - len(fill))] for _, fill in rows])
    table, fills = table.to(device), fills.to(device)
    offset = torch.arange(size, device=device)
    # The rank of a slot counts the filled slots before it; new token t sees the ranks up to its own.
    rank = (fills.cumsum(1) - fills)[:, :, None] + offset
    last = fills.sum(1)[:, None] - new + torch.arange(new, device=device)
    filled = offset < fills[:, :, None]
    visible = filled[:, None] & (rank[:, None] <= last[:, :, None, None])
    return Group(tokens, len(rows), table.flatten(), visible.view(len(rows), 1, new, width * size))


def paged_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    *,
    memory: KVCache,
    plan: Pass,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of packed tokens over paged keys and values.

    Args:
        module: The attention layer; its `layer_idx` selects the cache.
        query: (1, heads, N, dim), rotated. `key` and `value`: (1, key-value heads, N, dim).
        attention_mask: Always None: visibility is in `plan`.
        memory: Where keys and values live; not `cache`, which models take as their own.
        plan: What to write and who reads what.
        scaling: Factor on the scores.

    Returns:
        (1, N, heads, dim), None.
    """
    layer: int = module.layer_idx  # type: ignore[assignment]
    keys, values = memory.keys[layer], memory.values[layer]
    kv_heads, dim = key.shape[1], key.shape[3]
    keys.view(-1, kv_heads, dim)[plan.slots] = key[0].transpose(0, 1)
    values.view(-1, kv_heads, dim)[plan.slots] = value[0].transpose(0, 1)
    heads = query.shape[1]
    shared = heads // kv_heads
    # Query heads that share a key head count as further queries of it: keys need not be repeated.
    packed = query[0].view(kv_heads, shared, -1, dim)
    outputs = []
    for item in plan.groups:
        new = item.mask.shape[2]
        own = packed[:, :, item.tokens].reshape(kv_heads, shared, item.count, new, dim)
        own = own.permute(2, 0, 3, 1, 4).reshape(item.count, kv_heads, new * shared, dim)
        seen_keys = keys.index_select(0, item.pages).view(item.count, -1, kv_heads, dim).transpose(1, 2)
        seen_values = values.index_select(0, item.pages).view(item.count, -1, kv_heads, dim).transpose(1, 2)
        mask = item.mask.repeat_interleave(shared, dim=2) if new > 1 else item.mask
        output = functional.scaled_dot_product_attention(own, seen_keys, seen_values, attn_mask=mask, scale=scaling)
        output = output.view(item.count, kv_heads, new, shared, dim).transpose(1, 2)
        outputs.append(output.reshape(item.count * new, heads, dim))
    return torch.cat(outputs)[None], None


def _no_mask(*_: Any, **__: Any) -> None:
    return None


AttentionInterface.register(NAME, paged_attention)
AttentionMaskInterface.register(NAME, _no_mask)
