from __future__ import annotations

import functools
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.verifiers.check import MathOptions
from espalier.verifiers.math import tasks
from espalier.verifiers.math.equivalence import canonical
from espalier.verifiers.math.outcome import UNREADABLE
from espalier.verifiers.math.tasks import compare

CASES = [json.loads(line) for line in (Path(__file__).parents[1] / "math_cases.jsonl").read_text().splitlines()]

read = functools.cache(tasks.read)  # every row is asked about several times
"""What a text means."""


# "equal": true is PASS, null is UNKNOWN, false is FAIL or UNKNOWN, and with "fails" it is FAIL.


def equal(gold: str, answer: str, options: MathOptions | None = None) -> bool | None:
    return compare(read(gold), read(answer), options or MathOptions()).equal


def test_there_are_enough_hard_pairs() -> None:
    assert len(CASES) >= 300
    assert len({(case["gold"], case["answer"], json.dumps(case.get("options"))) for case in CASES}) == len(CASES)


def allowed(case: dict[str, Any]) -> set[bool | None]:
    if case["equal"] is False and not case.get("fails"):
        return {False, None}
    return {case["equal"]}


# Thousands of rows: a test for each would cost more than what it tests.
@pytest.mark.parametrize("why", sorted({case["why"] for case in CASES}))
def test_hard_pairs(why: str) -> None:
    outcomes = [
        (case, compare(read(case["gold"]), read(case["answer"]), MathOptions(**case.get("options", {}))))
        for case in CASES
        if case["why"] == why
    ]
    assert [(case, outcome) for case, outcome in outcomes if outcome.equal not in allowed(case)] == []


def test_equivalence_is_symmetric() -> None:
    def both_ways(case: dict[str, Any]) -> set[bool | None]:
        options = MathOptions(**case.get("options", {}))
        return {equal(case["gold"], case["answer"], options), equal(case["answer"], case["gold"], options)}

    exact = [case for case in CASES if "round_to" not in case.get("options", {})]
    # What only one side says leaves the other way round undecided at most.
    assert [case for case in exact if both_ways(case) == {True, False}] == []


def readable() -> list[str]:
    return [
        text for text in sorted({case[side] for case in CASES for side in ("gold", "answer")}) if read(text).readings
    ]


def test_what_equals_something_can_be_read() -> None:
    assert {case[side] for case in CASES if case["equal"] for side in ("gold", "answer")} <= set(readable())


def test_equivalence_is_reflexive() -> None:
    false_chains = {"2 + 3 = 6", "5 = 6", "1 = 5", "5 \\approx 6"}
    assert {text for text in readable() if equal(text, text) is not True} <= false_chains


numbers = st.fractions(min_value=-1000, max_value=1000, max_denominator=400)


def written(value: Fraction) -> st.SearchStrategy[str]:
    over, under = value.numerator, value.denominator
    forms = [
        f"{over}/{under}",
        rf"\frac{{{over}}}{{{under}}}",
        rf"{over} \cdot {under}^{{-1}}",
        f"{2 * over}/({2 * under})",
    ]
    if 10**6 % under == 0:
        forms.append(f"{over / under:.6f}")
    return st.sampled_from(forms)


@given(numbers.flatmap(lambda value: st.tuples(written(value), written(value))))
def test_two_spellings_of_a_fraction_are_equal(pair: tuple[str, str]) -> None:
    assert equal(*pair) is True


@given(numbers, numbers, st.data())
def test_different_fractions_are_different(a: Fraction, b: Fraction, data: st.DataObject) -> None:
    assert equal(data.draw(written(a)), data.draw(written(b))) is (a == b)


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=6), st.randoms())
def test_a_list_equals_its_permutations(items: list[int], random: Any) -> None:
    shuffled = random.sample(items, len(items))
    assert equal(", ".join(map(str, items)), ", ".join(map(str, shuffled))) is True


@given(st.integers(2, 400), st.integers(2, 400))
def test_sums_of_roots_are_decided(a: int, b: int) -> None:
    assert equal(rf"(\sqrt{{{a}}}+\sqrt{{{b}}})^2", rf"{a + b}+2\sqrt{{{a * b}}}") is True
    assert equal(rf"(\sqrt{{{a}}}+\sqrt{{{b}}})^2", rf"{a + b}+2\sqrt{{{a * b + 1}}}") is False


polynomials = st.lists(st.integers(-9, 9), min_size=1, max_size=5)


@given(polynomials, polynomials)
def test_a_product_equals_its_expansion(a: list[int], b: list[int]) -> None:
    product = [0] * (len(a) + len(b) - 1)
    for i, first in enumerate(a):
        for j, second in enumerate(b):
            product[i + j] += first * second
    factored = f"({_polynomial(a)})({_polynomial(b)})"
    assert equal(factored, _polynomial(product)) is True
    product[0] += 1
    assert equal(factored, _polynomial(product)) is False


def _polynomial(coefficients: list[int]) -> str:
    return "+".join(f"({value})x^{power}" for power, value in enumerate(coefficients))


@given(st.integers(-20, 20), st.integers(1, 20), st.booleans(), st.booleans())
def test_an_interval_equals_its_inequality(low: int, width: int, open_low: bool, open_high: bool) -> None:
    high = low + width
    interval = f"{'(' if open_low else '['}{low}, {high}{')' if open_high else ']'}"
    chain = f"{low} {'<' if open_low else '<='} x {'<' if open_high else '<='} {high}"
    other = f"{low} {'<=' if open_low else '<'} x {'<' if open_high else '<='} {high}"
    assert equal(interval, chain) is True
    assert equal(interval, other) is False


def test_equal_keys_mean_equivalent_answers() -> None:
    def one_key(case: dict[str, Any]) -> bool:
        sides = read(case["gold"]), read(case["answer"])
        gold, answer = (side.readings + side.unsure for side in sides)
        return len(gold) == len(answer) == 1 and canonical(gold[0]) == canonical(answer[0])

    assert [case for case in CASES if "options" not in case and one_key(case) and not case["equal"]] == []


@pytest.mark.parametrize("answer", ["((3 +", "@@@", "\\frac{1}{", "5 is not the answer", "x" * 5000])
def test_an_answer_that_cannot_be_read_fails_where_the_reference_can(answer: str) -> None:
    outcome = compare(read("5"), read(answer), MathOptions())
    assert (outcome.equal, outcome.cause) == (False, UNREADABLE)
    assert compare(read("((3 +"), read(answer), MathOptions()).equal is None


@pytest.mark.parametrize(
    "answer",
    ["10^(5^5^5)", "((10^9)!)!", "1/0", "\\ln 0", "\\sin(10^{1000000})", "e^{e^{e^{100}}}", "\\int_0^1 x^x^x dx"],
)
def test_an_answer_that_cannot_be_worked_out_fails_where_the_reference_is_plain(answer: str) -> None:
    for gold in ("5", "1, 2", "(0, 1)", "x = 3", "5 cm"):
        assert compare(read(gold), read(answer), MathOptions()).equal is False
    assert compare(read("10^{10^{10}}"), read("10^{10^{10}}+1"), MathOptions()).equal is None
