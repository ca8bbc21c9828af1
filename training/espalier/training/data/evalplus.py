"""HumanEval+ and MBPP+ as problems: expected values are what the canonical solution returns in the sandbox."""

from __future__ import annotations

import ast
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from espalier.solver.core.problem import Problem
from espalier.training.data.datasets import DatasetError, rows, text_field
from espalier.verifiers.check import CallCase, Comparison, ProgramCheck
from espalier.verifiers.code.languages import LANGUAGES
from espalier.verifiers.code.sandbox import BoxSpec, Command, Job, Sandbox

ASK = (
    "Please provide a self-contained Python script that solves the following problem in a markdown code block:\n"
    "```python\n{prompt}\n```"
)
SECONDS = 60.0
OUTPUT_BYTES = 16 << 20
MAX_VALUE = 64 << 10
"""Characters of an expected value; one that is longer makes its case slow to judge and files of problems large."""

_DRIVER = """

import json as _json, sys as _sys
_out, _sys.stdout = _sys.stdout, _sys.stderr
for _line in _sys.stdin:
    try:
        _text = _json.dumps({function}(*_json.loads(_line)), allow_nan=False) if _line.strip() else ""
    except Exception:
        _text = ""
    print(_text if len(_text) <= {longest} else "", file=_out, flush=True)
"""
"""Behind a canonical solution: a line of arguments in, a line with what it returns out; empty without a value."""


async def problems(path: Path, sandbox: Sandbox, max_cases: int = 60) -> AsyncIterator[tuple[Problem, int]]:
    """The problems of an EvalPlus file, and how many of their inputs are left out.

    An input is left out where the canonical solution does not return a JSON value for it in time, or a very long one.
    All base inputs come first, then plus inputs up to `max_cases` in all. A problem without any case is left out.

    Args:
        path: `HumanEvalPlus.jsonl.gz` or `MbppPlus.jsonl.gz`.
        sandbox: Where the canonical solutions run.
        max_cases: Cases of a problem at most.

    Raises:
        DatasetError: A row lacks a field.
        SandboxError: The sandbox failed.
    """
    for number, row in enumerate(rows(path), start=1):
        where = f"{path}: row {number}"
        prompt, function = text_field(row, "prompt", where), text_field(row, "entry_point", where)
        inputs = [*_inputs(row, "base_input", where), *_inputs(row, "plus_input", where)][:max_cases]
        source = prompt + "\n" + text_field(row, "canonical_solution", where)
        cases = [case for case in await _expected(sandbox, source, function, inputs) if case]
        if cases:
            tolerance = max(float(row.get("atol") or 0), 1e-6)
            check = ProgramCheck(tuple(cases), comparison=Comparison.FLOAT, tolerance=tolerance)
            text = ASK.format(prompt=prompt.strip())
            yield Problem(str(row.get("task_id", number)), text, check), len(inputs) - len(cases)


def _inputs(row: Mapping[str, Any], name: str, where: str) -> list[list[Any]]:
    value = row.get(name, [])
    try:
        found = ast.literal_eval(value) if isinstance(value, str) else value
    except (ValueError, SyntaxError) as error:
        raise DatasetError(f"{where}: field {name!r}: {error}") from None
    if found == {}:  # as the published file writes none
        return []
    if not isinstance(found, list):
        raise DatasetError(f"{where}: field {name!r} must hold a list of argument lists")
    return [one for one in found if isinstance(one, list)]


async def _expected(sandbox: Sandbox, source: str, function: str, inputs: list[list[Any]]) -> list[CallCase | None]:
    """A case for each input, or None where there is no JSON value to expect."""
    language = LANGUAGES["python"]
    asked = [json.dumps(arguments) if _plain(arguments) else "" for arguments in inputs]
    stdin = "".join(f"{one}\n" for one in asked)
    command = Command(language.run, stdin, SECONDS, wall_seconds=2 * SECONDS, output_bytes=OUTPUT_BYTES)
    program = source + _DRIVER.format(function=function, longest=MAX_VALUE)
    outcomes = [one async for one in sandbox.run(Job(BoxSpec(language.image), [command], {language.source: program}))]
    written = outcomes[0].stdout.decode(errors="replace") if outcomes else ""
    answers = written.split("\n")[:-1]  # a last line without its end was cut off
    answers += [""] * (len(asked) - len(answers))
    return [
        CallCase(function, one, answer) if one and _readable(answer) else None
        for one, answer in zip(asked, answers, strict=False)
    ]


def _readable(text: str) -> bool:
    """Whether it is JSON that every reader takes: Python reads no integer of more than 4,300 digits."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _plain(value: object) -> bool:
    """Whether JSON gives the value back as it was: EvalPlus also has tuples, sets and complex numbers."""
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError):
        return False
