"""Whether what a program gave is what was expected: pure functions over text and JSON."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from decimal import Context, Decimal
from typing import Any

from espalier.verifiers.check import Comparison

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,6})?|[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)
INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
NUMBER_CHARACTERS = 400
"""Longer numerals are compared as text."""
ARITHMETIC = Context(prec=60, traps=[])
"""Overflows to infinity instead of raising."""


def same_text(expected: str, got: str, comparison: Comparison, tolerance: float = 1e-6) -> bool:
    """Compare two outputs.

    EXACT: equal characters, after CRLF and CR became LF and the newlines at the very end were dropped.
    TOKENS: equal when split at white space; nothing else is forgiven ("-0" is not "0", case matters).
    FLOAT: TOKENS, but two numerals may differ by `tolerance * max(1, |expected|)`. Two integers must be equal, NaN
        equals NaN, an infinity equals itself, -0 equals 0.
    UNORDERED_LINES: the same lines as often in any order, each compared by TOKENS; blank lines do not count.
    """
    match comparison:
        case Comparison.EXACT:
            return _unix(expected) == _unix(got)
        case Comparison.TOKENS:
            return expected.split() == got.split()
        case Comparison.FLOAT:
            pairs = list(zip(expected.split(), got.split(), strict=False))
            return len(expected.split()) == len(got.split()) and all(_near_tokens(e, g, tolerance) for e, g in pairs)
        case Comparison.UNORDERED_LINES:
            return _lines(expected) == _lines(got)


def same_json(expected: str, got: str, comparison: Comparison, tolerance: float = 1e-6) -> bool:
    """Compare two JSON texts as values, the second of unknown origin.

    Objects compare without order of keys, arrays in order. Booleans equal only booleans. Numbers compare by value, so
    that 2 equals 2.0, except under EXACT, where an integer never equals a float. NaN equals NaN and -0.0 equals 0.0.
    FLOAT allows floats `tolerance * max(1, |expected|)`; two integers must be equal. UNORDERED_LINES takes the two
    values, where both are arrays, without order. A tuple has become an array, and an object's keys strings, before they
    came here.
    """
    try:
        left, right = _parse(expected), _parse(got)
        if comparison is Comparison.UNORDERED_LINES and isinstance(left, list) and isinstance(right, list):
            return Counter(map(_canonical, left)) == Counter(map(_canonical, right))
        return _same(left, right, comparison, tolerance)
    except (ValueError, RecursionError):
        return False


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")


def _lines(text: str) -> Counter[tuple[str, ...]]:
    return Counter(tuple(line.split()) for line in _unix(text).split("\n") if line.split())


def _near_tokens(expected: str, got: str, tolerance: float) -> bool:
    if expected == got:
        return True
    if max(len(expected), len(got)) > NUMBER_CHARACTERS or not (NUMBER.fullmatch(expected) and NUMBER.fullmatch(got)):
        return False
    left, right = Decimal(expected), Decimal(got)
    if INTEGER.fullmatch(expected) and INTEGER.fullmatch(got):
        return left == right
    return _near(left, right, tolerance)


def _near(expected: Decimal, got: Decimal, tolerance: float) -> bool:
    if expected.is_nan() or got.is_nan():
        return expected.is_nan() and got.is_nan()
    if expected.is_infinite() or got.is_infinite():
        return expected == got
    allowed = ARITHMETIC.multiply(Decimal(tolerance), max(Decimal(1), expected.copy_abs()))
    return ARITHMETIC.subtract(expected, got).copy_abs() <= allowed


def _parse(text: str) -> Any:
    return json.loads(text, parse_int=_integer)


def _integer(numeral: str) -> int | Decimal:
    # int() refuses long numerals (and takes quadratic time); Decimal holds them exactly.
    return int(numeral) if len(numeral) <= NUMBER_CHARACTERS else Decimal(numeral)


def _same(expected: Any, got: Any, comparison: Comparison, tolerance: float) -> bool:
    if isinstance(expected, list) and isinstance(got, list):
        return len(expected) == len(got) and all(
            _same(e, g, comparison, tolerance) for e, g in zip(expected, got, strict=True)
        )
    if isinstance(expected, dict) and isinstance(got, dict):
        return expected.keys() == got.keys() and all(
            _same(expected[k], got[k], comparison, tolerance) for k in expected
        )
    if _is_number(expected) and _is_number(got):
        return _same_number(expected, got, comparison, tolerance)
    return type(expected) is type(got) and bool(expected == got)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _same_number(expected: Any, got: Any, comparison: Comparison, tolerance: float) -> bool:
    floats = [isinstance(value, float) for value in (expected, got)]
    if comparison is Comparison.EXACT and floats[0] != floats[1]:
        return False
    if all(floats) and math.isnan(expected) and math.isnan(got):
        return True
    if comparison is Comparison.FLOAT and any(floats):
        return _near(Decimal(expected), Decimal(got), tolerance)
    return bool(expected == got)


def _canonical(value: Any) -> str:
    """Equal texts for equal values: numbers by value, keys sorted."""

    def simplify(part: Any) -> Any:
        if isinstance(part, list):
            return [simplify(item) for item in part]
        if isinstance(part, dict):
            return {key: simplify(item) for key, item in part.items()}
        if isinstance(part, Decimal):
            return {"integer": str(part)}
        if isinstance(part, float) and part.is_integer():
            return int(part)
        return part

    return json.dumps(simplify(value), sort_keys=True)
