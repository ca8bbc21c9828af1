"""Permutations in the notation of cycles: "(1 2 3)(4 5)", "(123)(45)"."""

from __future__ import annotations

import re
from typing import Final

from espalier.verifiers.math.tree import Permutation

_CHARACTERS: Final = 400
_SEPARATORS: Final = r"(?:[\s,;~]|\\[,;:! ])"
_CYCLE: Final = re.compile(rf"(?:\\left)?\(({_SEPARATORS}*\d(?:\d|{_SEPARATORS})*)(?:\\right)?\)")
_BETWEEN: Final = re.compile(rf"(?:{_SEPARATORS}|\\circ|∘|\\cdot)*")


def permutation(text: str) -> tuple[Permutation, bool] | None:
    """The cycles of a short text, and whether it is surely a permutation; None for anything else.

    "(12)(13)" may be a product of numbers, too; "(1 2)(1 3)" is none, and neither is "(1, 2)" a permutation alone.
    """
    text = text.strip().strip("$").strip()
    if len(text) > _CHARACTERS or not text.startswith(("(", "\\left(")):
        return None
    cycles: list[tuple[int, ...]] = []
    sure = False
    at = 0
    while at < len(text):
        cycle = _CYCLE.match(text, at)
        if cycle is None:
            return None
        elements = re.findall(r"\d+", cycle[1])
        spaced = len(elements) > 1
        if not spaced:
            elements = list(elements[0])
        if len(elements) < 2 or len(set(elements)) < len(elements) or max(map(len, elements)) > 3:
            return None
        sure = sure or spaced
        cycles.append(tuple(map(int, elements)))
        between = _BETWEEN.match(text, cycle.end())
        at = between.end() if between is not None else cycle.end()
        if at < len(text) and re.search("[,;]", text[cycle.end() : at].replace("\\,", "").replace("\\;", "")):
            return None  # a list of points
    if len(cycles) == 1 and (not sure or re.search(r"(?<!\\)[,;]", text)):
        return None  # a number in brackets, a tuple
    return Permutation(tuple(cycles)), sure
