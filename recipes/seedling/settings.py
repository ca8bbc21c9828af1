"""The settings of the recipe: a base that is trained from nothing on traces, and the whole curriculum."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from espalier.training.config import STRICT, ConfigError, Form, MetricsConfig, ServiceConfig, TrainerConfig


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Shape of the Qwen3 model."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    context: int
    rope_theta: float


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Where examples come from.

    Attributes:
        seed: Of the stream of problems and traces.
        sequence_length: Tokens of a packed sequence.
        sequences_per_shard: Packed sequences that a worker makes at a time.
        workers: Processes that write traces; 0: in this process.
        reuse: How often a row is used on average, for accelerators that outrun the workers.
        form: How traces are written, see :class:`Form`.
        tagged_share: With the sequential form, share of the traces that are written with tags all the same, every
            other one of them with a fault.
        tasks: Names of tasks; none: all of them.
        settings: By task, settings of its generator instead of the usual ones.
        reworded_share: Share of the problems that are put in other words.
        easier_share: Share of the problems that are drawn from the easier settings of their task.
        weights: Share of every task, relative to 1.0 for tasks not named.
    """

    seed: int
    sequence_length: int
    sequences_per_shard: int
    workers: int
    reuse: int
    reworded_share: float
    easier_share: float
    weights: dict[str, float] = field(default_factory=dict)
    form: Form = Form.PARALLEL
    tagged_share: float = 0.0
    tasks: tuple[str, ...] = ()
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BaseConfig:
    """A base: a supervised run from random weights on generated traces.

    Attributes:
        seed: Of weights.
        held_out_sequences: Packed sequences on which the loss is measured at the end.
        batch_size: Packed sequences in an optimiser step.
        checkpoint_every: Optimiser steps between checkpoints; 0: only where a part of the run ends.
    """

    seed: int
    held_out_sequences: int
    model: ModelConfig
    data: DataConfig
    trainer: TrainerConfig
    batch_size: int
    checkpoint_every: int = 0
    metrics: MetricsConfig = MetricsConfig()

    __pydantic_config__ = STRICT


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """How every model is measured: at temperature 1, on problems that training never draws.

    Attributes:
        seed: Of problems and sampling.
        tasks: Their names.
        problems: Of each task.
        samples: Of each problem.
        max_tokens: Of a response.
        settings: By task, settings of its generator instead of the usual ones.
    """

    seed: int
    tasks: tuple[str, ...]
    problems: int
    samples: int
    max_tokens: int
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """A curriculum.

    Attributes:
        tokenizer: Folder of the tokenizer; like the files below relative to this file.
        base, zero, beta, papo: Settings of the stages.
        base_steps: Length of the base's schedule in optimiser steps; 0: `base_model` is the base.
        base_model: Directory of a model to begin from.
        baselines: Whether to train and measure the two baselines: sequential fine-tuning on Zero's samples, and
            sequential reinforcement learning from Beta with as many rollouts as PAPO.
        margin: How much higher than Beta's accuracy that of PAPO has to be, in percentage points.
    """

    tokenizer: str
    zero: str
    beta: str
    papo: str
    evaluation: EvaluationConfig
    margin: float
    base: str = ""
    base_steps: int = 0
    base_model: str = ""
    baselines: bool = False
    service: ServiceConfig = ServiceConfig()

    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        if bool(self.base_model) == bool(self.base and self.base_steps):
            raise ConfigError("give either base and base_steps, or base_model")
