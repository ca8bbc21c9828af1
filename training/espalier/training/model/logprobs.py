"""Log-probabilities of given tokens, without ever holding the logits of a whole row.

The logits of 30,000 tokens over 151,936 words are 17 GiB in float32, and a plain cross-entropy keeps them twice. Here
the output layer runs over a few tokens at a time, and the backward pass computes each part again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 (the customary name)
from torch import Tensor

IGNORED = -100
"""Target of tokens that are not scored."""

LOGITS_AT_ONCE = 2**27
"""Logits that may stand in memory together: 512 MiB in float32, 883 tokens over 151,936 words."""


_NEVER = -1e30
"""Logit of what is forbidden. Finite, so that its share of the entropy, 0 times its logarithm, is 0."""


class Mask(NamedTuple):
    """What had no part in the distributions that targets were drawn from, see :mod:`espalier.runtime.constraint`.

    Attributes:
        states: (*shape) of each target, a row of `forbidden`.
        forbidden: (states, tags) whether a tag is forbidden.
        tags: (tags,) their ids.
    """

    states: Tensor
    forbidden: Tensor
    tags: Tensor


class Scores(NamedTuple):
    """What the model thinks of given tokens, in float32. A tuple, so that FSDP finds the tensors in it.

    Attributes:
        logprobs: Log-probability of each target at temperature 1, under the mask if there is one; 0 where the target
            is `IGNORED`.
        entropy: Entropy of the distribution that the target was scored under, in nats, without gradient; 0 where the
            target is `IGNORED`.
    """

    logprobs: Tensor
    entropy: Tensor


def token_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    mask: Mask | None = None,
    logits_at_once: int = LOGITS_AT_ONCE,
) -> Scores:
    """Score targets under `softmax(hidden @ weight.T)`.

    Matrix products run in the type of `hidden` (of autocast where that is on), everything after them in float32.

    Args:
        hidden: (*shape, width) last hidden states.
        weight: (vocabulary, width) of the output layer.
        targets: (*shape) token ids, or `IGNORED`: such places cost nothing.
        mask: What has probability 0, the rest being renormalised.
        logits_at_once: See :data:`LOGITS_AT_ONCE`.

    Returns:
        Scores of the same shape as `targets`.
    """
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    kept = targets != IGNORED
    size = max(1, logits_at_once // weight.shape[0])
    kept_mask = None if mask is None else mask._replace(states=mask.states[kept])
    found = _Chunked.apply(hidden[kept].to(dtype), weight.to(dtype), targets[kept], size, kept_mask)  # type: ignore[no-untyped-call]
    logprobs, entropy = (
        torch.zeros_like(targets, dtype=torch.float32).masked_scatter(kept, values) for values in found
    )
    return Scores(logprobs, entropy)


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, size: int, mask: Mask | None
    ) -> tuple[Tensor, Tensor]:
        norms = hidden.new_empty(len(targets), dtype=torch.float32)
        logprobs, entropy = torch.empty_like(norms), torch.empty_like(norms)
        for part in _parts(len(targets), size):
            logits = _logits(hidden, weight, mask, part)
            norms[part] = logits.logsumexp(-1)
            logits.sub_(norms[part, None])
            logprobs[part] = logits.gather(-1, targets[part, None])[:, 0]
            entropy[part] = -torch.linalg.vecdot(logits.exp(), logits)
        ctx.save_for_backward(hidden, weight, targets, norms)
        ctx.size, ctx.mask = size, mask
        ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _entropy: Tensor) -> tuple[Tensor, Tensor | None, None, None, None]:
        hidden, weight, targets, norms = ctx.saved_tensors
        of_hidden = torch.empty_like(hidden)
        learns = ctx.needs_input_grad[1]  # an output layer under an adapter is frozen
        of_weight = torch.zeros_like(weight, dtype=torch.float32) if learns else None
        for part in _parts(len(targets), ctx.size):
            # d logprob / d logit = [logit is the target] - probability, which is 0 for what is forbidden
            logits = _logits(hidden, weight, ctx.mask, part)
            slope = logits.sub_(norms[part, None]).exp_().mul_(-gradient[part, None])
            slope.scatter_add_(-1, targets[part, None], gradient[part, None])
            slope = slope.to(hidden.dtype)
            of_hidden[part] = slope @ weight
            if of_weight is not None:
                of_weight += slope.T @ hidden[part]
        return of_hidden, None if of_weight is None else of_weight.to(weight.dtype), None, None, None


def _logits(hidden: Tensor, weight: Tensor, mask: Mask | None, part: slice) -> Tensor:
    """(part, vocabulary) in float32."""
    logits = F.linear(hidden[part], weight).float()
    if mask is not None:
        columns = logits.index_select(-1, mask.tags).masked_fill_(mask.forbidden[mask.states[part]], _NEVER)
        logits.index_copy_(-1, mask.tags, columns)
    return logits


def _parts(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
