"""Lists of which elements are left out: "1, 2, …, 10"."""

from __future__ import annotations

from itertools import pairwise

from espalier.verifiers.math.evaluate import NotExact, Undefined, exact
from espalier.verifiers.math.limits import LIMITS
from espalier.verifiers.math.tree import DOTS, Node, Number


def written_out(items: tuple[Node, ...]) -> tuple[Node, ...] | None:
    """A list with dots before its last element, written out as an arithmetic progression.

    None where it goes on, holds anything but numbers, has too many elements, or may be something else: two numbers
    before the dots tell only of steps of one.
    """
    if len(items) < 4 or items[-2] != DOTS or items.count(DOTS) > 1:
        return None
    try:
        *begun, last = (exact(item) for item in items if item != DOTS)
    except (NotExact, Undefined):
        return None
    step = begun[1] - begun[0]
    steady = all(after - before == step for before, after in pairwise(begun))
    if not step or not steady or (len(begun) == 2 and abs(step) != 1):
        return None
    left = (last - begun[-1]) / step
    if left.denominator != 1 or not 2 <= left <= LIMITS.elements:
        return None
    return (*items[:-2], *(Number(begun[-1] + step * place) for place in range(1, int(left) + 1)))
