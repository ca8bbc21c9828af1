"""The tasks the bundled model is trained and measured on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from espalier.solver.core.problem import Problem
from espalier.training.tasks import gym, programming
from espalier.training.tasks.task import Draft, Split, Task

__all__ = ["EASIER_TASKS", "TASKS", "Draft", "Problem", "Split", "Task", "problems", "task"]

TASKS: Mapping[str, Task] = {t.name: t for t in (*gym.TASKS, *programming.TASKS)}
"""Every task by name."""

EASIER_TASKS: Mapping[str, Task] = {**TASKS, **{t.name: t for t in gym.EASIER_TASKS}}
"""The same tasks at the easier settings of a share of the training problems. The split of a problem is the same."""

EASIER = "-easier"
"""Behind the name of a task: at its easier settings."""


def task(name: str, settings: Mapping[str, Any] | None = None) -> Task:
    """The task of this name, with `EASIER` behind it at its easier settings.

    With `settings`, at these settings of its generator instead of the usual ones.

    Raises:
        ValueError: there is none, the message lists the names; or it has no such settings.
    """
    if settings is not None:
        return programming.tuned(settings) if name == "programming" else gym.tuned(name, settings)
    try:
        return EASIER_TASKS[name.removesuffix(EASIER)] if name.endswith(EASIER) else TASKS[name]
    except KeyError:
        raise ValueError(f"unknown task {name!r}; known: {', '.join(sorted(TASKS))}") from None


def problems(name: str, seed: int, count: int) -> Iterator[Problem]:
    """Fresh held-out problems of a task (the entry point `seedling` of the group `espalier.problems`)."""
    return task(name).problems(Split.HELD_OUT, seed, count)
