"""From what a data set holds as the truth to a check."""

from __future__ import annotations

import re
from typing import Any

from espalier.common.errors import FieldError
from espalier.verifiers.check import Check, ReferenceCheck
from espalier.verifiers.check_files import read_program_check
from espalier.verifiers.check_text import SHORTHANDS, CheckError, parse_check

_CASES = re.compile(r"\s*\[\s*\{")


def math_check(truth: Any, field: str) -> Check:
    """The check of a reference answer, or of a check as `espalier verify` writes it (`relation:3*x+5=20`).

    Args:
        truth: What the data set holds.
        field: Where, for errors.

    Raises:
        FieldError: It is no check.
    """
    text = str(truth)
    if text.partition(":")[0] not in SHORTHANDS and not text.lstrip().startswith("{"):
        return ReferenceCheck(text)
    try:
        return parse_check(text)
    except CheckError as error:
        raise FieldError(field, str(error)) from None


def program_check(truth: Any, field: str) -> Check:
    """The check of a JSON list of cases, or of a whole program check.

    Raises:
        FieldError: It is none.
    """
    try:
        return read_program_check(str(truth).encode(), field)
    except ValueError as error:
        raise FieldError(field, str(error).removeprefix(f"{field}: ")) from None


def check_of(truth: Any, field: str) -> Check:
    """:func:`program_check` of a JSON list of objects, :func:`math_check` of all else."""
    return program_check(truth, field) if _CASES.match(str(truth)) else math_check(truth, field)
