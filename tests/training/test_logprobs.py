from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from espalier.training.model.logprobs import IGNORED, Mask, token_logprobs

WORDS, WIDTH, SHAPE = 83, 16, (2, 40)


def _inputs(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Hidden states, output weights, targets (a third ignored), and a gradient for every log-probability."""
    torch.manual_seed(0)
    hidden = torch.randn(*SHAPE, WIDTH).to(dtype).requires_grad_()
    weight = (0.5 * torch.randn(WORDS, WIDTH)).to(dtype).requires_grad_()
    targets = torch.randint(WORDS, SHAPE).where(torch.rand(SHAPE) < 0.7, IGNORED)
    return hidden, weight, targets, torch.randn(SHAPE) / SHAPE[1]


def _plain(hidden: Tensor, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies from all logits at once."""
    all_logprobs = F.log_softmax((hidden @ weight.T).float(), -1)
    logprobs = all_logprobs.gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    entropy = -(all_logprobs.exp() * all_logprobs).sum(-1)
    return logprobs * (targets != IGNORED), entropy * (targets != IGNORED)


@pytest.mark.parametrize("tokens_at_once", [1, 7, 1000])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_chunks_give_the_values_and_gradients_of_all_logits_at_once(
    dtype: torch.dtype, tolerance: float, tokens_at_once: int
) -> None:
    """Tolerances are relative to the largest entry; bfloat16 keeps eight bits."""
    hidden, weight, targets, slope = _inputs(dtype)
    plain, plain_entropy = _plain(hidden, weight, targets)
    expected = (plain, plain_entropy, *torch.autograd.grad((plain * slope).sum(), (hidden, weight)))
    scores = token_logprobs(hidden, weight, targets, logits_at_once=tokens_at_once * WORDS)
    found = (*scores, *torch.autograd.grad((scores.logprobs * slope).sum(), (hidden, weight)))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == theirs.dtype
        assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


@pytest.mark.parametrize("tokens_at_once", [7, 1000])
def test_under_a_mask_the_rest_is_renormalised_in_values_and_gradients(tokens_at_once: int) -> None:
    hidden, weight, targets, slope = _inputs(torch.float32)
    tags, states = torch.tensor([3, 80, 11]), torch.randint(4, SHAPE)
    forbidden = torch.tensor([[False] * 3, [True] * 3, [True, False, True], [False, True, False]])
    targets = torch.where(torch.isin(targets, tags), 0, targets)
    bias = torch.zeros(*SHAPE, WORDS).index_copy(-1, tags, torch.where(forbidden[states], -torch.inf, 0.0))
    logits = (hidden @ weight.T) + bias
    norms = logits.logsumexp(-1)
    plain = (logits.gather(-1, targets.clamp(min=0)[..., None])[..., 0] - norms) * (targets != IGNORED)
    entropy = torch.distributions.Categorical(logits=logits).entropy() * (targets != IGNORED)
    expected = (plain, entropy, *torch.autograd.grad((plain * slope).sum(), (hidden, weight)))
    scores = token_logprobs(hidden, weight, targets, Mask(states, forbidden, tags), tokens_at_once * WORDS)
    found = (*scores, *torch.autograd.grad((scores.logprobs * slope).sum(), (hidden, weight)))
    free = token_logprobs(hidden, weight, targets)
    assert (scores.logprobs - free.logprobs).abs().max() > 0.01
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.isfinite().all()
        assert (ours - theirs).abs().max() <= 1e-6 * theirs.abs().max()


def test_a_batch_without_targets_scores_nothing_and_still_has_a_gradient() -> None:
    """Under FSDP every process has to run the backward pass, also one that has nothing to train."""
    hidden, weight, targets, _ = _inputs(torch.float32)
    scores = token_logprobs(hidden, weight, torch.full_like(targets, IGNORED))
    assert not scores.logprobs.any()
    scores.logprobs.sum().backward()
    assert weight.grad is not None
    assert not weight.grad.any()


def test_no_more_logits_than_allowed_stand_in_memory() -> None:
    """The largest tensor that the forward and backward passes make, seen by the dispatcher."""
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            for tensor in out if isinstance(out, (tuple, list)) else [out]:
                if isinstance(tensor, Tensor):
                    largest = max(largest, tensor.numel())
            return out

    hidden, weight, targets, _ = _inputs(torch.float32)
    with Watch():
        token_logprobs(hidden, weight, targets, logits_at_once=5 * WORDS).logprobs.sum().backward()
    assert largest == max(weight.numel(), hidden.numel())
