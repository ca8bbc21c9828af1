"""Whether two expressions have the same value: exactly, by balls, or at random points with a stated error."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Iterator, Mapping
from fractions import Fraction
from itertools import pairwise

from flint import acb, arb

from espalier.verifiers.math.evaluate import NotExact, Undefined, ball, exact
from espalier.verifiers.math.limits import LimitError
from espalier.verifiers.math.outcome import Equality, doubt
from espalier.verifiers.math.series import differs_at_whole_numbers
from espalier.verifiers.math.tree import Apply, Constant, Node, Number, RelationNode, Symbol, substitute, symbols, walk

PRECISIONS = (128, 512, 3400)
"""Bits of the successive attempts to tell two numbers apart; 3400 bits are about 1000 digits."""

_PROOF_BITS = 100_000
_SCALE_BITS = 8_000
_POINTS = 8
_POINT_BITS = 1024
_random = random.SystemRandom()  # points that an answer cannot have been written for


def same_value(a: Node, b: Node) -> Equality:
    """Compare two expressions, with variables or without.

    A difference is always proved. An equality is proved for rational and for algebraic numbers; for other numbers it
    means that they agree to 3000 bits, for rational functions that they agree exactly at random points of 41 bits, for
    other functions that balls of 1024 bits agree at 8 random points. The rule says which.
    """
    if a == b:
        return Equality(True, "identical")
    names = sorted(symbols(a) | symbols(b))
    try:
        compared = _same_function(a, b, names) if names else _same_number(a, b)
        unknown = compared.equal is None and not compared.doubtful
        if unknown and differs_at_whole_numbers(a, b, lambda left, right: same_value(left, right).equal):
            return Equality(False, "different where the ends of a sum are small whole numbers")
        return compared
    except LimitError as error:
        return Equality(None, f"beyond the limits: {error}")
    except (Undefined, ZeroDivisionError, OverflowError) as error:
        return Equality(None, f"undefined: {error}")


def minus(a: Node, b: Node) -> Node:
    """The tree of a - b."""
    return Apply("+", (a, Apply("neg", (b,))))


def _same_number(a: Node, b: Node) -> Equality:
    left, right = _exact_or_none(a), _exact_or_none(b)
    if left is not None and right is not None:
        return Equality(left == right, "exact fractions")
    difference = minus(a, b)
    for bits in PRECISIONS[:2]:
        gap = ball(difference, bits)
        if gap.is_finite() and not gap.contains(0):
            return Equality(False, f"disjoint balls at {bits} bits")
    bound = zero_bound(difference)
    if bound is not None and bound < _PROOF_BITS:
        gap = ball(difference, bound + 256)
        if gap.is_finite() and gap.contains(0) and gap.abs_upper() < arb(2) ** -bound:
            return Equality(True, f"algebraic numbers closer than their separation bound of 2^-{bound}")
    scale = scale_of(difference)
    if scale is None:
        return Equality(None, "numbers too large or too small to be told apart")
    bits = PRECISIONS[-1] + 4 * scale
    gap = ball(difference, bits)
    if not gap.is_finite():
        return Equality(None, "no finite ball")
    if not gap.contains(0):
        return Equality(False, f"disjoint balls at {bits} bits")
    if gap.abs_upper() < arb(2) ** -(3000 + scale):
        return Equality(True, f"balls agree to {3000 + scale} bits")
    return Equality(None, "balls too wide to tell")


def scale_of(node: Node) -> int | None:
    """log2 of the largest or smallest number in a tree, in size; None beyond what balls can be made fine enough for."""
    largest = 0
    for part in walk(node):
        if isinstance(part, Number | Apply):
            value = ball(part, 64).abs_upper()
            if not value.is_finite():
                return None
            if value > 0:
                size = abs(value.log() / arb(2).log()).upper()
                if not size < _SCALE_BITS:
                    return None
                largest = max(largest, int(size.ceil().unique_fmpz() or 0))
    return largest


def _exact_or_none(node: Node) -> Fraction | None:
    try:
        return exact(node)
    except (NotExact, LimitError):
        return None


def zero_bound(node: Node) -> int | None:
    """Bits b such that an algebraic number, given by radicals, is zero when it is below 2^-b in size.

    The bound of Burnikel, Funke, Mehlhorn, Schirra and Schmitt (ESA 2001), in logarithms; None when the tree holds
    anything but rationals, field operations and roots of small index.
    """
    radicals: dict[Node, int] = {}
    logarithms = _bounds(node, radicals)
    if logarithms is None:
        return None
    degree = math.prod(radicals.values())
    if degree > 64:
        return None
    upper, lower = logarithms
    return math.ceil((degree * degree - 1) * max(upper, 0.0) + max(lower, 0.0)) + 1


def _bounds(node: Node, radicals: dict[Node, int]) -> tuple[float, float] | None:
    """log2 of u and l of the bound, for a tree of radicals; collects each radical with its index."""
    value = _exact_or_none(node)
    if value is not None:
        return math.log2(abs(value.numerator) or 1), math.log2(value.denominator)
    if node == Constant("i"):
        radicals[node] = 2
        return 0.0, 0.0
    if not isinstance(node, Apply):
        return None
    if node.head in ("sqrt", "cbrt", "root"):
        index = Fraction({"sqrt": 2, "cbrt": 3}.get(node.head, 0)) or _exact_or_none(node.args[1])
        return _root_bounds(node, node.args[0], index, radicals)
    if node.head == "^":
        return _power_bounds(node, radicals)
    parts = [_bounds(arg, radicals) for arg in node.args]
    known = [part for part in parts if part is not None]
    if len(known) != len(parts) or not known:
        return None
    upper, lower = known[0]
    match node.head:
        case "neg" | "abs":
            pass
        case "+":
            for other_upper, other_lower in known[1:]:
                upper = max(upper + other_lower, lower + other_upper) + 1
                lower += other_lower
        case "*":
            for other_upper, other_lower in known[1:]:
                upper, lower = upper + other_upper, lower + other_lower
        case "/":
            other_upper, other_lower = known[1]
            upper, lower = upper + other_lower, lower + other_upper
        case _:
            return None
    return upper, lower


def _root_bounds(
    node: Node, radicand: Node, index: Fraction | None, radicals: dict[Node, int]
) -> tuple[float, float] | None:
    inner = _bounds(radicand, radicals)
    if inner is None or index is None or index.denominator != 1 or not 2 <= index <= 16:
        return None
    k = int(index)
    radicals[node] = k
    upper, lower = inner
    if upper >= lower:
        return (upper + (k - 1) * lower) / k, lower
    return upper, ((k - 1) * upper + lower) / k


def _power_bounds(node: Apply, radicals: dict[Node, int]) -> tuple[float, float] | None:
    base, exponent = node.args
    power = _exact_or_none(exponent)
    if power is None or abs(power.numerator) > 64:
        return None
    inner = _bounds(base, radicals)
    if power.denominator != 1:
        inner = _root_bounds(Apply("root", (base, Number(Fraction(power.denominator)))), base,
                             Fraction(power.denominator), radicals)  # fmt: skip
    if inner is None:
        return None
    upper, lower = inner
    times = abs(power.numerator)
    return (upper * times, lower * times) if power > 0 else (lower * times, upper * times)


def _same_function(a: Node, b: Node, names: list[str]) -> Equality:
    real = _same_real_function(a, b, names)
    complex_names = _COMPLEX_LETTERS.intersection(names)
    if real.equal and complex_names and (_has(a, _OF_COMPLEX) or _has(b, _OF_COMPLEX)):
        wider = {
            name: Apply("+", (Symbol(name), Apply("*", (Constant("i"), Symbol(f"{name} imaginary")))))
            for name in complex_names
        }
        left, right = substitute(a, wider), substitute(b, wider)
        if _same_at_points(left, right, sorted(symbols(left) | symbols(right))).equal is not True:
            return doubt("equal for real numbers, not for complex ones")
    return real


_COMPLEX_LETTERS = frozenset({"z", "w", "z_1", "z_2"})
_OF_COMPLEX = frozenset({"abs", "re", "im", "conj", "arg"})


def _same_real_function(a: Node, b: Node, names: list[str]) -> Equality:
    try:
        return _same_rational_function(a, b, names)
    except (NotExact, LimitError):
        return _same_at_points(a, b, names)


def _same_rational_function(a: Node, b: Node, names: list[str]) -> Equality:
    """Exact values at random integers: a difference is proved, an agreement has the error of Schwartz and Zippel."""
    if not all(_is_rational(part) for side in (a, b) for part in walk(side)):
        raise NotExact("no rational function")
    agreed = 0
    for _ in range(4 * _POINTS):
        point = {name: Fraction(_random.randrange(-(1 << 40), 1 << 40)) for name in names}
        try:
            if exact(a, point) != exact(b, point):
                return Equality(False, "exact values differ at a random point")
        except Undefined:
            continue
        agreed += 1
        if agreed == 3:
            return Equality(True, "exact values agree at 3 random points of 41 bits")
    return Equality(None, "undefined at random points")


def _is_rational(node: Node) -> bool:
    """Whether a node keeps a rational function rational; parts without variables may be any exact number."""
    if not isinstance(node, Apply) or not symbols(node) or node.head in ("+", "*", "/", "neg", "%"):
        return True
    return node.head == "^" and isinstance(node.args[1], Number) and node.args[1].value.denominator == 1


def _ball_or_none(node: Node, point: Mapping[str, Fraction]) -> acb | None:
    try:
        return ball(node, _POINT_BITS, point)
    except (Undefined, ZeroDivisionError):
        return None


def _same_at_points(a: Node, b: Node, names: list[str]) -> Equality:
    """Balls at random points of both signs and of all sizes; where only one side is real, the point is outside of their
    domain. Functions of several pieces are also compared on both sides of the numbers that they are written with.
    """
    agreed = agreed_complex = 0
    differs_complex = one_sided = other_domain = left_out = False
    cases = _has(a, {"piecewise"}) or _has(b, {"piecewise"})
    for point in _points(a, b, names):
        left = _ball_or_none(a, point)
        right = _ball_or_none(b, point) if cases or left is not None else None
        if left is None or right is None:
            left_out = left_out or (cases and left is not right)
            continue
        if not (left.is_finite() and right.is_finite()):
            continue
        same = (left - right).contains(0)
        real = _real(left) and _stays_real(a, point), _real(right) and _stays_real(b, point)
        other_domain = other_domain or real[0] != real[1]
        one_sided = one_sided or (real[0] != real[1] and not same)
        if _real(left) and _real(right):
            if not all(real):
                continue
            if not same:
                return Equality(False, "disjoint balls at a random point")
            agreed += 1
        elif same:
            agreed_complex += 1
        else:
            differs_complex = True
    if agreed + agreed_complex >= _POINTS and left_out:
        return doubt("equal only where cases say a value")
    if agreed + agreed_complex >= _POINTS and (_has_extremes(a) or _has_extremes(b)):
        return doubt("equal as far as points can show, but a part may be too small to be seen there")
    if agreed >= _POINTS:
        if one_sided and _has(a, {"abs"}) != _has(b, {"abs"}):
            return Equality(False, "one side alone is real without its absolute value")
        if (one_sided or other_domain) and (_has(a, _LOGARITHMS) or _has(b, _LOGARITHMS)):
            return doubt("equal only where both sides are real")
        return Equality(True, f"balls of {_POINT_BITS} bits agree at {agreed} random points")
    if differs_complex:
        return Equality(False, "disjoint balls at a random point")
    if agreed + agreed_complex >= _POINTS:
        return Equality(True, f"balls of {_POINT_BITS} bits agree at {agreed + agreed_complex} random points")
    return Equality(None, "too few random points where both are defined")


_PIECES = frozenset({"abs", "sgn", "max", "min", "floor", "ceil", "mod", "piecewise", "sqrt", "root", "cbrt", "^"})
_LOGARITHMS = frozenset({"ln", "log", "log10"})
_JUMPS = frozenset({"sgn", "floor", "ceil", "mod", "piecewise", "max", "min"})
_CRITICAL = 12
"""Most numbers in the trees around which points are taken."""


def _points(a: Node, b: Node, names: list[str]) -> Iterator[dict[str, Fraction]]:
    for attempt in range(3 * _POINTS):
        yield {name: _point(attempt) for name in names}
    yield from _wide_points(names)
    if not (_has(a, _PIECES) or _has(b, _PIECES)):
        return
    critical = sorted(_literals(a) | _literals(b), key=lambda value: (value.denominator, abs(value)))[:_CRITICAL]
    critical = sorted({sign * value for value in critical for sign in (1, -1)} | {Fraction(0)})
    middles = [(low + high) / 2 for low, high in pairwise(critical)]
    for name in names:
        others = {other: _point(position) for position, other in enumerate(names)}
        for value in (*critical, *middles, *_corners((a, b), name, others)):
            for shift in (_point(0) / 1000, -_point(0) / 1000):
                yield {**others, name: value + shift}
        if _has(a, _JUMPS) or _has(b, _JUMPS):
            for value in (*critical, *map(Fraction, range(-3, 4))):
                yield {**others, name: value}


_SMALL = Fraction(1, 1 << 50)
_LARGE_EXPONENT = 200


def _has_extremes(node: Node) -> bool:
    """Whether a function is written with constants so small, or exponents so large, that a part of it can vanish beside
    the others at every point: `10^-400 sin x`, `e^(-2000 - x^2)`, `|x^2 - 10^-30|`.
    """
    for part in walk(node):
        if not isinstance(part, Apply):
            continue
        exponents = part.args[1:] if part.head == "^" else part.args if part.head == "exp" else ()
        if symbols(part) and any(abs(value) > _LARGE_EXPONENT for one in exponents for value in _literals(one)):
            return True
        if not symbols(part) and part.head == "^" and _exact_or_none(part) is None and not _moderate(part):
            return True
    return any(value and abs(value) < _SMALL for value in _literals(node))


def _moderate(power: Apply) -> bool:
    """Whether a power without variables is of ordinary size."""
    exponent = _exact_or_none(power.args[1])
    return exponent is not None and abs(exponent) <= _LARGE_EXPONENT


def _has(node: Node, heads: Collection[str]) -> bool:
    return any(isinstance(part, Apply) and part.head in heads for part in walk(node))


def _literals(node: Node) -> set[Fraction]:
    """The values of the numbers and of the quotients, powers and products of numbers in a tree."""
    found: set[Fraction] = set()
    for part in walk(node):
        value = _exact_or_none(part) if isinstance(part, Number | Apply) and not symbols(part) else None
        if value is not None:
            found.add(value)
    return found


def _point(attempt: int) -> Fraction:
    """Points in (0, 1), (1, 4), (-4, 0), in turn: branches of roots and logarithms show on either side of 0 and 1."""
    low, high = ((0, 1), (1, 4), (-4, 0))[attempt % 3]
    return Fraction(_random.randrange((low << 30) + 1, high << 30), 1 << 30)


_SIZES = ((2, 16), (16, 31), (31, 45), (45, 60))
"""Binary logarithms between which large points are taken, of each sign."""


def _wide_points(names: list[str]) -> Iterator[dict[str, Fraction]]:
    """Points of all sizes up to 2^60 and of both signs: of one name where it is the only one, else of all and of one
    beside small ones, in turn."""
    if len(names) == 1:
        yield from ({names[0]: sign * _wide_point(*size)} for size in _SIZES for sign in (1, -1))
        return
    for attempt in range(2 * _POINTS):
        size = _SIZES[attempt // 2 % len(_SIZES)]
        wide = names if attempt % 2 else [names[attempt // 2 % len(names)]]
        yield {
            name: _random.choice((1, -1)) * _wide_point(*size) if name in wide else _point(attempt) for name in names
        }


def _wide_point(low: int, high: int) -> Fraction:
    """A point between 2^low and 2^high, never whole: at even numbers `i^n` equals `(-i)^n`."""
    size = _random.randrange(low, high)
    beside = Fraction(_random.randrange(1, 1 << 20) | 1, 1 << 21)
    return Fraction(_random.randrange(1 << 30, 1 << 31), 1 << 30) * (1 << size) + beside


def _corners(sides: tuple[Node, ...], name: str, others: Mapping[str, Fraction]) -> list[Fraction]:
    """Where a variable takes an argument of a function of several pieces, or a condition of cases, through zero, as far
    as these are linear in it."""
    found: set[Fraction] = set()
    for part in (part for side in sides for part in walk(side)):
        if not isinstance(part, Apply) or part.head not in _PIECES:
            continue
        arguments = [*part.args, *map(minus, part.args, part.args[1:])] if part.head in ("max", "min") else part.args
        for argument in arguments:
            links = pairwise(argument.sides) if isinstance(argument, RelationNode) else ()
            for zero in [minus(*link) for link in links] or [argument]:
                root = _linear_root(zero, name, others) if name in symbols(zero) else None
                found |= {root} if root is not None else set()
    return sorted(found)[:_CRITICAL]


def _linear_root(node: Node, name: str, others: Mapping[str, Fraction]) -> Fraction | None:
    try:
        start, after, later = (exact(node, {**others, name: Fraction(place)}) for place in range(3))
    except (NotExact, Undefined, LimitError):
        return None
    slope = after - start
    return -start / slope if slope and later - after == slope else None


_BRANCHING = frozenset({"sqrt", "root", "^", "ln", "log", "log10", "asin", "acos", "acosh", "atanh"})


def _stays_real(node: Node, point: Mapping[str, Fraction]) -> bool:
    """Whether no part of a tree without i leaves the real numbers on the way, as √x·√x does at x = -1."""
    parts = list(walk(node))
    if Constant("i") in parts:
        return True
    return all(_real(ball(part, 64, point)) for part in parts if isinstance(part, Apply) and part.head in _BRANCHING)


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
            if not number.is_finite() or not _real(number):
                return None
            if number.real > 0:
                return 1
            if number.real < 0:
                return -1
        return 0 if number.abs_upper() < arb(2) ** -3000 else None
    except (Undefined, LimitError, ZeroDivisionError):
        return None


def order(a: Node, b: Node) -> int | None:
    """The sign of a - b."""
    return 0 if a == b else sign(minus(a, b))
