"""A problem, and files of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from espalier.common.errors import FieldError
from espalier.runtime.prompt import ChatMessage
from espalier.solver.core.limits import require_length, require_name, require_text
from espalier.verifiers.check import Check
from espalier.verifiers.check_text import CheckError, check_from_json, parse_check

FIELDS = frozenset({"id", "text", "check"})


class ProblemError(ValueError):
    """A problem that cannot be read; the message names the line and the field."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem to solve, to train on or to measure with.

    Attributes:
        id: Names it in results and traces.
        text: As a person would type it.
        check: How an answer is judged; None when nothing but votes can judge it.
        task: The task that it was drawn from, or the file that it comes from; empty when it was typed.
        metadata: What its maker knows of it, for example the numbers in it. Neither compared nor sent anywhere.
        context: What was said before it, oldest first. The model reads it; no check is recognised in it.
    """

    id: str
    text: str
    check: Check | None = None
    task: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    context: tuple[ChatMessage, ...] = ()

    def __post_init__(self) -> None:
        try:
            require_text(self.text, "text")
            require_name(self.id, "id")
            if self.context:
                require_length("context", self.text, *(one.content for one in self.context))
        except FieldError as error:
            raise ProblemError(f"{error.field} {error.problem}") from None


def recognised(problem: Problem) -> Problem:
    """The problem, with the check that its own text states if it has none."""
    if problem.check is not None:
        return problem
    from espalier.verifiers.math.recognise import recognise

    return replace(problem, check=recognise(problem.text))


def check_of(problem: Problem) -> Check:
    """The check of a problem that has to have one.

    Raises:
        ProblemError: It has none.
    """
    if problem.check is None:
        raise ProblemError(f"the problem {problem.id!r} has no check; nothing can judge its answers")
    return problem.check


def lines_of(path: Path) -> list[str]:
    """The lines of a file of problems.

    Raises:
        ProblemError: It cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")  # not splitlines: JSON may hold other ends of lines
    except UnicodeDecodeError as error:
        raise ProblemError(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise ProblemError(f"cannot read {path}: {error.strerror}") from None


def read_problem_file(path: Path, *, checked: bool = False) -> tuple[Problem, ...]:
    """The problems of a file; see :func:`read_problems`.

    Raises:
        ProblemError: The file cannot be read, a line is wrong, or there is no problem in it.
    """
    return read_problems(lines_of(path), str(path), checked=checked)


def read_problems(lines: Iterable[str], name: str, *, checked: bool = False) -> tuple[Problem, ...]:
    """Read JSON lines: {"text": …, "id": …, "check": …}.

    `check` is a shorthand or a JSON object, `id` the line's number unless given. Empty lines are skipped.

    Args:
        lines: The file.
        name: What the file is called in messages.
        checked: Every problem must have a check: its own, or the one that its text states.

    Raises:
        ProblemError: A line is wrong, or there is no problem at all. Every line is read before any is returned.
    """
    problems: list[Problem] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            problem = _read(json.loads(line), str(number))
            if checked and (problem := recognised(problem)).check is None:
                raise ProblemError('check: say how an answer is judged, for example "reference:42"')
        except (ValueError, RecursionError) as error:
            raise ProblemError(f"{name}:{number}: {error}") from None
        if (other := seen.setdefault(problem.id, number)) != number:
            raise ProblemError(f"{name}:{number}: the id {problem.id!r} is also that of line {other}")
        problems.append(problem)
    if not problems:
        raise ProblemError(f"{name}: there is no problem in it")
    return tuple(problems)


def _read(value: Any, default_id: str) -> Problem:
    if not isinstance(value, dict):
        raise ProblemError('a line must be a JSON object like {"text": "…"}')
    if unknown := sorted(value.keys() - FIELDS):
        raise ProblemError(f"unknown field {unknown[0]!r}; there are: {', '.join(sorted(FIELDS))}")
    text, check = value.get("text"), value.get("check")
    if not isinstance(text, str):
        raise ProblemError("text: give the problem as a string")
    if not isinstance(value.get("id", ""), str | int):
        raise ProblemError("id: give a string or a number")
    try:
        judged = parse_check(check) if isinstance(check, str) else None if check is None else check_from_json(check)
    except CheckError as error:
        raise ProblemError(f"check: {error}") from None
    return Problem(str(value.get("id", default_id)), text, judged)
