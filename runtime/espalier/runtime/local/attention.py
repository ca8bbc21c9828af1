"""Paged attention for any `transformers` model, through its attention interface.

The model runs on one packed row of new tokens, shape (1, N). In every layer the new keys and values are written to
their slots first; then each branch gathers the pages it sees. A token may therefore see another that is written in the
same pass, which is what makes forks and joins free of extra passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface

NAME = "espalier_paged"


@dataclass(frozen=True, slots=True)
class ChunkGroup:
    """Branches that add the same number of tokens in a pass.

    Attributes:
        tokens: Which packed tokens are theirs, branch by branch.
        count: B, branches.
        pages: (B·P,) pages they see, each branch padded to P pages.
        mask: Added to the scores: 0 where a new token sees a slot, else -inf. (B, 1, 1, L) for one new token per
            branch, (B, 1, T·shared, L) for T of them with the query heads that share a key head; L = P·size.
    """

    tokens: slice
    count: int
    pages: torch.Tensor
    mask: torch.Tensor


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward pass over N packed tokens: (N,) slots to write, and who reads what."""

    slots: torch.Tensor
    groups: tuple[ChunkGroup, ...]


class KVCache:
    """Keys and values of all layers: per layer one tensor (pages, size, 2, key-value heads, head dim).

    Keys and values stand side by side, so that one gather fetches both. Behind the pages is one more, `scratch`, for
    padding to write to.
    """

    def __init__(
        self, layers: int, pages: int, size: int, heads: int, dim: int, *, dtype: torch.dtype, device: torch.device
    ) -> None:
        shape = (pages + 1, size, 2, heads, dim)
        self.size = size
        self.scratch = pages
        self.dtype = dtype
        self.layers = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(layers)]
        self._gathered = torch.empty((0, *shape[1:]), dtype=dtype, device=device)

    def gather(self, layer: int, pages: torch.Tensor) -> torch.Tensor:
        """Copy `pages`, (P,), of a layer: (P, size, 2, heads, dim), valid until the next call.

        On the CPU all calls share one buffer: memory fresh from the system costs more than the copy itself.
        """
        if pages.is_cuda:
            return self.layers[layer].index_select(0, pages)
        if len(pages) > len(self._gathered):
            self._gathered = self._gathered.new_empty((len(pages) * 5 // 4, *self._gathered.shape[1:]))
        return torch.index_select(self.layers[layer], 0, pages, out=self._gathered[: len(pages)])


def group(pages: torch.Tensor, fills: torch.Tensor, new: int, tokens: slice, cache: KVCache, shared: int) -> ChunkGroup:
    """A group of branches.

    Args:
        pages: (B, P) pages that each sees; any page where it sees fewer.
        fills: (B, P) how far each page is filled, new tokens included; 0 where it sees fewer.
        new: T, new tokens per branch; they are the last ones of the row.
        tokens: Where they stand among the packed tokens.
        cache: What they read.
        shared: Query heads that share a key head.
    """
    offset = torch.arange(cache.size, device=fills.device)
    visible = (offset < fills[:, :, None])[:, None]
    if new > 1:
        # The rank of a slot counts the filled slots before it; new token t sees the ranks up to its own.
        rank = (fills.cumsum(1) - fills)[:, :, None] + offset
        last = fills.sum(1)[:, None] - new + torch.arange(new, device=fills.device)
        visible = (visible & (rank[:, None] <= last[:, :, None, None])).repeat_interleave(shared, dim=1)
    hidden = ~visible.flatten(2)[:, None]
    mask = torch.zeros(hidden.shape, dtype=cache.dtype, device=fills.device).masked_fill_(hidden, -torch.inf)
    return ChunkGroup(tokens, len(pages), pages.flatten(), mask)


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
        query: (1, heads, N, dim), rotated.
        key: (1, key-value heads, N, dim), rotated.
        value: (1, key-value heads, N, dim).
        attention_mask: Always None: visibility is in `plan`.
        memory: Where keys and values live; not `cache`, which models take as their own.
        plan: What to write and who reads what.
        scaling: Factor on the scores.

    Returns:
        (1, N, heads, dim), None.
    """
    layer: int = module.layer_idx  # type: ignore[assignment]
    slots = memory.layers[layer].flatten(0, 1)
    slots[:, 0].index_copy_(0, plan.slots, key[0].transpose(0, 1))
    slots[:, 1].index_copy_(0, plan.slots, value[0].transpose(0, 1))
    heads, kv_heads, dim = query.shape[1], key.shape[1], key.shape[3]
    packed = query[0].transpose(0, 1)
    outputs = []
    for item in plan.groups:
        # Query heads that share a key head count as further queries of it: keys need not be repeated.
        own = packed[item.tokens].reshape(item.count, -1, kv_heads, heads // kv_heads, dim).transpose(1, 2)
        seen = memory.gather(layer, item.pages).view(item.count, -1, 2, kv_heads, dim)
        keys, values = seen.permute(2, 0, 3, 1, 4)
        output = functional.scaled_dot_product_attention(
            own.flatten(2, 3), keys, values, attn_mask=item.mask, scale=scaling
        )
        outputs.append(output.view(own.shape).transpose(1, 2).reshape(-1, heads, dim))
    return (outputs[0] if len(outputs) == 1 else torch.cat(outputs))[None], None


# There is no mask function of this name, so `transformers` makes no mask. It would look at the positions first, and
# wait for the GPU.
AttentionInterface.register(NAME, paged_attention)
