"""The stream of training problems: problem number i is a function of the settings and i alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random

from espalier.solver.core.problem import Problem, read_problem_file
from espalier.training.config import HeldOutConfig, ProblemsConfig

ProblemStream = Callable[[int], Problem]
"""From a number to a problem."""

FILE = "file"
"""The task of every problem that comes from a file."""


def stream(config: ProblemsConfig) -> ProblemStream:
    """The problems of a run.

    Raises:
        ProblemError: the file of problems cannot be used.
        ValueError: a task is unknown.
    """
    return _from_file(read_problems(Path(config.file)), config.seed) if config.file else _from_tasks(config)


def held_out_problems(problems: ProblemsConfig, config: HeldOutConfig) -> list[Problem]:
    """The problems that a run is measured on: the same at every step.

    Raises:
        ProblemError: the file of problems cannot be used.
    """
    if config.file:
        return read_problems(Path(config.file))[: config.problems]
    from espalier.training.tasks import Split, task

    names = list(problems.tasks)
    sizes = [len(range(number, config.problems, len(names))) for number in range(len(names))]
    sources = [task(name, problems.settings.get(name)) for name in names]
    return [
        problem
        for source, size in zip(sources, sizes, strict=True)
        for problem in source.problems(Split.HELD_OUT, problems.seed, size)
    ]


def _from_tasks(config: ProblemsConfig) -> ProblemStream:
    from espalier.training.tasks import Split, task  # here: they import reasoning-gym, and files of problems do not

    tasks = [task(name, config.settings.get(name)) for name in config.tasks]
    shares = list(config.tasks.values())

    def problem(number: int) -> Problem:
        rng = Random(f"problems/{config.seed}/{number}")
        return rng.choices(tasks, shares)[0].generate(Split.TRAIN, rng.getrandbits(48), 0)

    return problem


def _from_file(problems: list[Problem], seed: int) -> ProblemStream:
    """Every problem once in each pass, in an order of its own."""

    @cache
    def order(epoch: int) -> list[int]:
        return Random(f"problems/{seed}/{epoch}").sample(range(len(problems)), len(problems))

    def problem(number: int) -> Problem:
        epoch, place = divmod(number, len(problems))
        return problems[order(epoch)[place]]

    return problem


def read_problems(path: Path) -> list[Problem]:
    """The problems of a file, each with a check: its own, or the one that its text states.

    Raises:
        ProblemError: The file cannot be read, is empty, or holds a line that is no problem or that nothing can check.
    """
    return [replace(problem, task=FILE) for problem in read_problem_file(path, checked=True)]
