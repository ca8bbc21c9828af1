"""The settings of a run: one typed TOML file, read the same way for every kind of run."""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, Field, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints


class ConfigError(ValueError):
    """A setting is unknown, missing or of the wrong type; the message names it."""


class Form(StrEnum):
    """PARALLEL traces have blocks of plans and steps; SEQUENTIAL ones are a plain chain of thought."""

    PARALLEL = "parallel"
    SEQUENTIAL = "sequential"


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
        row_length: Tokens in a packed row.
        rows_per_shard: Rows that a worker makes at a time.
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
    row_length: int
    rows_per_shard: int
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
class OptimizerConfig:
    """Muon for matrices, AdamW for embeddings and norms; warm-up, constant, linear decay.

    Attributes:
        rows_per_step: Rows in an optimiser step.
        rows_per_pass: Rows in one forward and backward pass; divides `rows_per_step`.
        muon_rate, adam_rate: Peak learning rates.
        weight_decay: Of the matrices.
        warm_up: Optimiser steps of linear warm-up.
        decay_share: Share of the whole schedule over which the rates fall to zero.
        clip: Largest norm of the gradient.
        checkpoint_every: Optimiser steps between checkpoints; 0: only where a part of the run ends.
    """

    rows_per_step: int
    rows_per_pass: int
    muon_rate: float
    adam_rate: float
    weight_decay: float
    warm_up: int
    decay_share: float
    clip: float
    checkpoint_every: int = 0


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
class SftConfig:
    """A supervised run."""

    seed: int
    held_out_rows: int
    model: ModelConfig
    data: DataConfig
    optimizer: OptimizerConfig
    metrics: MetricsConfig = MetricsConfig()


T = TypeVar("T")

TOML_NAMES: dict[Any, str] = {dict: "table", tuple: "list"}
"""What TOML calls some types of Python."""


def _section(kind: type[T], table: dict[str, Any], where: str) -> T:
    hints = get_type_hints(kind)
    names = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(set(table) - names):
        raise ConfigError(f"{where}: unknown setting {unknown[0]!r}; known: {', '.join(sorted(names))}")
    values: dict[str, Any] = {}
    for name, value in table.items():
        values[name] = _value(hints[name], value, f"{where}.{name}")
    try:
        return kind(**values)
    except TypeError as error:
        missing = sorted(f.name for f in fields(kind) if f.name not in values and _required(f))  # type: ignore[arg-type]
        raise ConfigError(f"{where}: missing {', '.join(missing)}") from error
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _required(setting: Field[Any]) -> bool:
    return setting.default is MISSING and setting.default_factory is MISSING


def _value(hint: Any, value: Any, where: str) -> Any:
    if hint is Any:
        return value
    if isinstance(value, dict) and hasattr(hint, "__dataclass_fields__"):
        return _section(hint, value, where)
    if get_origin(hint) is dict and isinstance(value, dict):
        return {name: _value(get_args(hint)[1], one, f"{where}.{name}") for name, one in value.items()}
    if get_origin(hint) is tuple and isinstance(value, list):
        return tuple(_value(get_args(hint)[0], one, where) for one in value)
    if hint is float and type(value) is int:
        return float(value)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        if value not in list(hint):
            raise ConfigError(f"{where}: expected one of {', '.join(hint)}, got {value!r}")
        return hint(value)
    expected = get_origin(hint) or hint
    if isinstance(expected, type) and type(value) is not expected:
        raise ConfigError(f"{where}: expected {TOML_NAMES.get(expected, expected.__name__)}, got {value!r}")
    return value


def load(path: Path) -> SftConfig:
    """Read the settings of a supervised run; see :func:`load_as`."""
    return load_as(SftConfig, path)


def load_as(kind: type[T], path: Path) -> T:
    """Read a file of settings of one kind.

    Raises:
        ConfigError: the file cannot be read, or a setting is wrong; the message names file and setting.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    return _section(kind, table, str(path))
