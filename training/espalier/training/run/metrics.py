"""Where the metrics of a run go: JSON lines always, TensorBoard and Weights & Biases where they are wanted."""

from __future__ import annotations

import importlib
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from espalier.common.files import whole_lines
from espalier.training.config import ConfigError, MetricsConfig
from espalier.training.run.directory import write

MetricsEntry = Mapping[str, Any]
"""One record: `step` and whatever was measured; or `note`, something a person should read."""

Report = Callable[[dict[str, Any]], None]
"""Records or shows an entry."""

Tell = Callable[[str], None]
"""Says something to the person who watches the run."""

FILE = "metrics.jsonl"


def sampled_tokens(entry: MetricsEntry) -> float:
    """New tokens of a step of reinforcement learning, with those of re-joins; runs of older versions have none."""
    return float(entry["tokens"] * entry["responses"] + entry.get("rejoin_tokens", 0))


@contextmanager
def journal(out: Path, config: MetricsConfig, step: int, settings: Mapping[str, Any], show: Report) -> Iterator[Report]:
    """A function that records an entry everywhere and shows it.

    Args:
        out: The run's folder.
        config: Where entries go beside the file in it.
        step: Steps behind the run: what an interrupted part has recorded beyond them is taken back.
        settings: Of the run, for Weights & Biases.
        show: Shows an entry to a person.

    Raises:
        ConfigError: Weights & Biases is wanted and not installed.
    """
    path = out / FILE
    kept = [line for line in _lines(path) if line.get("step", 0) <= step] if step else []
    with ExitStack() as stack:
        write(path, "".join(json.dumps(line) + "\n" for line in kept))
        file = stack.enter_context(path.open("a", encoding="utf-8"))
        sinks: list[Report] = []
        if config.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            writer = SummaryWriter(str(out / "tensorboard"), purge_step=step + 1)
            stack.callback(writer.close)

            def to_tensorboard(entry: dict[str, Any]) -> None:
                for name, value in _numbers(entry).items():
                    writer.add_scalar(name, value, entry["step"])

            sinks.append(to_tensorboard)
        if config.wandb_project:
            try:
                wandb: Any = importlib.import_module("wandb")
            except ModuleNotFoundError:
                raise ConfigError("metrics.wandb_project: wandb is not installed; pip install wandb") from None
            own = _wandb_id(out, anew=not step)
            run = wandb.init(project=config.wandb_project, name=out.name, id=own, resume="allow", config=dict(settings))
            stack.callback(run.finish)
            sinks.append(lambda entry: run.log(_numbers(entry), step=entry["step"]))

        def record(entry: dict[str, Any]) -> None:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            if "note" not in entry:
                for sink in sinks:
                    sink(entry)
            show(entry)

        yield record


def _wandb_id(out: Path, *, anew: bool) -> str:
    """The name by which Weights & Biases knows the run in a folder; a run that begins anew has a new one."""
    path = out / "wandb-id"
    if anew or not path.exists():
        path.write_text(secrets.token_hex(8), encoding="utf-8")
    return path.read_text(encoding="utf-8")


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The entries of a run.

    Raises:
        ValueError: There are none in the folder.
    """
    entries = _lines(folder / FILE)
    if not entries:
        raise ValueError(f"{folder} holds no {FILE} with entries: is it the folder of a run?")
    return entries


def _lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file; a last one that was cut off is not."""
    if not path.exists():
        return []
    found = []
    for line in whole_lines(path):
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def _numbers(entry: MetricsEntry) -> dict[str, float]:
    """What can be drawn as curves; a mapping, such as a share for each task, as one of `name/key` for each key."""
    flat = {name: value for name, value in entry.items() if not isinstance(value, Mapping)}
    for name, value in entry.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}/{key}": inner for key, inner in value.items()}
    return {name: value for name, value in flat.items() if name != "step" and isinstance(value, int | float)}
