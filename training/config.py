"""The settings of a supervised run: one typed TOML file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints


class ConfigError(ValueError):
    """A setting is unknown, missing or of the wrong type; the message names it."""


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
    """

    rows_per_step: int
    rows_per_pass: int
    muon_rate: float
    adam_rate: float
    weight_decay: float
    warm_up: int
    decay_share: float
    clip: float


@dataclass(frozen=True, slots=True)
class SftConfig:
    """A supervised run."""

    seed: int
    held_out_rows: int
    model: ModelConfig
    data: DataConfig
    optimizer: OptimizerConfig


T = TypeVar("T")


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
        missing = sorted(names - set(values))
        raise ConfigError(f"{where}: missing {', '.join(missing)}") from error


def _value(hint: Any, value: Any, where: str) -> Any:
    if isinstance(value, dict) and hasattr(hint, "__dataclass_fields__"):
        return _section(hint, value, where)
    if hint is float and isinstance(value, int):
        return float(value)
    if isinstance(hint, type) and type(value) is not hint:
        raise ConfigError(f"{where}: expected {hint.__name__}, got {value!r}")
    return value


def load(path: Path) -> SftConfig:
    """Read a run's settings.

    Raises:
        ConfigError: the file cannot be read, or a setting is wrong; the message names file and setting.
    """
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from error
    return _section(SftConfig, table, str(path))
