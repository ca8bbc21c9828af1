"""The trainer of every stage: a network, its optimisers, and one optimiser step on micro-batches.

Supervised and reinforcement learning differ in the loss that they hand to :meth:`Trainer.step`. One process or many
give the same step: a loss is a share of the mean over the trained tokens of all processes, and gradients are summed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import AdamW, Optimizer

from espalier.runtime.grammar import EIGHT_TAGS
from espalier.training.config import LoraConfig, OptimizerName, Schedule, TrainerConfig
from espalier.training.export import exported
from espalier.training.model.logprobs import Scores
from espalier.training.model.muon import Muon
from espalier.training.model.network import MicroBatch, PolicyNetwork, checkpoint_layers, compile_layers
from espalier.training.model.weights import add_adapter, whole
from espalier.training.run.distributed import TrainingGroup
from espalier.training.run.errors import NotFiniteError

Loss = Callable[[MicroBatch, Scores, int], Tensor]
"""From a micro-batch, its scores and the number of trained tokens of all processes to the micro-batch's share of the
loss."""


@dataclass(frozen=True, slots=True)
class Step:
    """What an optimiser step came to, over all processes.

    Attributes:
        loss: Mean over the trained tokens.
        grad_norm: Before clipping.
        trained_tokens: In the whole batch.
        learning_rate: AdamW's.
    """

    loss: float
    grad_norm: float
    trained_tokens: int
    learning_rate: float


@dataclass(frozen=True, slots=True)
class Trainer:
    """The weights being trained and their optimisers; see :meth:`of`.

    Attributes:
        policy: The network as a module whose forward pass scores tokens, shared out over the processes.
        config: How it is updated.
        group: The processes that train together.
        optimizers: By name, as checkpoints store their state.
    """

    policy: PolicyNetwork
    config: TrainerConfig
    group: TrainingGroup
    optimizers: dict[str, Optimizer]

    @classmethod
    def of(cls, network: Any, tokenizer: Any, config: TrainerConfig, group: TrainingGroup) -> Trainer:
        """Make a network ready for training, in place: adapter, recomputation, sharding, compilation on CUDA.

        Raises:
            ConfigError: The network has no layer that the adapter's settings name, or could not be exported.
        """
        exported(network)  # so that a run that cannot leave a model does not begin
        torch.set_float32_matmul_precision("high")
        if config.lora:
            add_adapter(network, config.lora, _tag_ids(tokenizer, config.lora))
        if config.recompute:
            checkpoint_layers(network)
        policy = PolicyNetwork(network)
        group.shard(policy)
        if group.device.type == "cuda":
            compile_layers(network)
        policy.train()
        return cls(policy, config, group, _optimizers(network, config))

    @property
    def network(self) -> Any:
        """The `transformers` model."""
        return self.policy.network

    def step(self, batches: Sequence[MicroBatch], loss: Loss, number: int, done: float, out: Path) -> Step | None:
        """Take one optimiser step on this process's micro-batches; None if those of all processes train nothing.

        Every process calls it with as many micro-batches as the others (:func:`even`).

        Args:
            batches: Micro-batches.
            loss: See :data:`Loss`.
            number: Steps behind the run.
            done: Share of the schedule behind the run, in [0, 1].
            out: Where a batch that breaks the step is left.

        Raises:
            NotFiniteError: Loss or gradient is not finite; the weights are those of the step before.
        """
        tokens = int(self.group.total(sum(batch.trained for batch in batches)))
        if not tokens:
            return None
        total = torch.zeros((), dtype=torch.float64)
        for batch in batches:
            share = loss(batch, self.policy(batch), tokens)
            share.backward()  # type: ignore[no-untyped-call]
            total += share.detach().double().cpu()
        value = self.group.total(total.item())
        parameters = [p for p in self.policy.parameters() if p.requires_grad]
        norm = float(whole(torch.nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm)).item())
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise NotFiniteError(self._left_behind(batches, number, value, norm, out))
        factor = learning_rate_factor(self.config, number, done)
        rates = {"muon": self.config.muon_learning_rate, "adamw": self.config.learning_rate}
        for name, optimizer in self.optimizers.items():
            for parameter_group in optimizer.param_groups:
                parameter_group["lr"] = factor * rates[name]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return Step(value, norm, tokens, factor * self.config.learning_rate)

    def _left_behind(self, batches: Sequence[MicroBatch], number: int, loss: float, norm: float, out: Path) -> str:
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        path = out / f"not-finite-{number + 1}-{self.group.rank}.safetensors"
        named = {f"{index}.{name}": t for index, batch in enumerate(batches) for name, t in batch.tensors().items()}
        save_file(named, path)
        return (
            f"step {number + 1}: the loss is {loss} and the norm of the gradient {norm}; lower the learning rate. The "
            f"weights are those of the step before, and the batch is in {path}"
        )


def learning_rate_factor(config: TrainerConfig, step: int, done: float) -> float:
    """Factor of the peak learning rate: linear warm-up, then the schedule.

    Args:
        config: Warm-up and schedule.
        step: Steps behind the run.
        done: Share of the schedule behind the run, in [0, 1].
    """
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    left = min(1.0, (1.0 - done) / config.decay_share)
    match config.schedule:
        case Schedule.CONSTANT:
            height = 1.0
        case Schedule.LINEAR:
            height = left
        case Schedule.COSINE:
            height = 0.5 * (1.0 - math.cos(math.pi * left))
    return warm * (config.min_learning_rate_ratio + (1.0 - config.min_learning_rate_ratio) * height)


def _tag_ids(tokenizer: Any, config: LoraConfig) -> list[int]:
    return [tokenizer.convert_tokens_to_ids(tag.value) for tag in EIGHT_TAGS] if config.tag_rows else []


def _optimizers(network: Any, config: TrainerConfig) -> dict[str, Optimizer]:
    named = {name: p for name, p in network.named_parameters() if p.requires_grad}
    beta1, beta2 = config.betas
    if config.optimizer is OptimizerName.MUON:
        inner = [name for name, p in named.items() if p.ndim == 2 and "layers." in name]
        outer = [named[name] for name in named if name not in set(inner)]
        return {
            "muon": Muon([named[name] for name in inner], config.muon_learning_rate, weight_decay=config.weight_decay),
            "adamw": AdamW(outer, lr=config.learning_rate, betas=(beta1, beta2), weight_decay=0.0),
        }
    groups = [
        {"params": [p for p in named.values() if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in named.values() if p.ndim < 2], "weight_decay": 0.0},
    ]
    return {"adamw": AdamW([one for one in groups if one["params"]], lr=config.learning_rate, betas=(beta1, beta2))}
