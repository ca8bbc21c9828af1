"""How a run shows its progress: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from espalier.training.run.metrics import Report

BAR = ("step", "loss", "reward", "accuracy", "parallel", "kept", "tokens_per_second")
"""What of an entry the bar has room for."""


def _line(entry: dict[str, Any]) -> str:
    return "  ".join(f"{name} {value}" for name, value in entry.items())


@contextmanager
def reporter() -> Iterator[Report]:
    """A function that shows what a run reports, on standard error: standard output is for results."""
    if not sys.stderr.isatty():
        yield lambda entry: print(_line(entry), file=sys.stderr, flush=True)
        return
    columns = (
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        running = bar.add_task("starting", total=1.0)

        def show(entry: dict[str, Any]) -> None:
            if "done" in entry:
                bar.update(
                    running, completed=entry["done"], description=_line({n: entry[n] for n in BAR if n in entry})
                )
            else:
                bar.console.print(_line(entry), markup=False, highlight=False)

        yield show
