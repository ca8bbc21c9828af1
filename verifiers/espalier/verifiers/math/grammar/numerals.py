"""Numbers in English words: "one hundred and twenty-one", "two thirds", "negative five", "three and a half"."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from typing import Final

from espalier.verifiers.math.tree import Apply, Based, Node, Number
from espalier.verifiers.math.words import NUMERALS, SCALES

_TENS: Final = {
    **{"twenty": 20, "thirty": 30, "forty": 40, "fourty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80},
    "ninety": 90,
}
_PARTS: Final = {
    **{"half": 2, "halves": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fourth": 4, "fourths": 4},
    **{"fifth": 5, "fifths": 5, "sixth": 6, "sixths": 6, "seventh": 7, "sevenths": 7, "eighth": 8, "eighths": 8},
    **{"ninth": 9, "ninths": 9, "tenth": 10, "tenths": 10, "hundredth": 100, "hundredths": 100},
}
_LARGE: Final = {word: value for word, value in SCALES.items() if value > 100}
_CHARACTERS: Final = 240
"""Longest text that is read: "minus three hundred and seventy-seven trillion …" with its marks of LaTeX is shorter."""

_PLAIN: Final = re.compile(r"[A-Za-z\s-]+|\d+ and a half")
_WRAP: Final = re.compile(r"\\(?:text|mathrm|textbf|mbox)\s*\{([^{}]*)\}|\$")


_BASES: Final = {
    **{"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10},
    **{"eleven": 11, "twelve": 12, "sixteen": 16, "hex": 16},
}
_SUBSCRIPT: Final = re.compile("[_₀-₉]")
_BASED: Final = re.compile(
    r"\$?(?P<minus>-?)\s*(?:\(|\\(?:text|mathrm|mathtt|texttt)\s*\{)?(?P<digits>[0-9A-Fa-f]{1,200})[)}]?\s*"
    r"(?:(?:\\(?:text|mathrm)\s*\{\s*\(?|\()?\s*(?:in\s+)?base[\s-]*\}?\s*(?P<named>\d{1,2}|[a-z]+)\s*[)}]{0,2}"
    r"|_\s*\{?\s*(?:\\(?:text|mathrm)\s*\{)?\s*(?P<base>\d{1,2}|[a-z]+)\s*\}?\s*\}?|(?P<subscript>[₀-₉]{1,2}))\$?"
)


def based_number(text: str) -> tuple[Node, bool] | None:
    """A number with letters among its digits, or with its base in words ("FF_{16}", "101_{two}"); else None.

    Returns:
        The number, and whether it is surely one: "2a_{12}" may be twice an element of a sequence.
    """
    written = _BASED.fullmatch(text.strip()) if _SUBSCRIPT.search(text) or "base" in text else None
    if written is None or (len(written["digits"]) == 1 and not written["digits"].isdigit()):
        return None  # A_{12} is a name
    named = written["base"] or written["named"] or unicodedata.normalize("NFKC", written["subscript"])
    base = int(named) if named.isdigit() else _BASES.get(named, 0)
    digits = written["digits"]
    if not 2 <= base <= 16 or any(int(digit, 16) >= base for digit in digits):
        return None
    number = Based(digits.upper(), base)
    sure = not re.fullmatch(r"\d*[a-f]+", digits) or digits.startswith(("0", "1")) or named in ("16", "hex")
    return Apply("neg", (number,)) if written["minus"] else number, sure


def numeral(text: str) -> Number | None:
    """The number that a short text of words names; None for anything else."""
    if len(text) > _CHARACTERS:
        return None
    plain = _WRAP.sub(lambda match: match.group(1) or "", text).strip().rstrip(".").lower()
    if not plain or not _PLAIN.fullmatch(plain):
        return None
    words = plain.replace("-", " ").split()
    sign = 1
    if words[:1] in (["negative"], ["minus"]):
        sign, words = -1, words[1:]
    value = _of_dozens(words)
    return None if value is None else Number(sign * value)


def _of_dozens(words: list[str]) -> Fraction | None:
    if words[-1:] not in (["dozen"], ["dozens"]):
        return _with_part(words)
    if words[:-1] == ["half", "a"]:
        return Fraction(6)
    dozens = Fraction(1) if words[:-1] in ([], ["a"]) else _with_part(words[:-1])
    return None if dozens is None else 12 * dozens


def _with_part(words: list[str]) -> Fraction | None:
    if words[-3:-1] == ["and", "a"] and words[-1] in _PARTS:
        whole = _whole(words[:-3])
        return None if whole is None else whole + Fraction(1, _PARTS[words[-1]])
    if words == ["half"]:
        return Fraction(1, 2)
    if len(words) > 1 and words[-1] in _PARTS:
        over = Fraction(1) if words[:-1] == ["a"] else _whole(words[:-1])
        return None if over is None else over / _PARTS[words[-1]]
    return _whole(words)


def _whole(words: list[str]) -> Fraction | None:
    """A whole number below 10^15; words in an order that no number has name none."""
    if len(words) == 1 and words[0].isdigit():
        return Fraction(int(words[0]))
    total, below = 0, 10**15
    group: list[str] = []
    for word in words:
        if word not in _LARGE:
            group.append(word)
            continue
        value = 1 if group == ["a"] and not total else _below_thousand(group)
        if not value or _LARGE[word] >= below:
            return None
        total, below, group = total + value * _LARGE[word], _LARGE[word], []
    if group[:1] == ["and"] and total:
        group = group[1:]
    rest = _below_thousand(group) if group else 0 if total else None
    return None if rest is None else Fraction(total + rest)


def _below_thousand(words: list[str]) -> int | None:
    total = 0
    if "hundred" in words:
        at = words.index("hundred")
        hundreds = 1 if words[:at] in ([], ["a"]) else NUMERALS.get(words[0]) if at == 1 else None
        if hundreds is None or not 0 < hundreds < 20:
            return None
        total, words = 100 * hundreds, words[at + 1 :]
        words = words[1:] if words[:1] == ["and"] else words
        if not words:
            return total
    match words:
        case [tens] if tens in _TENS:
            return total + _TENS[tens]
        case [tens, ones] if tens in _TENS and 0 < NUMERALS.get(ones, 0) < 10:
            return total + _TENS[tens] + NUMERALS[ones]
        case [ones] if ones in NUMERALS:
            return total + NUMERALS[ones]
    return None
