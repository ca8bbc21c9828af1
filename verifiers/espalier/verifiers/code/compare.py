"""Whether what a program gave is what was expected: pure functions over text and JSON."""

from __future__ import annotations

import datetime
import json
import math
import re
from collections import Counter, deque
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

from espalier.verifiers.check import Comparison

# Possessive: what follows a long row of digits is not tried again for each of them.
NUMBER = re.compile(r"[+-]?(\d++\.?+\d*+|\.\d++)([eE][+-]?\d{1,6})?|[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)
INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
NUMBER_CHARACTERS = 400
"""Longer numerals are compared as text."""
ARITHMETIC = Context(prec=60, traps=[])
"""Overflows to infinity instead of raising."""
MAX_NESTED_SETS = 16
SEQUENCES = (list, tuple, deque, range)
PIECES = re.compile(rf"(?<![\w.])(?:{NUMBER.pattern})(?![\w.])", re.ASCII | re.IGNORECASE)
"""The numerals inside a token: `x=3.0000001`, `[1.5,2.5]`, but not the 2 of `x2`."""
GROUPS = PIECES.groups


def same_text(expected: str, got: str, comparison: Comparison, tolerance: float = 1e-6) -> bool:
    """Compare two outputs.

    EXACT: equal characters, after CRLF and CR became LF and the newlines at the very end were dropped.
    TOKENS: equal when split at white space; nothing else is forgiven ("-0" is not "0", case matters).
    FLOAT: TOKENS, but two numerals may differ by `tolerance * max(1, |expected|)`, also inside a token (`x=3.0`,
        `[1.5,2]`). Two integers must be equal, NaN equals NaN, an infinity equals itself, -0 equals 0.
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
    """Compare two JSON texts as values, the second of unknown origin."""
    try:
        return same_value(parse_json(expected), parse_json(got), comparison, tolerance)
    except (ValueError, RecursionError):
        return False


def parse_json(text: str) -> Any:
    """JSON as a value, with integers of any length.

    Raises:
        ValueError: It is no JSON.
        RecursionError: It is nested too deeply for Python's parser (more than about 900 levels).
    """
    return json.loads(text, parse_int=parse_integer)


def parse_integer(numeral: str) -> int | Decimal:
    """An integer; a long one as a Decimal, because int() refuses long numerals (and takes quadratic time)."""
    return int(numeral) if len(numeral) <= NUMBER_CHARACTERS else Decimal(numeral)


def same_value(expected: Any, got: Any, comparison: Comparison, tolerance: float = 1e-6) -> bool:
    """Compare an expected JSON value with the value that a program gave, decoded (values.py).

    Objects compare without order of keys, arrays in order. Booleans equal only booleans. Numbers compare by value, so
    that 2 equals 2.0, except under EXACT, where an integer never equals a float. NaN equals NaN and -0.0 equals 0.0.
    FLOAT allows floats `tolerance * max(1, |expected|)`; two integers must be equal. UNORDERED_LINES takes the two
    values, where both are arrays, without order.

    What JSON lacks equals its nearest form there: a tuple, an iterator or a range an array, a set an array in any order
    without repetitions, keys of a dictionary their texts, a Decimal or a Fraction a number or its text, bytes their
    text, a date its ISO form.
    """
    try:
        if comparison is Comparison.UNORDERED_LINES and isinstance(expected, list) and isinstance(got, SEQUENCES):
            return len(expected) == len(got) and Counter(map(_canonical, expected)) == Counter(map(_canonical, got))
        return _same(expected, got, comparison, tolerance)
    except (ArithmeticError, ValueError, RecursionError):
        return False


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")


def _lines(text: str) -> Counter[tuple[str, ...]]:
    return Counter(tuple(line.split()) for line in _unix(text).split("\n") if line.split())


def _near_tokens(expected: str, got: str, tolerance: float) -> bool:
    if expected == got:
        return True
    if NUMBER.fullmatch(expected) and NUMBER.fullmatch(got):
        return _near_numerals(expected, got, tolerance)
    numerals = [[match.group() for match in PIECES.finditer(token)] for token in (expected, got)]
    if PIECES.split(expected)[:: GROUPS + 1] != PIECES.split(got)[:: GROUPS + 1]:
        return False
    return all(_near_numerals(left, right, tolerance) for left, right in zip(*numerals, strict=True))


def _near_numerals(expected: str, got: str, tolerance: float) -> bool:
    if expected == got:
        return True
    if max(len(expected), len(got)) > NUMBER_CHARACTERS:
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


def _same(expected: Any, got: Any, comparison: Comparison, tolerance: float) -> bool:
    todo = [(expected, got)]  # not recursive: values may be nested as deeply as they like
    while todo:
        left, right = todo.pop()
        if isinstance(left, list):
            if not isinstance(right, (*SEQUENCES, set, frozenset)) or len(left) != len(right):
                return False
            if isinstance(right, set | frozenset):
                left, right = sorted(left, key=_canonical), sorted(right, key=_canonical)
            todo += zip(left, right, strict=True)
        elif isinstance(left, dict):
            if not isinstance(right, dict):
                return False
            by_text = {_key(key): value for key, value in right.items()}
            if len(by_text) != len(right) or by_text.keys() != left.keys():
                return False
            todo += [(left[key], by_text[key]) for key in left]
        elif not _same_scalar(left, right, comparison, tolerance):
            return False
    return True


def _same_scalar(expected: Any, got: Any, comparison: Comparison, tolerance: float) -> bool:
    if _is_number(expected) and _is_number(got):
        return _same_number(expected, got, comparison, tolerance)
    if isinstance(expected, str):
        if isinstance(got, bytes | bytearray):
            return expected.encode("utf-8", "surrogatepass") == got
        return expected == (got.isoformat() if isinstance(got, datetime.date | datetime.time) else _text(got))
    return type(expected) is type(got) and bool(expected == got)


def _text(value: Any) -> str | None:
    return str(value) if isinstance(value, str | Decimal | Fraction | complex | datetime.timedelta) else None


def _key(key: Any) -> str:
    """A key of a dictionary as JSON would have it."""
    return key if isinstance(key, str) else json.dumps(key) if key is None or _is_real(key) else str(key)


def _is_real(value: Any) -> bool:
    return isinstance(value, bool | int | float)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal | Fraction) and not isinstance(value, bool)


def _same_number(expected: Any, got: Any, comparison: Comparison, tolerance: float) -> bool:
    floats = [isinstance(value, float) for value in (expected, got)]
    if comparison is Comparison.EXACT and floats[0] != floats[1] and not isinstance(got, Decimal | Fraction):
        return False
    if _is_nan(expected) or _is_nan(got):
        return _is_nan(expected) and _is_nan(got)
    if comparison is Comparison.FLOAT and not (_is_integer(expected) and _is_integer(got)):
        return _near(_decimal(expected), _decimal(got), tolerance)
    if any(floats) and not all(floats) and isinstance(got, Decimal | Fraction):
        return bool(expected == float(got))
    return bool(expected == got)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, Decimal) and value.as_tuple().exponent == 0)


def _is_nan(value: Any) -> bool:
    return value.is_nan() if isinstance(value, Decimal) else isinstance(value, float) and math.isnan(value)


def _decimal(value: Any) -> Decimal:
    if isinstance(value, Fraction):
        return ARITHMETIC.divide(Decimal(value.numerator), Decimal(value.denominator))
    return Decimal(value)


def _canonical(value: Any) -> str:
    """Equal texts for equal values: numbers by value, keys sorted.

    Raises:
        ValueError: Sets are nested in sets too deeply: each level writes all that is below it.
    """

    def simplify(part: Any, sets: int = 0) -> Any:
        if isinstance(part, SEQUENCES):
            return [simplify(item, sets) for item in part]
        if isinstance(part, set | frozenset):
            if sets == MAX_NESTED_SETS:
                raise ValueError("sets are nested too deeply")
            return sorted((simplify(item, sets + 1) for item in part), key=json.dumps)
        if isinstance(part, dict):
            return {_key(key): simplify(item, sets) for key, item in part.items()}
        if isinstance(part, Decimal | Fraction):
            return {"number": str(part)}
        if isinstance(part, float) and part.is_integer():
            return int(part)
        return part if part is None or isinstance(part, bool | int | float | str) else {"text": repr(part)}

    return json.dumps(simplify(value), sort_keys=True)
