"""Where problems come from: the entry points of the group `espalier.problems`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from typing import Any

from espalier.solver.core.problem import Problem

GROUP = "espalier.problems"

Source = Callable[[str, int, int], Iterable[Any]]
"""From task name, seed and count to problems with `id`, `text` and `check`; ValueError when it has no such task."""


class UnknownTaskError(ValueError):
    """No source has a task of that name; the message lists what each one has."""


def fresh_problems(task: str, seed: int, count: int) -> tuple[Problem, ...]:
    """Problems of a task: the same ones for the same seed, other ones than a model was trained on.

    Raises:
        UnknownTaskError: No installed source has this task.
    """
    reasons: list[str] = []
    for point in sorted(entry_points(group=GROUP)):
        source: Source = point.load()
        try:
            return tuple(Problem(str(found.id), found.text, found.check) for found in source(task, seed, count))
        except ValueError as error:
            reasons.append(f"{point.name}: {error}")
    raise UnknownTaskError("; ".join(reasons) or f"unknown task {task!r}: no source of problems is installed")
