"""The one definition of correct: a dense forward pass over the linearised sequence."""

from __future__ import annotations

import copy
from typing import Any

import torch

from espalier.runtime.layout import Layout, dense_mask, pack


def dense_logprobs(module: Any, tokens: list[int], layout: Layout) -> torch.Tensor:
    """(n, vocabulary) log-probabilities after each token of a linearised sequence."""
    reference = copy.deepcopy(module)
    reference.set_attn_implementation("sdpa")
    visible = torch.from_numpy(dense_mask(pack([layout])))
    bias = torch.zeros(visible.shape, dtype=reference.dtype).masked_fill(~visible, torch.finfo(reference.dtype).min)
    with torch.inference_mode():
        logits = reference(
            input_ids=torch.tensor([tokens], device=reference.device),
            position_ids=torch.tensor([layout.positions.tolist()], device=reference.device),
            attention_mask=bias[None, None].to(reference.device),
            use_cache=False,
        ).logits[0]
    return torch.log_softmax(logits.float(), dim=-1)
