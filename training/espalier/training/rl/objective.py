"""The objectives of reinforcement learning: pure functions of what was sampled, how it was rewarded, and what the model
thinks of it now.

Two halves. *Advantages* say how much better a response was than its siblings, one number per response. *Losses* turn
them into a gradient, one term per trained token, divided by the number of trained tokens of the whole batch: the sum
of the losses of all micro-batches on all ranks is the loss of the one big batch, and so is the sum of the gradients.

PAPO (arXiv 2512.07461): mean of the prompt's group as baseline, one standard deviation for the whole batch, ratio
`pi / stop_gradient(pi)`. DAPO (arXiv 2503.14476, equations 8 and 9): standard deviation of the group, ratio against the
policy that sampled, clipped to [1 - 0.2, 1 + 0.28], mean over tokens. Both without a KL term.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

EPSILON = 1e-6
"""Keeps a batch, or a group, of equal rewards from dividing by zero."""


class Sampled(NamedTuple):
    """Tokens of a micro-batch. All tensors have the same shape, float32 but for the mask.

    Attributes:
        logprobs: Log-probability of each token under the weights being trained; carries the gradient.
        rollout_logprobs: The same as the engine reported it when it sampled the token.
        advantages: Of the response that holds the token.
        mask: True where the token was sampled and is trained; forced tokens, prompts and padding are False.
    """

    logprobs: Tensor
    rollout_logprobs: Tensor
    advantages: Tensor
    mask: Tensor


class Metrics(NamedTuple):
    """What a micro-batch adds to the metrics of a step; scalars without gradient.

    Attributes:
        tokens: Trained tokens.
        divergence: Sum over them of `r - 1 - log r`, r = trainer's over engine's probability: divided by the tokens it
            estimates KL(engine || trainer) without bias (Schulman 2020, "k3").
        difference: Largest absolute difference of the two log-probabilities.
        cut: Tokens whose ratio was clipped or whose importance weight was truncated.
    """

    tokens: Tensor
    divergence: Tensor
    difference: Tensor
    cut: Tensor


def moments(rewards: Tensor) -> Tensor:
    """(3,) count, sum and sum of squares of (n,) rewards in float64. Summed over ranks they are those of the batch."""
    values = rewards.double()
    return torch.stack([torch.tensor(float(len(values)), dtype=torch.float64), values.sum(), values.square().sum()])


def deviation(batch: Tensor) -> float:
    """Standard deviation (of the population) from the batch's (3,) :func:`moments`; 0 for an empty batch."""
    count, total, squares = batch.tolist()
    if not count:
        return 0.0
    return float(max(0.0, squares / count - (total / count) ** 2) ** 0.5)


def papo_advantages(rewards: Tensor, prompts: Tensor, batch_deviation: float) -> Tensor:
    """(n,) rewards minus the mean of their prompt's group, over the one deviation of the whole batch.

    Args:
        rewards: (n,) of the valid responses of this rank.
        prompts: (n,) which prompt each answers; a group lies on one rank whole.
        batch_deviation: Of the rewards of all ranks, see :func:`deviation`.
    """
    return (_centred(rewards, prompts) / (batch_deviation + EPSILON)).float()


def dapo_advantages(rewards: Tensor, prompts: Tensor) -> Tensor:
    """(n,) rewards minus the mean of their prompt's group, over the standard deviation (population) of that group."""
    centred = _centred(rewards, prompts)
    return (centred / (_group_mean(centred.square(), prompts).sqrt() + EPSILON)).float()


def papo_loss(sampled: Sampled, tokens: int, weight_cap: float | None = None) -> tuple[Tensor, Metrics]:
    """Strictly on-policy: the ratio is `pi / stop_gradient(pi)`, whose value is 1 and whose gradient is that of log pi.

    Nothing is clipped, so the tags, whose probability moves most, always keep their gradient.

    Args:
        sampled: A micro-batch.
        tokens: Trained tokens of the whole batch: of all micro-batches on all ranks.
        weight_cap: Corrects for an engine whose probabilities differ from the trainer's: each token is weighted by
            min(trainer's / engine's probability, cap). None: no weights.

    Returns:
        The micro-batch's share of the loss, and its metrics.
    """
    ratio = (sampled.logprobs - sampled.logprobs.detach()).exp()
    cut = torch.zeros_like(sampled.mask)
    if weight_cap is not None:
        weight = (sampled.logprobs.detach() - sampled.rollout_logprobs).exp()
        cut = weight > weight_cap
        ratio = ratio * weight.clamp(max=weight_cap)
    return _mean(ratio * sampled.advantages, sampled.mask, tokens), _metrics(sampled, cut)


def dapo_loss(sampled: Sampled, tokens: int, clip_low: float = 0.2, clip_high: float = 0.28) -> tuple[Tensor, Metrics]:
    """Clip-higher. With one optimiser step a batch, the ratio differs from 1 only where engine and trainer differ.

    Args:
        sampled: A micro-batch.
        tokens: Trained tokens of the whole batch: of all micro-batches on all ranks.
        clip_low, clip_high: How far the ratio may fall below and rise above 1.

    Returns:
        The micro-batch's share of the loss, and its metrics.
    """
    ratio = (sampled.logprobs - sampled.rollout_logprobs).exp()
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    plain, held = ratio * sampled.advantages, clipped * sampled.advantages
    return _mean(torch.minimum(plain, held), sampled.mask, tokens), _metrics(sampled, held < plain)


class Objective(Protocol):
    """Advantages and loss together, as the training loop uses them."""

    @property
    def only_informative(self) -> bool:
        """Whether groups of equal rewards are dropped instead of counted with an advantage of 0."""
        ...

    def advantages(self, rewards: Tensor, prompts: Tensor, batch_deviation: float) -> Tensor: ...

    def loss(self, sampled: Sampled, tokens: int) -> tuple[Tensor, Metrics]: ...


@dataclass(frozen=True, slots=True)
class Papo:
    """See :func:`papo_advantages` and :func:`papo_loss`."""

    weight_cap: float | None = None
    only_informative: bool = False

    def advantages(self, rewards: Tensor, prompts: Tensor, batch_deviation: float) -> Tensor:
        return papo_advantages(rewards, prompts, batch_deviation)

    def loss(self, sampled: Sampled, tokens: int) -> tuple[Tensor, Metrics]:
        return papo_loss(sampled, tokens, self.weight_cap)


@dataclass(frozen=True, slots=True)
class Dapo:
    """See :func:`dapo_advantages` and :func:`dapo_loss`; groups of equal rewards are dropped (dynamic sampling)."""

    clip_low: float = 0.2
    clip_high: float = 0.28
    only_informative: bool = True

    def advantages(self, rewards: Tensor, prompts: Tensor, batch_deviation: float) -> Tensor:
        return dapo_advantages(rewards, prompts)

    def loss(self, sampled: Sampled, tokens: int) -> tuple[Tensor, Metrics]:
        return dapo_loss(sampled, tokens, self.clip_low, self.clip_high)


def _mean(gains: Tensor, mask: Tensor, tokens: int) -> Tensor:
    return -torch.where(mask, gains, 0.0).sum() / tokens


def _metrics(sampled: Sampled, cut: Tensor) -> Metrics:
    mask = sampled.mask
    difference = torch.where(mask, sampled.logprobs.detach() - sampled.rollout_logprobs, 0.0)
    divergence = (difference.expm1() - difference).sum()
    largest = difference.abs().max() if difference.numel() else divergence.new_zeros(())
    return Metrics(mask.sum(), divergence, largest, (cut & mask).sum())


def _centred(rewards: Tensor, prompts: Tensor) -> Tensor:
    """(n,) float64: in float32 the mean of equal rewards like -1.4 is off by more than a tenth of `EPSILON`."""
    values = rewards.double()
    return values - _group_mean(values, prompts)


def _group_mean(values: Tensor, prompts: Tensor) -> Tensor:
    """(n,) for each value the mean over the values of its prompt."""
    _, group, sizes = torch.unique(prompts, return_inverse=True, return_counts=True)
    means: Tensor = values.new_zeros(len(sizes)).index_add(0, group, values) / sizes
    return means[group]
