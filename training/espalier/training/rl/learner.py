"""One optimiser step on one batch of judged rollouts, on one process or many."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import AdamW

from espalier.training.model.network import Policy, checkpoint_layers, compile_layers
from espalier.training.rl.batch import Judged, MicroBatch, Trajectory, empty_part, parts, scored, trajectory
from espalier.training.rl.config import PolicyConfig
from espalier.training.rl.credit import TokenKind, deviation, kind_weights, moments
from espalier.training.rl.objective import Objective
from espalier.training.rl.rollout import StaleRolloutError, require_version
from espalier.training.run.distributed import Group
from espalier.training.run.errors import NotFiniteError


@dataclass(frozen=True, slots=True)
class Learned:
    """What an optimiser step came to, over all processes.

    Attributes:
        loss: Mean over the trained tokens.
        gradient_norm: Before clipping.
        trained_tokens: In the whole batch.
        deviation: Standard deviation of the batch's rewards.
        mismatch_kl: Estimate of KL(engine || trainer) per token.
        mismatch_max: Largest difference of the log-probability of a token between engine and trainer.
        cut_share: Share of tokens whose ratio was clipped or whose weight was truncated.
        entropy: Mean entropy of the distributions that the trained tokens were drawn from, in nats.
        entropy_by_kind: The same by kind of token; kinds that were trained only.
        credit_by_kind: Share of each kind of token in the sum of the absolute advantages, as they enter the loss.
    """

    loss: float
    gradient_norm: float
    trained_tokens: int
    deviation: float
    mismatch_kl: float
    mismatch_max: float
    cut_share: float
    entropy: float
    entropy_by_kind: dict[str, float]
    credit_by_kind: dict[str, float]


@dataclass(slots=True)
class Learner:
    """The weights being trained and their optimiser.

    Rollouts are used once: a step is refused on rollouts of any weights but the present ones, and changes the weights.

    Attributes:
        policy: The network, ready to be trained.
        objective: Turns rewards into a gradient.
        config: Of the optimiser.
        group: The processes that train together.
        optimizer: AdamW over the policy's parameters.
        version: Version under which the engine serves the present weights; None: it does not have them yet.
    """

    policy: Policy
    objective: Objective
    config: PolicyConfig
    group: Group
    optimizer: AdamW = field(init=False)
    version: int | None = None

    def __post_init__(self) -> None:
        network = self.policy.network
        if self.config.recompute:
            checkpoint_layers(network)
        self.group.shard(self.policy)
        if self.group.device.type == "cuda":
            compile_layers(network)
        self.policy.train()
        matrices = [p for p in self.policy.parameters() if p.ndim >= 2]
        vectors = [p for p in self.policy.parameters() if p.ndim < 2]
        decayed = [
            {"params": matrices, "weight_decay": self.config.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        beta1, beta2 = self.config.betas
        self.optimizer = AdamW(decayed, lr=self.config.rate, betas=(beta1, beta2))

    def learn(self, groups: Sequence[Sequence[Judged]], step: int, out: Path) -> Learned | None:
        """Take one optimiser step on this process's share of a batch; None if the whole batch has nothing to train on.

        Args:
            groups: The valid attempts of each prompt, see :func:`espalier.training.rl.batch.usable_groups`.
            step: Number of the step, from 0.
            out: Where a batch that breaks the step is left.

        Raises:
            StaleRolloutError: The rollouts are not of the present weights, or were used before.
            NotFiniteError: Loss or gradient is not finite.
        """
        judged = list(chain.from_iterable(groups))
        kinds = len(TokenKind)
        if self.version is None:
            raise StaleRolloutError("these weights have made no rollouts yet: one optimiser step for each batch")
        require_version([one.attempt for one in judged], self.version)

        inputs = [[scored(one) for one in group] for group in groups]
        credit = self.objective.credit.at(step)
        rewards = moments(torch.tensor([one.reward for group in inputs for one in group]))
        total = self.group.sum(torch.cat([rewards, credit.sums(inputs)]))
        credits = chain.from_iterable(credit.advantages(inputs, total[3:]))
        trained = [
            trajectory(one.attempt, *given) for one, given in zip(judged, credits, strict=True) if one.reward.trained
        ]
        by_kind = self.group.sum(_by_kind(trained))
        tokens = int(by_kind[0].sum().item())
        if not tokens:
            return None
        weights = np.ones(kinds, dtype=np.float32)
        if self.objective.balance_kinds:
            weights = np.array(kind_weights(by_kind[0].tolist()), dtype=np.float32)
        own = self._parts([replace(one, advantages=one.advantages * weights[one.kinds]) for one in trained])
        passes = int(self.group.maximum(torch.tensor(len(own))).item())
        own += [self._empty_part()] * (passes - len(own))

        sums, largest = torch.zeros(3 + kinds, dtype=torch.float64), torch.zeros(())
        for part in own:
            scores = self.policy(part.batch)
            loss, metrics = self.objective.loss(part.sampled(scores.logprobs), tokens)
            loss.backward()  # type: ignore[no-untyped-call]
            sums[:3] += torch.stack([t.detach().double().cpu() for t in (loss, metrics.divergence, metrics.cut)])
            entropies = scores.entropy.detach().double().cpu().flatten()
            sums[3:].index_add_(0, part.kinds.cpu().flatten().int(), entropies)
            largest = torch.maximum(largest, metrics.difference.cpu())
        mean_loss, divergence, cut, *entropy = self.group.sum(sums).tolist()
        norm = _whole(torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.config.clip))
        if not (math.isfinite(mean_loss) and math.isfinite(norm)):
            raise NotFiniteError(self._left_behind(own, mean_loss, norm, step, out))
        self._step(step)
        return Learned(
            loss=mean_loss,
            gradient_norm=norm,
            trained_tokens=tokens,
            deviation=deviation(total[:3]),
            mismatch_kl=divergence / tokens,
            mismatch_max=self.group.maximum(largest).item(),
            cut_share=cut / tokens,
            entropy=sum(entropy) / tokens,
            entropy_by_kind=_named(
                value / count if count else None for value, count in zip(entropy, by_kind[0].tolist(), strict=True)
            ),
            credit_by_kind=_shares((by_kind[1] * torch.from_numpy(weights)).tolist()),
        )

    @property
    def _one_shape(self) -> bool:
        """Whether all micro-batches have one shape: on a GPU each shape compiles kernels, on a CPU padding costs."""
        return self.group.device.type == "cuda"

    def _parts(self, trained: Sequence[Trajectory]) -> list[MicroBatch]:
        config = self.config
        return parts(trained, config.row_length, config.rows_per_pass, self.group.device, even=self._one_shape)

    def _empty_part(self) -> MicroBatch:
        rows = self.config.rows_per_pass if self._one_shape else 1
        return empty_part(self.config.row_length, rows, self.group.device)

    def _step(self, step: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.rate * min(1.0, (step + 1) / max(1, self.config.warm_up))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.version = None

    def _left_behind(self, batch: Sequence[MicroBatch], loss: float, norm: float, step: int, out: Path) -> str:
        self.optimizer.zero_grad(set_to_none=True)
        path = out / f"not-finite-{step + 1}-{self.group.rank}.safetensors"
        tensors = {}
        for number, part in enumerate(batch):
            tensors[f"{number}.tokens"] = part.batch.tokens
            tensors[f"{number}.positions"] = part.batch.positions
            tensors[f"{number}.targets"] = part.batch.targets
            tensors[f"{number}.rollout_logprobs"] = part.rollout_logprobs
            tensors[f"{number}.advantages"] = part.advantages
        save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, path)
        return (
            f"step {step + 1}: the loss is {loss} and the norm of the gradient {norm}; the weights are those of the "
            f"step before, and the batch is in {path}"
        )


def _by_kind(trained: Sequence[Trajectory]) -> Tensor:
    """(2, kinds) trained tokens, and the sum of their absolute advantages."""
    sums = np.zeros((2, len(TokenKind)))
    for one in trained:
        mask = one.example.trained
        of_kind = one.kinds[mask]
        sums[0] += np.bincount(of_kind, minlength=len(TokenKind))
        sums[1] += np.bincount(of_kind, np.abs(one.advantages[mask]), minlength=len(TokenKind))
    return torch.from_numpy(sums)


def _named(values: Iterable[float | None]) -> dict[str, float]:
    """By name of the kind of token; without those that have no value."""
    return {kind.name.lower(): value for kind, value in zip(TokenKind, values, strict=True) if value is not None}


def _shares(values: Sequence[float]) -> dict[str, float]:
    total = sum(values)
    return _named(value / total if total else None for value in values)


def _whole(norm: Tensor | Any) -> float:
    return float((norm.full_tensor() if isinstance(norm, DTensor) else norm).item())
