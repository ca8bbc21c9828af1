"""How a run shows its progress: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from espalier.training.sft import Report


def _line(entry: dict[str, Any]) -> str:
    return "  ".join(f"{name} {value}" for name, value in entry.items())


@contextmanager
def reporter() -> Iterator[Report]:
    """A report function for :func:`espalier.training.sft.train`."""
    if not sys.stderr.isatty():
        yield lambda entry: print(_line(entry), file=sys.stderr, flush=True)
        return
    columns = (
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns) as bar:
        running = bar.add_task("starting", total=1.0)

        def show(entry: dict[str, Any]) -> None:
            if "held_out" in entry:
                bar.console.print(_line(entry))
            else:
                text = f"step {entry['step']}  loss {entry['loss']}  {entry['tokens_per_second']} tokens/s"
                bar.update(running, completed=entry["done"], description=text)

        yield show
