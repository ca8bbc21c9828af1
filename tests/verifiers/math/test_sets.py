from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.verifiers.math.numeric import order
from espalier.verifiers.math.parser import parse
from espalier.verifiers.math.sets import RealSet, complement, infinity, intersection, real_set, same_set, union
from espalier.verifiers.math.tree import Node, Number


def contains(pieces: RealSet, point: Fraction) -> bool:
    """Membership, straight from the definition."""
    value = Number(point)

    def after(low: Node, open_low: bool) -> bool:
        compared = order(low, value) if not infinity(low) else infinity(low)
        return compared == -1 or (compared == 0 and not open_low)

    def before(high: Node, open_high: bool) -> bool:
        compared = order(value, high) if not infinity(high) else -infinity(high)
        return compared == -1 or (compared == 0 and not open_high)

    return any(after(piece.low, piece.open_low) and before(piece.high, piece.open_high) for piece in pieces)


@st.composite
def sets(draw: st.DrawFn) -> RealSet:
    pieces: RealSet = ()
    for _ in range(draw(st.integers(0, 3))):
        low = draw(st.integers(-4, 4))
        high = low + draw(st.integers(1, 4))
        left, right = draw(st.sampled_from("([")), draw(st.sampled_from(")]"))
        pieces = union(pieces, real_set(parse(f"{left}{low}, {high}{right}")[0]))
    return pieces


POINTS = [Fraction(n, 2) for n in range(-20, 21)]


@given(sets(), sets())
def test_set_algebra_agrees_with_membership(a: RealSet, b: RealSet) -> None:
    for point in POINTS:
        assert contains(union(a, b), point) == (contains(a, point) or contains(b, point))
        assert contains(intersection(a, b), point) == (contains(a, point) and contains(b, point))
        assert contains(complement(a), point) != contains(a, point)


@given(sets())
def test_a_set_is_its_double_complement(a: RealSet) -> None:
    assert complement(complement(a)) == a


CASES = [
    ("x^2 - 4 > 0", r"(-\infty,-2) \cup (2,\infty)", True),
    ("x^2 - 2 <= 0", r"[-\sqrt2, \sqrt2]", True),
    ("x^3 < x", r"(-\infty,-1) \cup (0,1)", True),
    (r"\frac{x-1}{x+2} \ge 0", r"(-\infty,-2) \cup [1,\infty)", True),
    (r"\frac{x-1}{x+2} \ge 0", r"(-\infty,-2] \cup [1,\infty)", False),
    ("x^2 >= 0", r"(-\infty,\infty)", True),
    ("x^2 < 0", r"\emptyset", True),
    (r"\sqrt{2} x > 2", r"(\sqrt2, \infty)", True),
    ("|2x + 1| <= 3", "[-2, 1]", True),
    ("x^5 - x - 1 > 0", r"(1.1673039782614187, \infty)", False),
]


@pytest.mark.parametrize(("relation", "other", "same"), CASES)
def test_inequalities_are_solved(relation: str, other: str, same: bool) -> None:
    assert same_set(parse(relation)[0], parse(other)[0]).equal is same
