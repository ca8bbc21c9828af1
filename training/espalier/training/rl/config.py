"""The settings of reinforcement learning: one typed TOML file per run."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from espalier.runtime.engine import Limits, Mode
from espalier.runtime.grammar import GrammarLimits
from espalier.training.config import ConfigError, Form, MetricsConfig, OptimizerConfig


@dataclass(frozen=True, slots=True)
class ProblemsConfig:
    """Where problems come from.

    Attributes:
        seed: Of the stream of problems.
        tasks: Share of every task; none: `file` says.
        settings: By task, settings of its generator instead of the usual ones.
        file: JSON lines, one problem each: {"text": …, "check": {…}}, see docs/training.md.
    """

    seed: int
    tasks: dict[str, float] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    file: str = ""

    def __post_init__(self) -> None:
        if bool(self.tasks) == bool(self.file):
            raise ConfigError("give either tasks or file")
        if self.tasks and not sum(self.tasks.values()) > 0:
            raise ConfigError("tasks: the shares add up to nothing")


class CreditKind(StrEnum):
    """OUTCOME: every token of a response gets the response's advantage. SET: see `credit.SetCredit`."""

    OUTCOME = "outcome"
    SET = "set"


@dataclass(frozen=True, slots=True)
class CreditConfig:
    """What is made of verdicts, see :mod:`espalier.training.rl.credit`.

    Attributes:
        kind: "outcome", or "set": branches earn what they add to pass@k of their set (with sequential rollouts the set
            are the samples of a prompt, and `k` is needed).
        k: Size of the sets; 0: the mean number of branches of a prompt's blocks.
        k_until: Optimiser steps after which k is 1; 0: never.
        divide: Whether advantages are divided by the standard deviation of the batch's verdicts (set credit).
        balance_kinds: Whether guidelines, steps, takeaways and answers have equal shares of the token mean.
        shorter: Weight of a shorter critical path among the right responses of a prompt; 0: none.
    """

    kind: CreditKind = CreditKind.OUTCOME
    k: int = 0
    k_until: int = 0
    divide: bool = True
    balance_kinds: bool = False
    shorter: float = 0.0

    def __post_init__(self) -> None:
        for name in ("k", "k_until", "shorter"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be at least 0, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class RolloutConfig:
    """How responses are made. Sampling is at temperature 1 without filters: the distribution that is trained.

    Attributes:
        mode: "parallel" decodes with fork and join; "sequential" one token after the other.
        prompts: Problems in a batch, over all processes.
        samples: Responses to each.
        max_tokens: New tokens of a response, all branches together.
        max_branch_tokens: Tokens of a step, after which it is closed; 0: no such limit.
        max_plans: Plans of a block.
        redraws: How often a batch may be filled up with other problems, for objectives that drop groups in which all
            responses are worth the same.
        judge_branches: Whether the answers of steps are judged where credit does not need it: for the metrics.
        branch_programs: Different programs in the steps of a prompt's responses that are run at most.
    """

    mode: Mode
    prompts: int
    samples: int
    max_tokens: int
    max_branch_tokens: int = 0
    max_plans: int = 8
    redraws: int = 0
    judge_branches: bool = False
    branch_programs: int = 16

    def __post_init__(self) -> None:
        for name, least in (("prompts", 1), ("samples", 2), ("max_tokens", 1), ("max_plans", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, got {getattr(self, name)}")

    @property
    def limits(self) -> Limits:
        """As engines take them."""
        grammar = GrammarLimits(max_plans=self.max_plans)
        return Limits(max_tokens=self.max_tokens, max_branch_tokens=self.max_branch_tokens or None, grammar=grammar)


@dataclass(frozen=True, slots=True)
class PolicyConfig:
    """The optimiser: AdamW with a linear warm-up and a constant rate.

    Attributes:
        rate: Learning rate.
        betas: Of the moving averages of the gradient and of its square.
        weight_decay: Decoupled, of matrices.
        warm_up: Optimiser steps until the full rate.
        clip: Largest norm of the gradient.
        row_length: Tokens in a packed row; a prompt with the longest response has to fit.
        rows_per_pass: Rows in one forward and backward pass.
        recompute: Whether the backward pass computes the inside of the layers again instead of keeping it.
        weight_cap: Truncated importance weights against a mismatch of engine and trainer (PAPO); 0: none.
        clip_low, clip_high: How far the ratio may be from 1 (DAPO).
    """

    rate: float
    row_length: int
    rows_per_pass: int
    betas: tuple[float, ...] = (0.9, 0.95)
    weight_decay: float = 0.0
    warm_up: int = 0
    clip: float = 1.0
    recompute: bool = False
    weight_cap: float = 0.0
    clip_low: float = 0.2
    clip_high: float = 0.28

    def __post_init__(self) -> None:
        if len(self.betas) != 2:
            raise ConfigError(f"betas must be two numbers, got {list(self.betas)}")
        for name in ("row_length", "rows_per_pass"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """Engine and verifiers.

    Attributes:
        engine: "local": in this process, on the weights being trained; or "sglang://HOST:PORT".
        processes: Of the local engine: 1 decodes in this process, more decode in processes of their own on one device.
        rows: Branches that the local engine decodes at once, in all its processes together.
        kv_tokens: Tokens whose keys and values the local engine keeps, in all its processes together; 0: what it finds
            room for, which several processes cannot share on a GPU.
        verifiers: Addresses of verifier servers; none: the verifiers of this process.
        token_file: Holds the bearer token of the servers.
        tls_ca: PEM root of the servers' certificates; turns TLS on.
        verify_seconds: Limit of one verdict.
        instruction: File with the instruction text; empty: what the model's directory holds.
    """

    engine: str = "local"
    processes: int = 1
    rows: int = 64
    kv_tokens: int = 0
    verifiers: tuple[str, ...] = ()
    token_file: str = ""
    tls_ca: str = ""
    verify_seconds: float = 30.0
    instruction: str = ""

    def __post_init__(self) -> None:
        if self.processes < 1:
            raise ConfigError(f"processes must be at least 1, got {self.processes}")
        if self.rows < self.processes:
            raise ConfigError(f"rows must be at least {self.processes}, one for each process, got {self.rows}")


@dataclass(frozen=True, slots=True)
class RlConfig:
    """A run of reinforcement learning.

    Attributes:
        seed: Of the sampling.
        steps: Optimiser steps, one per batch of rollouts.
        checkpoint_every: Steps between checkpoints.
    """

    seed: int
    steps: int
    problems: ProblemsConfig
    rollout: RolloutConfig
    optimizer: PolicyConfig
    checkpoint_every: int = 1
    credit: CreditConfig = CreditConfig()
    service: ServiceConfig = ServiceConfig()
    metrics: MetricsConfig = MetricsConfig()

    @property
    def judges_branches(self) -> bool:
        """Whether the answers of steps are judged."""
        forks = self.rollout.mode is Mode.PARALLEL
        return forks and (self.rollout.judge_branches or self.credit.kind is CreditKind.SET)

    def __post_init__(self) -> None:
        if self.optimizer.row_length <= self.rollout.max_tokens:
            raise ConfigError(
                f"optimizer.row_length {self.optimizer.row_length} holds no prompt with a response of "
                f"rollout.max_tokens {self.rollout.max_tokens}"
            )
        if self.checkpoint_every < 1:
            raise ConfigError(f"checkpoint_every must be at least 1, got {self.checkpoint_every}")


@dataclass(frozen=True, slots=True)
class BetaConfig:
    """Rejection sampling from a model, and fine-tuning on what is kept.

    Attributes:
        seed: Of sampling and of the order of rows.
        form: "parallel": samples are laid out as an engine would have decoded them with fork and join; "sequential":
            as they were decoded (the control).
        count: Problems to sample.
        tries: Responses to each.
        keep: Of them kept at most, correct, well-formed and different from each other.
        max_tokens: Of a response.
        epochs: Passes over what is kept.
        row_length: Tokens in a packed row.
        optimizer: Of the fine-tuning.
    """

    seed: int
    form: Form
    problems: ProblemsConfig
    count: int
    max_tokens: int
    epochs: int
    row_length: int
    optimizer: OptimizerConfig
    tries: int = 8
    keep: int = 4
    service: ServiceConfig = ServiceConfig()
    metrics: MetricsConfig = MetricsConfig()

    def __post_init__(self) -> None:
        if self.row_length <= self.max_tokens:
            raise ConfigError(
                f"row_length {self.row_length} holds no prompt with a response of max_tokens {self.max_tokens}"
            )
