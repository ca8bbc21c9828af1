"""Numbers in digits, whose equality need not be worked out."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

_PLAIN = re.compile(r"([+-]?\d{1,40})(?:/([1-9]\d{0,39})|\.(\d{1,40}))?")
_CHARACTERS = 82
"""Of the longest."""


def plain_number(text: str) -> Fraction | None:
    """The value of an integer, a fraction or a decimal of 80 digits at most; None for any other text.

    Two such texts are the same answer exactly where their values are equal.
    """
    return _value(text) if len(text) <= _CHARACTERS else None


@lru_cache(maxsize=4096)  # answers of a solve are compared with each other
def _value(text: str) -> Fraction | None:
    return Fraction(text) if _PLAIN.fullmatch(text) else None
