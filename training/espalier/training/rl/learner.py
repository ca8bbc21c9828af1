"""One optimiser step on one batch of judged rollouts, on one process or many."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from espalier.runtime.constraint import Constraint
from espalier.training.data.example import TrainingExample
from espalier.training.model.logprobs import Scores
from espalier.training.model.network import MicroBatch
from espalier.training.rl.batch import example_of, micro_batches
from espalier.training.rl.credit import kind_weights, moments, std
from espalier.training.rl.judged import JudgedRollout, StaleRolloutError, require_version
from espalier.training.rl.monitor import RolloutLog
from espalier.training.rl.objective import LossInputs, Objective
from espalier.training.rl.segments import TokenKind
from espalier.training.run.errors import MismatchError
from espalier.training.trainer import Trainer


@dataclass(frozen=True, slots=True)
class Learned:
    """What an optimiser step came to, over all processes.

    Attributes:
        loss: Mean over the trained tokens.
        grad_norm: Before clipping.
        learning_rate: Of this step.
        trained_tokens: In the whole batch.
        reward_std: Standard deviation of the batch's rewards.
        mismatch_kl: Estimate of KL(engine || trainer) per token.
        max_logprob_diff: Largest difference of the log-probability of a token between engine and trainer.
        clipped_share: Share of tokens whose ratio was clipped or whose weight was truncated.
        entropy: Mean entropy of the distributions that the trained tokens were drawn from, in nats.
        entropy_by_kind: The same by kind of token; kinds that were trained only.
        credit_by_kind: Share of each kind of token in the sum of the absolute advantages, as they enter the loss.
    """

    loss: float
    grad_norm: float
    learning_rate: float
    trained_tokens: int
    reward_std: float
    mismatch_kl: float
    max_logprob_diff: float
    clipped_share: float
    entropy: float
    entropy_by_kind: dict[str, float]
    credit_by_kind: dict[str, float]


@dataclass(slots=True)
class Learner:
    """Takes a step on every batch of rollouts.

    Rollouts are used once: a step is refused on rollouts of any weights but those of `version`, and uses them up.

    Attributes:
        trainer: The weights being trained.
        objective: Turns rewards into a gradient.
        max_mismatch_kl: See :class:`espalier.training.config.ObjectiveConfig`.
        log: Writes rollouts with their credit; None: nothing is logged.
        constraint: What rollouts are sampled under: they are scored under the same mask; None: they are free.
        version: Under which the engine served the weights of the next batch; None: there is none yet.
    """

    trainer: Trainer
    objective: Objective
    max_mismatch_kl: float
    log: RolloutLog | None = None
    constraint: Constraint | None = None
    version: int | None = None

    def learn(
        self, groups: Sequence[Sequence[JudgedRollout]], step: int, out: Path, done: float = 0.0
    ) -> Learned | None:
        """Take one optimiser step on this process's share of a batch; None if the whole batch has nothing to train on.

        Args:
            groups: The valid responses to each prompt, see :func:`espalier.training.rl.batch.usable_groups`.
            step: Number of the step, from 0.
            out: Where a batch that breaks the step is left.
            done: Share of the run that lies behind, in [0, 1].

        Raises:
            StaleRolloutError: The rollouts are of other weights than `version`, or were used before.
            NotFiniteError: Loss or gradient is not finite.
            MismatchError: Engine and trainer do not compute the same model.
        """
        if self.version is None:
            raise StaleRolloutError("these weights have made no rollouts yet: one optimiser step for each batch")
        judged = list(chain.from_iterable(groups))
        require_version(judged, self.version)
        group, config = self.trainer.group, self.trainer.config

        credit = self.objective.credit.at(step)
        rewards = moments(torch.tensor([one.score for one in judged]))
        total = group.sum(torch.cat([rewards, credit.sums(groups)])).cpu()
        given = credit.advantages(groups, total[3:])
        if self.log is not None:
            self.log.write(step + 1, groups, given)
        credits = chain.from_iterable(given)
        examples = [
            example_of(one, *its, constraint=self.constraint)
            for one, its in zip(judged, credits, strict=True)
            if one.reward.trained
        ]
        by_kind = group.sum(_by_kind(examples)).cpu()
        weights = np.ones(len(TokenKind), dtype=np.float32)
        if self.objective.balance_kinds:
            weights = np.array(kind_weights(by_kind[0].tolist()), dtype=np.float32)
        weighted = [_weighted(one, weights) for one in examples]

        make = partial(
            micro_batches, config=config, device=group.device, constraint=self.constraint, even=self._one_shape
        )
        batches = make(weighted)
        passes = int(group.maximum(torch.tensor(len(batches))).item())
        batches += make((), count=passes - len(batches))
        sums, largest = torch.zeros(2 + len(TokenKind), dtype=torch.float64), torch.zeros(())

        def loss(batch: MicroBatch, scores: Scores, tokens: int) -> Tensor:
            nonlocal largest
            sampled = LossInputs(scores.logprobs, batch.rollout_logprobs, batch.advantages, batch.targets >= 0)
            value, metrics = self.objective.loss(sampled, tokens)
            sums[:2] += torch.stack([metrics.divergence, metrics.cut]).detach().double().cpu()
            sums[2:].index_add_(0, batch.kinds.cpu().flatten().int(), scores.entropy.detach().double().cpu().flatten())
            largest = torch.maximum(largest, metrics.max_logprob_diff.cpu())
            return value

        taken = self.trainer.step(batches, loss, step, done, out)
        if taken is None:
            return None
        self.version = None
        divergence, clipped, *entropies = group.sum(sums).tolist()
        tokens = taken.trained_tokens
        if not divergence / tokens <= self.max_mismatch_kl:
            raise MismatchError(
                f"step {step + 1}: KL(engine || trainer) is {divergence / tokens:.3g} per token, above "
                f"objective.max_mismatch_kl {self.max_mismatch_kl:g}: engine and trainer do not compute the same model"
            )
        return Learned(
            loss=taken.loss,
            grad_norm=taken.grad_norm,
            learning_rate=taken.learning_rate,
            trained_tokens=tokens,
            reward_std=std(total[:3]),
            mismatch_kl=divergence / tokens,
            max_logprob_diff=group.maximum(largest).item(),
            clipped_share=clipped / tokens,
            entropy=sum(entropies) / tokens,
            entropy_by_kind=_named(
                value / count if count else None for value, count in zip(entropies, by_kind[0].tolist(), strict=True)
            ),
            credit_by_kind=_shares((by_kind[1] * torch.from_numpy(weights)).tolist()),
        )

    @property
    def _one_shape(self) -> bool:
        """Whether all micro-batches have one shape: on a GPU each shape compiles kernels, on a CPU padding costs."""
        return self.trainer.group.device.type == "cuda"


def _weighted(example: TrainingExample, weights: npt.NDArray[np.float32]) -> TrainingExample:
    """With advantages times the weight of their kind of token."""
    if example.rollout is None:
        return example
    own = example.rollout
    return replace(example, rollout=replace(own, advantages=own.advantages * weights[own.kinds]))


def _by_kind(examples: Sequence[TrainingExample]) -> Tensor:
    """(2, kinds) trained tokens, and the sum of their absolute advantages."""
    sums = np.zeros((2, len(TokenKind)))
    for one in examples:
        if one.rollout is not None:
            kinds = one.rollout.kinds[one.trained]
            sums[0] += np.bincount(kinds, minlength=len(TokenKind))
            sums[1] += np.bincount(kinds, np.abs(one.rollout.advantages[one.trained]), minlength=len(TokenKind))
    return torch.from_numpy(sums)


def _named(values: Iterable[float | None]) -> dict[str, float]:
    """By name of the kind of token; without those that have no value."""
    return {kind.name.lower(): value for kind, value in zip(TokenKind, values, strict=True) if value is not None}


def _shares(values: Sequence[float]) -> dict[str, float]:
    total = sum(values)
    return _named(value / total if total else None for value in values)
