"""The settings of a run: one typed TOML file, read the same way for every kind of run."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from espalier.runtime.defaults import DecodingDefaults
from espalier.runtime.engine import Limits, Mode

STRICT = ConfigDict(extra="forbid", strict=True)
"""How a file of settings is read: unknown settings are refused, and nothing is converted."""


class ConfigError(ValueError):
    """A setting is unknown, missing or of the wrong type; the message names it."""


class Form(StrEnum):
    """PARALLEL traces have blocks of plans and steps; SEQUENTIAL ones are a plain chain of thought."""

    PARALLEL = "parallel"
    SEQUENTIAL = "sequential"


class OptimizerName(StrEnum):
    """ADAMW updates everything; MUON the matrices of the layers, and AdamW the embeddings and norms."""

    ADAMW = "adamw"
    MUON = "muon"


class Schedule(StrEnum):
    """What the learning rate does behind its warm-up."""

    CONSTANT = "constant"
    LINEAR = "linear"
    COSINE = "cosine"


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """A low-rank adapter that is trained instead of the weights (arXiv 2106.09685), by `peft`.

    Attributes:
        rank: Columns of the factors.
        alpha: Scale of the update: alpha / rank times the product of the factors.
        targets: Names of the linear layers that are adapted.
        tag_rows: Whether the rows of the eight tags in the embedding (and in the output layer) are trained, too.
    """

    rank: int = 16
    alpha: int = 32
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    tag_rows: bool = True

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ConfigError(f"rank must be at least 1, got {self.rank}")
        if not self.targets:
            raise ConfigError("targets must name at least one layer")


@dataclass(frozen=True, slots=True)
class TrainerConfig:
    """How weights are updated, in every stage.

    Attributes:
        sequence_length: Tokens in a packed sequence; a prompt with its longest response has to fit.
        learning_rate: Peak of the learning rate.
        micro_batch_size: Packed sequences in one forward and backward pass.
        optimizer: See :class:`OptimizerName`.
        muon_learning_rate: Peak for the matrices that Muon updates.
        betas: AdamW's moving averages of the gradient and of its square.
        weight_decay: Decoupled, of matrices.
        warmup_steps: Optimiser steps until the peak.
        schedule: See :class:`Schedule`.
        decay_share: Share of the run, at its end, over which a schedule that is not constant falls.
        min_learning_rate_ratio: What is left of the peak at the end of such a schedule.
        max_grad_norm: The gradient is scaled down to this norm.
        recompute: Whether the backward pass computes the inside of the layers again instead of keeping it.
        lora: Train an adapter; without it all weights are trained.
    """

    sequence_length: int
    learning_rate: float
    micro_batch_size: int = 1
    optimizer: OptimizerName = OptimizerName.ADAMW
    muon_learning_rate: float = 0.0
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.0
    warmup_steps: int = 0
    schedule: Schedule = Schedule.CONSTANT
    decay_share: float = 1.0
    min_learning_rate_ratio: float = 0.0
    max_grad_norm: float = 1.0
    recompute: bool = False
    lora: LoraConfig | None = None

    def __post_init__(self) -> None:
        for name in ("sequence_length", "micro_batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.decay_share <= 1:
            raise ConfigError(f"decay_share must be above 0 and at most 1, got {self.decay_share}")
        muon = self.optimizer is OptimizerName.MUON
        if muon != (self.muon_learning_rate > 0):
            raise ConfigError('muon_learning_rate goes with optimizer = "muon", and has to be above 0')
        if muon and self.lora:
            raise ConfigError('lora goes with optimizer = "adamw": Muon would orthogonalise the factors')


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """Where metrics go, beside `metrics.jsonl`.

    Attributes:
        tensorboard: Write event files to `OUT/tensorboard`.
        wandb_project: Log to this project of Weights & Biases, which has to be installed; empty: do not.
    """

    tensorboard: bool = False
    wandb_project: str = ""


@dataclass(frozen=True, slots=True)
class HeldOutResponsesConfig:
    """Measuring the loss of supervised fine-tuning on responses that are not trained on.

    Attributes:
        file: File of responses; empty: nothing is measured.
        every: Optimiser steps between two measurements, one of them before the first step; 0: one at the end.
    """

    file: str = ""
    every: int = 0

    def __post_init__(self) -> None:
        if self.every < 0:
            raise ConfigError(f"every must be at least 0, got {self.every}")
        if self.every and not self.file:
            raise ConfigError("every goes with file: name a file of responses")


@dataclass(frozen=True, slots=True)
class SftConfig:
    """Supervised fine-tuning of a pretrained model on a file of responses.

    Attributes:
        seed: Of the order of the responses.
        form: "parallel": responses with blocks are laid out as fork and join decode them; "sequential": all of them one
            token after the other.
        epochs: Passes over the file.
        batch_size: Packed sequences in an optimiser step, over all processes.
        checkpoint_every: Optimiser steps between checkpoints; 0: only where a part of the run ends.
        held_out: Measuring the loss on the way.
    """

    seed: int = 0
    form: Form = Form.PARALLEL
    epochs: int = 1
    batch_size: int = 8
    checkpoint_every: int = 0
    trainer: TrainerConfig = TrainerConfig(
        sequence_length=4096,
        learning_rate=1e-5,
        weight_decay=0.1,
        warmup_steps=10,
        schedule=Schedule.COSINE,
        recompute=True,
    )
    held_out: HeldOutResponsesConfig = HeldOutResponsesConfig()
    metrics: MetricsConfig = MetricsConfig()

    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ConfigError(f"epochs must be at least 1, got {self.epochs}")


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
        max_depth: Blocks inside one another; 1: steps hold no blocks.
        constrained: Whether tags that no well-formed response goes on with have probability 0, in the engine and in
            the trainer alike: no response is malformed then.
        redraws: How often a batch may be filled up with other problems, for objectives that drop groups in which all
            responses are worth the same.
        judge_branches: Whether the answers of steps are judged where credit does not need it: for the metrics.
        branch_programs: Different programs in the steps of a prompt's responses that are run at most.
        rejoins: Conclusions that are sampled again from the branches of each response: set credit takes their mean as
            the baseline of the join. The local engine can do it.
        ahead: Whether the next batch is sampled while the present one is trained on, by the weights before that step.
            It pays where engine and trainer have a GPU each; `objective.max_importance_weight` corrects for it.
    """

    mode: Mode
    prompts: int
    samples: int
    max_tokens: int
    max_branch_tokens: int = 0
    max_plans: int = 8
    max_depth: int = 5
    constrained: bool = False
    redraws: int = 0
    judge_branches: bool = False
    branch_programs: int = 16
    rejoins: int = 0
    ahead: bool = False

    def __post_init__(self) -> None:
        least_of = {
            "prompts": 1,
            "samples": 2,
            "max_tokens": 1,
            "max_branch_tokens": 0,
            "max_plans": 1,
            "max_depth": 1,
            "rejoins": 0,
        }
        for name, least in least_of.items():
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.rejoins and self.mode is Mode.SEQUENTIAL:
            raise ConfigError('rejoins: sequential responses have no branches to join again; write mode = "parallel"')
        if self.constrained and self.mode is Mode.SEQUENTIAL:
            raise ConfigError('constrained: sequential responses cannot be; write mode = "parallel"')

    @property
    def decoding(self) -> DecodingDefaults:
        """How the model is to be decoded when it is served."""
        return DecodingDefaults(self.constrained, self.max_plans, self.max_depth, self.max_branch_tokens or None)

    @property
    def limits(self) -> Limits:
        """As engines take them."""
        return self.decoding.limits(self.max_tokens)


@dataclass(frozen=True, slots=True)
class ObjectiveConfig:
    """The objective of reinforcement learning.

    Attributes:
        max_importance_weight: Cap of the importance weights that correct for a mismatch of engine and trainer (PAPO);
            0: no weights.
        clip_low, clip_high: How far the ratio may fall below and rise above 1 (DAPO).
        max_mismatch_kl: A run stops where the estimate of KL(engine || trainer) per token exceeds this: the two do not
            compute the same model.
        train_malformed: Whether malformed responses get a gradient, as failed ones do. The paper's engine keeps the
            structure, so it has none; a model that is not sure of its tags yet forgets them where nothing is paid for
            them.
    """

    max_importance_weight: float = 0.0
    clip_low: float = 0.2
    clip_high: float = 0.28
    max_mismatch_kl: float = 0.1
    train_malformed: bool = False


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """Engine and verifiers.

    Attributes:
        engine: "local" (or "local?rows=N&kv-tokens=N"): on the weights being trained; or "sglang://HOST:PORT".
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
class HeldOutConfig:
    """Measuring while a run goes on, on problems that it does not train on.

    Attributes:
        every: Optimiser steps between two measurements; 0: none.
        problems: How many, in all.
        samples: Responses to each, at temperature 1.
        file: File of problems; needed where the training problems come from a file.
    """

    every: int = 0
    problems: int = 64
    samples: int = 4
    file: str = ""

    def __post_init__(self) -> None:
        for name, least in (("every", 0), ("problems", 1), ("samples", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class RlConfig:
    """A run of reinforcement learning.

    Attributes:
        seed: Of the sampling.
        steps: Optimiser steps, one per batch of rollouts.
        checkpoint_every: Steps between checkpoints.
        keep_checkpoints: How many of the latest are kept.
        export_checkpoints: Whether a model is exported to `OUT/steps/STEP` with each checkpoint that is kept.
        log_rollouts: Share of the prompts whose responses are written to `OUT/rollouts.jsonl`.
        held_out: Measuring on the way; the best model so far is in `OUT/best`.
    """

    seed: int
    steps: int
    problems: ProblemsConfig
    rollout: RolloutConfig
    trainer: TrainerConfig
    objective: ObjectiveConfig = ObjectiveConfig()
    credit: CreditConfig = CreditConfig()
    checkpoint_every: int = 1
    keep_checkpoints: int = 1
    export_checkpoints: bool = False
    log_rollouts: float = 0.05
    held_out: HeldOutConfig = HeldOutConfig()
    service: ServiceConfig = ServiceConfig()
    metrics: MetricsConfig = MetricsConfig()

    __pydantic_config__ = STRICT

    @property
    def judges_branches(self) -> bool:
        """Whether the answers of steps are judged."""
        forks = self.rollout.mode is Mode.PARALLEL
        return forks and (self.rollout.judge_branches or self.credit.kind is CreditKind.SET)

    def __post_init__(self) -> None:
        if self.trainer.sequence_length <= self.rollout.max_tokens:
            raise ConfigError(
                f"trainer.sequence_length {self.trainer.sequence_length} holds no prompt with a response of "
                f"rollout.max_tokens {self.rollout.max_tokens}"
            )
        for name in ("checkpoint_every", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.log_rollouts <= 1:
            raise ConfigError(f"log_rollouts must be from 0 to 1, got {self.log_rollouts}")
        if self.held_out.every and self.problems.file and not self.held_out.file:
            raise ConfigError("held_out.file: problems.file has no held-out ones; name a file of others")
        if self.rollout.rejoins and self.credit.kind is CreditKind.OUTCOME:
            raise ConfigError('rollout.rejoins: outcome credit does not use them; write credit.kind = "set"')


@dataclass(frozen=True, slots=True)
class BetaConfig:
    """Rejection sampling from a model, and fine-tuning on what is kept.

    Attributes:
        seed: Of sampling and of the order of packed sequences.
        form: "parallel": samples are laid out as an engine would have decoded them with fork and join; "sequential":
            as they were decoded (the baseline).
        count: Problems to sample.
        tries: Responses to each.
        keep: Of them kept at most, correct, well-formed and different from each other.
        max_tokens: Of a response.
        epochs: Passes over what is kept.
        batch_size: Packed sequences in an optimiser step of the fine-tuning.
        checkpoint_every: Its optimiser steps between checkpoints; 0: only where a part of the run ends.
    """

    seed: int
    form: Form
    problems: ProblemsConfig
    count: int
    max_tokens: int
    epochs: int
    trainer: TrainerConfig
    batch_size: int
    checkpoint_every: int = 0
    tries: int = 8
    keep: int = 4
    service: ServiceConfig = ServiceConfig()
    metrics: MetricsConfig = MetricsConfig()

    __pydantic_config__ = STRICT

    def __post_init__(self) -> None:
        if self.trainer.sequence_length <= self.max_tokens:
            raise ConfigError(
                f"trainer.sequence_length {self.trainer.sequence_length} holds no prompt with a response of "
                f"max_tokens {self.max_tokens}"
            )


T = TypeVar("T")


def load_as(kind: type[T], path: Path) -> T:
    """Read a file of settings of one kind.

    Raises:
        ConfigError: the file cannot be read, or a setting is wrong; the message names file, line and setting.
    """
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    try:  # as JSON: there lists are tuples and words members of enumerations, and nothing else is converted
        return TypeAdapter(kind).validate_json(json.dumps(table, default=str))
    except ValidationError as error:
        wrong = error.errors(include_url=False)
        # A misspelt name is unknown and the right one missing: the first says more.
        first = next((one for one in wrong if one["type"] == "unexpected_keyword_argument"), wrong[0])
        line = _line_of(first["loc"], text)
        raise ConfigError(f"{path}{f':{line}' if line else ''}: {_said(first)}") from None


def _said(first: ErrorDetails) -> str:
    """What is wrong with a setting, in a line."""
    where = ".".join(map(str, first["loc"]))
    match first["type"]:
        case "unexpected_keyword_argument":
            return f"unknown setting {where}"
        case "missing":
            return f"{where} is missing"
        case "value_error":
            return f"{where}: {first['ctx']['error']}" if where else str(first["ctx"]["error"])
    message = first["msg"].removeprefix("Input ")
    return f"{where}: {message}, got {first['input']!r}"


def _line_of(setting: tuple[int | str, ...], text: str) -> int | None:
    """Number of the line that a setting of a TOML file begins in; None where the file does not hold it.

    The shortest beginning of the file that is TOML and holds the setting ends with the setting's statement, and that
    statement begins behind the beginning before.
    """
    lines = text.split("\n")
    whole = 0
    for end in range(1, len(lines) + 1):
        try:
            table = tomllib.loads("\n".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue  # in the middle of a statement
        if setting and _holds(table, setting):
            return whole + 1
        whole = end
    return None


def _holds(table: Any, setting: tuple[int | str, ...]) -> bool:
    for name in setting:
        try:
            table = table[name]
        except (KeyError, IndexError, TypeError):
            return False
    return True
