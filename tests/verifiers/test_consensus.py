from __future__ import annotations

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.verifiers.consensus import (
    EquivalenceClass,
    classes_by_output,
    equivalence_classes,
    posterior_ahead,
    vote,
)
from espalier.verifiers.verdict import Status

# Worked by hand: the mass of Beta(votes + 1, rival + 1) above 1/2.
BY_HAND = [
    (0, 0, Fraction(1, 2)),  # uniform
    (1, 0, Fraction(3, 4)),  # the integral of 2p from 1/2 to 1
    (0, 1, Fraction(1, 4)),
    (2, 0, Fraction(7, 8)),  # the integral of 3p² from 1/2 to 1
    (3, 0, Fraction(15, 16)),
    (1, 1, Fraction(1, 2)),
    (2, 1, Fraction(11, 16)),  # the integral of 12p²(1 - p) from 1/2 to 1
    (3, 1, Fraction(13, 16)),  # the integral of 20p³(1 - p) from 1/2 to 1
]


@pytest.mark.parametrize(("votes", "rival", "expected"), BY_HAND)
def test_the_posterior_equals_the_integral_worked_by_hand(votes: int, rival: int, expected: Fraction) -> None:
    assert posterior_ahead(votes, rival) == float(expected)


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_posteriors_of_two_rivals_sum_to_one(votes: int, rival: int) -> None:
    assert posterior_ahead(votes, rival) + posterior_ahead(rival, votes) == pytest.approx(1, abs=1e-12)


@given(st.integers(0, 40), st.integers(0, 40))
def test_fractional_weights_continue_whole_ones(votes: int, rival: int) -> None:
    lower, upper = posterior_ahead(votes, rival), posterior_ahead(votes + 1, rival)
    between = posterior_ahead(votes + 0.5, rival)
    assert lower < between < upper or between == pytest.approx(lower, abs=1e-12)


def test_the_incomplete_beta_function_agrees_with_the_exact_sum() -> None:
    exact = sum(comb(13, count) for count in range(9)) / 2**13
    assert posterior_ahead(8 + 1e-12, 4) == pytest.approx(exact, abs=1e-9)


def test_negative_votes_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        posterior_ahead(-1, 0)


class _Parity:
    """Equivalence modulo 10, with the last digit's word as a second spelling; counts its comparisons."""

    def __init__(self) -> None:
        self.compared = 0

    async def key(self, answer: str) -> str:
        return answer

    async def same(self, a: str, b: str) -> bool:
        self.compared += 1
        return int(a) % 10 == int(b) % 10


async def test_equal_keys_are_never_compared() -> None:
    rule = _Parity()
    classes = await equivalence_classes(["3"] * 500 + ["13"] * 300 + ["4"] * 200, key=rule.key, same=rule.same)
    assert [(found.representative, found.weight) for found in classes] == [("3", 800), ("4", 200)]
    assert rule.compared <= 3


async def test_every_answer_is_in_one_class() -> None:
    rule = _Parity()
    answers = [str(number) for number in range(57)]
    classes = await equivalence_classes(answers, key=rule.key, same=rule.same)
    assert sorted(index for found in classes for index in found.members) == list(range(57))
    assert all(len({int(answers[index]) % 10 for index in found.members}) == 1 for found in classes)


async def test_weights_decide_the_order() -> None:
    rule = _Parity()
    classes = await equivalence_classes(["1", "2", "12"], key=rule.key, same=rule.same, weights=[5, 1, 1])
    assert [found.weight for found in classes] == [5, 2]


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [1.0, float("nan")]])
async def test_weights_that_do_not_fit_are_refused(weights: list[float]) -> None:
    rule = _Parity()
    with pytest.raises(ValueError, match="weights"):
        await equivalence_classes(["1", "2"], key=rule.key, same=rule.same, weights=weights)


def test_programs_are_classed_by_their_outputs() -> None:
    classes = classes_by_output([("1", "2"), ("1", "3"), ("1", "2")], ["a", "b", "c"])
    assert [found.members for found in classes] == [(0, 2), (1,)]


def test_a_vote_never_passes_and_scores_the_leader_highest() -> None:
    verdicts = vote([EquivalenceClass((0, 1, 2), "7", 3.0), EquivalenceClass((3,), "8", 1.0)])
    assert [verdict.status for verdict in verdicts] == [Status.UNKNOWN, Status.UNKNOWN]
    assert [verdict.score for verdict in verdicts] == [0.8125, 0.1875]
    assert {verdict.decided_by for verdict in verdicts} == {"consensus"}
    assert "3 of 4 votes" in verdicts[0].evidence[0].detail


def test_a_vote_of_nobody_has_no_verdict() -> None:
    assert vote([]) == ()
