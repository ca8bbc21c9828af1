from __future__ import annotations

from fractions import Fraction

import pytest

from espalier.verifiers.math.evaluate import NotExact, Undefined, ball, exact
from espalier.verifiers.math.limits import LimitError
from espalier.verifiers.math.numeric import minus, order, same_value, sign, zero_bound
from espalier.verifiers.math.parser import parse
from espalier.verifiers.math.tree import Node


def tree(text: str) -> Node:
    return parse(text)[0]


def test_exact_values() -> None:
    assert exact(tree(r"\frac{1}{3} + \sqrt{\frac{4}{9}}")) == 1
    assert exact(tree("2^-3")) == Fraction(1, 8)
    assert exact(tree("8^{2/3}")) == 4
    assert exact(tree(r"\binom{52}{5}")) == 2598960


@pytest.mark.parametrize("text", ["2^{10^9}", "(10^9)!", "10^{5^{5^5}}", r"\binom{10^{10}}{5}", "((2^999)^999)^999"])
def test_what_would_grow_too_large_is_not_computed(text: str) -> None:
    with pytest.raises(LimitError):
        exact(tree(text))


def test_undefined_values_are_named() -> None:
    with pytest.raises(Undefined):
        exact(tree("1/(1-1)"))
    with pytest.raises(NotExact):
        exact(tree(r"\sqrt{2}"))


def test_a_ball_holds_the_value() -> None:
    assert ball(tree(r"\sqrt{2}"), 200) ** 2 - 2 == 0 or (ball(tree(r"\sqrt{2}"), 200) ** 2 - 2).contains(0)
    assert not (ball(tree(r"\pi"), 64) - ball(tree("3.14159265358979323846"), 64) * 2).contains(0)


def test_an_algebraic_equality_is_proved() -> None:
    outcome = same_value(tree(r"\sqrt{3+2\sqrt{2}}"), tree(r"1+\sqrt{2}"))
    assert outcome.equal is True
    assert "separation bound" in outcome.rule


def test_another_equality_states_its_error() -> None:
    outcome = same_value(tree(r"\sin 18^\circ"), tree(r"\frac{\sqrt5-1}{4}"))
    assert outcome.equal is True
    assert "bits" in outcome.rule


def test_the_separation_bound_exceeds_every_near_zero() -> None:
    # |√a + √b - √c| for small a, b, c is never below the bound unless it is zero.
    for text in (r"\sqrt{2}+\sqrt{3}-\sqrt{10}", r"\sqrt{10}+\sqrt{11}-\sqrt{42}", r"\sqrt[3]{2}-1.26"):
        bound = zero_bound(tree(text))
        assert bound is not None
        assert abs(float(ball(tree(text), 128).real)) > 2.0**-bound


def test_a_difference_below_the_bound_of_doubles_is_seen() -> None:
    assert same_value(tree(r"\sqrt{2} + 10^{-200}"), tree(r"\sqrt{2}")).equal is False
    assert same_value(tree(r"e^{-1000}"), tree("0")).equal is False


def test_order_of_irrational_numbers() -> None:
    assert order(tree(r"\sqrt{2}+\sqrt{3}"), tree(r"\sqrt{10}")) == -1
    assert order(tree(r"\sqrt{8}"), tree(r"2\sqrt{2}")) == 0
    assert sign(minus(tree("e"), tree(r"\pi"))) == -1
    assert sign(tree("i")) is None


@pytest.mark.parametrize(
    ("pieces", "one_piece"),
    [(r"|\frac{x}{9} - 2|", r"2 - \frac{x}{9}"), (r"|\frac{x}{99999} - 99999|", r"99999 - \frac{x}{99999}")],
)
def test_a_corner_far_from_the_numbers_of_a_function_is_always_seen(pieces: str, one_piece: str) -> None:
    left, right = tree(pieces), tree(one_piece)
    assert {same_value(left, right).equal for _ in range(300)} == {False}
