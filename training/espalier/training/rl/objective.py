"""The objectives of reinforcement learning: pure functions of what was sampled, how it was rewarded, and what the model
thinks of it now.

Two halves. *Credit* (:mod:`espalier.training.rl.credit`) says how much better than expected each token was. *Losses*
turn that into a gradient, one term per trained token, divided by the number of trained tokens of the whole batch: the
sum of the losses of all micro-batches on all ranks is the loss of the one big batch, and so is the sum of gradients.

PAPO (arXiv 2512.07461): ratio `pi / stop_gradient(pi)`. DAPO (arXiv 2503.14476, equation 8): ratio against the policy
that sampled, clipped to [1 - 0.2, 1 + 0.28], mean over tokens. Both without a KL term.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from espalier.training.rl.credit import Credit, GroupOutcomeCredit, OutcomeCredit


class LossInputs(NamedTuple):
    """Tokens of a micro-batch. All tensors have the same shape, float32 but for the mask.

    Attributes:
        logprobs: Log-probability of each token under the weights being trained; carries the gradient.
        rollout_logprobs: The same as the engine reported it when it sampled the token.
        advantages: Of each token.
        mask: True where the token was sampled and is trained; forced tokens, prompts and padding are False.
    """

    logprobs: Tensor
    rollout_logprobs: Tensor
    advantages: Tensor
    mask: Tensor


class Metrics(NamedTuple):
    """What a micro-batch adds to the metrics of a step; scalars without gradient.

    Attributes:
        divergence: Sum over the trained tokens of `r - 1 - log r`, r = trainer's over engine's probability: divided by
            their number it estimates KL(engine || trainer) without bias (Schulman 2020, "k3").
        max_logprob_diff: Largest absolute difference of the two log-probabilities.
        cut: Tokens whose ratio was clipped or whose importance weight was truncated.
    """

    divergence: Tensor
    max_logprob_diff: Tensor
    cut: Tensor


def papo_loss(sampled: LossInputs, tokens: int, max_weight: float | None = None) -> tuple[Tensor, Metrics]:
    """Strictly on-policy: the ratio is `pi / stop_gradient(pi)`, whose value is 1 and whose gradient is that of log pi.

    Nothing is clipped, so the tags, whose probability moves most, always keep their gradient.

    Args:
        sampled: A micro-batch.
        tokens: Trained tokens of the whole batch: of all micro-batches on all ranks.
        max_weight: Corrects for an engine whose probabilities differ from the trainer's: each token is weighted by
            min(trainer's / engine's probability, cap). None: no weights.

    Returns:
        The micro-batch's share of the loss, and its metrics.
    """
    ratio = (sampled.logprobs - sampled.logprobs.detach()).exp()
    cut = torch.zeros_like(sampled.mask)
    if max_weight is not None:
        weight = (sampled.logprobs.detach() - sampled.rollout_logprobs).exp()
        cut = weight > max_weight
        ratio = ratio * weight.clamp(max=max_weight)
    return _mean(ratio * sampled.advantages, sampled.mask, tokens), _metrics(sampled, cut)


def dapo_loss(
    sampled: LossInputs, tokens: int, clip_low: float = 0.2, clip_high: float = 0.28
) -> tuple[Tensor, Metrics]:
    """Clip-higher. With one optimiser step a batch, the ratio differs from 1 only where engine and trainer differ.

    Args:
        sampled: A micro-batch.
        tokens: Trained tokens of the whole batch: of all micro-batches on all ranks.
        clip_low: How far the ratio may fall below 1.
        clip_high: How far the ratio may rise above 1.

    Returns:
        The micro-batch's share of the loss, and its metrics.
    """
    ratio = (sampled.logprobs - sampled.rollout_logprobs).exp()
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    plain, held = ratio * sampled.advantages, clipped * sampled.advantages
    return _mean(torch.minimum(plain, held), sampled.mask, tokens), _metrics(sampled, held < plain)


class Objective(Protocol):
    """Credit and loss together, as the training loop uses them."""

    @property
    def credit(self) -> Credit:
        """From verdicts to advantages."""
        ...

    @property
    def balance_kinds(self) -> bool:
        """Whether each kind of token has the same share of the token mean, see `credit.kind_weights`."""
        ...

    @property
    def only_informative(self) -> bool:
        """Whether groups of equal rewards are dropped instead of counted with an advantage of 0."""
        ...

    def loss(self, sampled: LossInputs, tokens: int) -> tuple[Tensor, Metrics]: ...


@dataclass(frozen=True, slots=True)
class Papo:
    """See :func:`papo_loss`."""

    max_weight: float | None = None
    credit: Credit = OutcomeCredit()
    balance_kinds: bool = False
    only_informative: bool = False

    def loss(self, sampled: LossInputs, tokens: int) -> tuple[Tensor, Metrics]:
        return papo_loss(sampled, tokens, self.max_weight)


@dataclass(frozen=True, slots=True)
class Dapo:
    """See :func:`dapo_loss`; groups of equal rewards are dropped (dynamic sampling)."""

    clip_low: float = 0.2
    clip_high: float = 0.28
    credit: Credit = GroupOutcomeCredit()
    balance_kinds: bool = False
    only_informative: bool = True

    def loss(self, sampled: LossInputs, tokens: int) -> tuple[Tensor, Metrics]:
        return dapo_loss(sampled, tokens, self.clip_low, self.clip_high)


def _mean(gains: Tensor, mask: Tensor, tokens: int) -> Tensor:
    return -torch.where(mask, gains, 0.0).sum() / tokens


def _metrics(sampled: LossInputs, cut: Tensor) -> Metrics:
    mask = sampled.mask
    difference = torch.where(mask, sampled.logprobs.detach() - sampled.rollout_logprobs, 0.0)
    divergence = (difference.expm1() - difference).sum()
    largest = difference.abs().max() if difference.numel() else divergence.new_zeros(())
    return Metrics(divergence, largest, (cut & mask).sum())
