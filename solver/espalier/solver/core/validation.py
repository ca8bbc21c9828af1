"""Refuse checks that no answer could ever pass, before a model is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol

from espalier.common.errors import FieldError, UnansweredError
from espalier.solver.core.problem import Problem
from espalier.verifiers.check import Check

AT_ONCE = 64
"""Checks that are validated side by side."""


class Validators(Protocol):
    """The part of the verifiers that validates, local or remote."""

    async def validate_check(self, check: Check, *, timeout: float | None = None) -> None: ...


async def validate_each(
    problems: Sequence[Problem], validate: Callable[[Problem], Awaitable[None]], name: Callable[[int], str]
) -> None:
    """Validate the checks of problems, equal ones once and several at a time.

    Args:
        problems: All of them.
        validate: Raises FieldError for a problem whose check can never work.
        name: What stands before the field of a problem, by its number from 0: `problems[3].`.

    Raises:
        FieldError: Names the first problem that is refused: `problems[3].check…`.
    """
    first = {problem.check: number for number, problem in reversed(list(enumerate(problems)))}
    numbers = sorted(number for check, number in first.items() if check is not None)
    for start in range(0, len(numbers), AT_ONCE):
        some = numbers[start : start + AT_ONCE]
        outcomes = await asyncio.gather(*(validate(problems[one]) for one in some), return_exceptions=True)
        for number, outcome in zip(some, outcomes, strict=True):
            if isinstance(outcome, FieldError):
                raise FieldError(f"{name(number)}{outcome.field}", outcome.problem)
            if isinstance(outcome, BaseException):
                raise outcome


async def validate_problems(verifiers: Validators, problems: Sequence[Problem]) -> None:
    """:func:`validate_each` problem of a command, with the verifiers that are going to judge. What they cannot tell is
    let through: the solve finds out.

    Raises:
        FieldError: Names the first problem that is refused by its id.
    """

    async def validate(problem: Problem) -> None:
        if problem.check is not None:
            with suppress(UnansweredError):
                await verifiers.validate_check(problem.check)

    await validate_each(problems, validate, lambda number: f"problem {problems[number].id!r}: ")
