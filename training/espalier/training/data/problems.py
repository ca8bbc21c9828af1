"""The stream of training problems: problem number i is a function of the settings and i alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError

from espalier.common.errors import FieldError
from espalier.training.config import ProblemsConfig
from espalier.training.tasks import Problem, Split, task
from espalier.v1 import common_pb2
from espalier.verifiers.proto import decode_check

Stream = Callable[[int], Problem]
"""From a number to a problem."""


class DatasetError(ValueError):
    """A file of problems is empty or holds a line that is none; the message names file and line."""


def stream(config: ProblemsConfig) -> Stream:
    """The problems of a run.

    Raises:
        DatasetError: the file of problems cannot be used.
        ValueError: a task is unknown.
    """
    return _from_file(read_problems(Path(config.file)), config.seed) if config.file else _from_tasks(config)


def _from_tasks(config: ProblemsConfig) -> Stream:
    tasks = [task(name, config.settings.get(name)) for name in config.tasks]
    shares = list(config.tasks.values())

    def problem(number: int) -> Problem:
        rng = Random(f"problems/{config.seed}/{number}")
        return rng.choices(tasks, shares)[0].generate(Split.TRAIN, rng.getrandbits(48), 0)

    return problem


def _from_file(problems: list[Problem], seed: int) -> Stream:
    """Every problem once in each pass, in an order of its own."""

    @cache
    def order(epoch: int) -> list[int]:
        return Random(f"problems/{seed}/{epoch}").sample(range(len(problems)), len(problems))

    def problem(number: int) -> Problem:
        epoch, place = divmod(number, len(problems))
        return problems[order(epoch)[place]]

    return problem


def read_problems(path: Path) -> list[Problem]:
    """Read JSON lines: {"text": …, "check": {…}, "id": …}, with the check in the JSON form of the contract.

    Raises:
        DatasetError: the file cannot be read, is empty, or holds a line that is no problem.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")  # JSON may hold other line ends
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if lines == [""]:
        raise DatasetError(f"{path}: there is no problem in it")
    problems = []
    for number, line in enumerate(lines, start=1):
        try:
            problems.append(_problem(json.loads(line), number))
        except (ValueError, RecursionError) as error:
            reason = "the line is empty" if not line.strip() else str(error)
            raise DatasetError(f"{path}:{number}: {reason}") from None
    return problems


def _problem(value: Any, number: int) -> Problem:
    if not isinstance(value, dict) or not isinstance(value.get("text"), str) or not value["text"].strip():
        raise ValueError('write a JSON object like {"text": "2+2?", "check": {"reference": {"answer": "4"}}}')
    if unknown := sorted(value.keys() - {"id", "text", "check"}):
        raise ValueError(f"unknown field {unknown[0]!r}; there are: check, id, text")
    if not isinstance(value.get("check"), dict):
        raise ValueError("check: give how an answer is judged, as an object")
    try:
        check = decode_check(ParseDict(value["check"], common_pb2.Check()))
    except (ParseError, FieldError) as error:
        raise ValueError(f"check: {error}") from None
    return Problem(str(value.get("id", number)), "file", value["text"], check, {})
