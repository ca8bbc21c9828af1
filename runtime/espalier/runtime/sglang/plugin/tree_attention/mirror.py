"""The same attention in PyTorch, one segment after the other: for servers without a GPU, which are for tests."""

from __future__ import annotations

from collections.abc import Callable

import torch

from espalier.runtime.sglang.plugin.tree_attention.forest import Forest


def attend(
    q: torch.Tensor,
    k_buffer: torch.Tensor,
    v_buffer: torch.Tensor,
    forest: Forest,
    lengths: list[int],
    slots: Callable[[int, int, int], torch.Tensor],
    scale: float,
) -> torch.Tensor:
    """Attention of one new token a row over a forest.

    Args:
        q: (rows, query heads, width).
        k_buffer: (slots, key-value heads, width), as v_buffer.
        v_buffer: See k_buffer.
        forest: Of these rows.
        lengths: Tokens of each row.
        slots: Slots of a row's tokens: `slots(row, start, stop)`.
        scale: Of the scores.

    Returns:
        (rows, query heads, width), in float32.
    """
    rows, heads, width = q.shape
    queries = q.float().view(rows, k_buffer.shape[1], -1, width)
    result = torch.zeros_like(queries)
    total = torch.full(queries.shape[:-1], -torch.inf, device=q.device)

    def part(members: list[int], start: int, stop: int) -> None:
        """Read `[start, stop)`, which the first member has as all others do, and merge it into their results."""
        where = slots(members[0], start, stop)
        keys, values = k_buffer[where].float(), v_buffer[where].float()
        score = torch.einsum("rhgd,thd->rhgt", queries[members], keys) * scale
        lse = score.logsumexp(-1)
        new = torch.logaddexp(total[members], lse)
        fade, weight = (total[members] - new).exp(), (score - new[..., None]).exp()
        result[members] = result[members] * fade[..., None] + torch.einsum("rhgt,thd->rhgd", weight, values)
        total[members] = new

    for each in forest.segments:
        part(list(forest.order[each.first : each.first + each.count]), each.start, each.stop)
    for row, start in enumerate(forest.own_start):
        part([row], start, lengths[row])
    return result.reshape(rows, heads, width)
