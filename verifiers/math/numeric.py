"""Whether two expressions have the same value: exactly, by balls, or at random points with a stated error."""

from __future__ import annotations

import random
from collections.abc import Mapping
from fractions import Fraction

from flint import acb

from espalier.verifiers.math.evaluate import NotExact, Undefined, ball, exact
from espalier.verifiers.math.limits import LimitError
from espalier.verifiers.math.outcome import Outcome
from espalier.verifiers.math.tree import Apply, Node, symbols

PRECISIONS = (128, 512, 3400)
"""Bits of the successive attempts to tell two numbers apart; 3400 bits are about 1000 digits."""

_POINTS = 8
_POINT_BITS = 768
_random = random.SystemRandom()  # points that nobody who writes an answer can know


def same_value(a: Node, b: Node) -> Outcome:
    """Compare two expressions without or with variables."""
    if a == b:
        return Outcome(True, "identical")
    names = sorted(symbols(a) | symbols(b))
    try:
        return _same_function(a, b, names) if names else _same_number(a, b)
    except LimitError as error:
        return Outcome(None, f"beyond the limits: {error}")
    except (Undefined, ZeroDivisionError, OverflowError) as error:
        return Outcome(None, f"undefined: {error}")


def _same_number(a: Node, b: Node) -> Outcome:
    try:
        left = exact(a)
    except (NotExact, LimitError):
        left = None
    try:
        right = exact(b)
    except (NotExact, LimitError):
        right = None
    if left is not None and right is not None:
        return Outcome(left == right, "exact fractions")
    difference = Apply("+", (a, Apply("neg", (b,))))
    for bits in PRECISIONS:
        gap = ball(difference, bits)
        if not gap.is_finite():
            continue
        if not gap.contains(0):
            return Outcome(False, f"disjoint balls at {bits} bits")
    if not gap.is_finite():
        return Outcome(None, "no finite ball")
    error = gap.abs_upper()
    size = max(float(min(abs(ball(a, 64)).log().mid() if abs(ball(a, 64)) > 0 else 0, 1e300)), 0.0)
    if error == 0 or float(error.log().mid()) < -1000 + size:
        return Outcome(True, "balls agree to 1e-400 or better")
    return Outcome(None, "balls too wide")


def _same_function(a: Node, b: Node, names: list[str]) -> Outcome:
    try:
        return _same_rational_function(a, b, names)
    except (NotExact, LimitError):
        return _same_at_points(a, b, names)


def _same_rational_function(a: Node, b: Node, names: list[str]) -> Outcome:
    """Exact values at random integers: a difference is proved, an agreement has the error of Schwartz and Zippel."""
    agreed = 0
    for _ in range(4 * _POINTS):
        point = {name: Fraction(_random.randrange(-(1 << 40), 1 << 40)) for name in names}
        try:
            if exact(a, point) != exact(b, point):
                return Outcome(False, "exact values differ at a random point")
        except Undefined:
            continue
        agreed += 1
        if agreed == 3:
            return Outcome(True, "exact values agree at 3 random points of 41 bits (error < 1e-20)")
    return Outcome(None, "undefined at random points")


def _same_at_points(a: Node, b: Node, names: list[str]) -> Outcome:
    """Balls at random points of both signs; points where a side is not real do not count, while the other is."""
    agreed = 0
    complex_agreed = 0
    for attempt in range(6 * _POINTS):
        point = {name: _point(attempt) for name in names}
        try:
            left, right = ball(a, _POINT_BITS, point), ball(b, _POINT_BITS, point)
        except (Undefined, ZeroDivisionError):
            continue
        if not (left.is_finite() and right.is_finite()):
            continue
        gap = left - right
        if _real(left) and _real(right):
            if not gap.contains(0):
                return Outcome(False, "disjoint balls at a random point")
            agreed += 1
            if agreed == _POINTS:
                return Outcome(True, f"balls of {_POINT_BITS} bits agree at {_POINTS} random points")
        elif not gap.contains(0):
            complex_agreed = -(10**6)
        else:
            complex_agreed += 1
    if agreed >= 3 or complex_agreed >= _POINTS:
        return Outcome(True, f"balls of {_POINT_BITS} bits agree at the random points where both are real")
    return Outcome(False if complex_agreed < 0 else None, "too few points where both are real")


def _point(attempt: int) -> Fraction:
    """Points in (0, 1), (1, 4), (-4, 0), in turn: branches of roots and logarithms show on either side of 0 and 1."""
    low, high = ((0, 1), (1, 4), (-4, 0))[attempt % 3]
    return Fraction(_random.randrange((low << 30) + 1, high << 30), 1 << 30)


def _real(value: acb) -> bool:
    return bool(value.imag.contains(0))


def sign(node: Node, values: Mapping[str, Fraction] | None = None) -> int | None:
    """-1, 0 or 1 for a real number; None when it is not real or cannot be told."""
    try:
        value = exact(node, values)
        return (value > 0) - (value < 0)
    except (NotExact, LimitError):
        pass
    except Undefined:
        return None
    try:
        for bits in PRECISIONS:
            number = ball(node, bits, values)
            if not number.imag.contains(0) or not number.is_finite():
                return None
            if number.real > 0:
                return 1
            if number.real < 0:
                return -1
    except (Undefined, LimitError, ZeroDivisionError):
        return None
    return 0


def order(a: Node, b: Node) -> int | None:
    """The sign of a - b."""
    return sign(Apply("+", (a, Apply("neg", (b,)))))
