"""What counts as the expected output, in tables and in properties."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.verifiers.check import Comparison
from espalier.verifiers.code.compare import same_json, same_text


def table(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(__file__).parent / name).read_text("utf-8").splitlines()]


modes = st.sampled_from(list(Comparison))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("row", table("compare_cases.jsonl"), ids=lambda row: f"{row['comparison']}: {row['why']}")
def test_texts_compare_as_the_table_says(row: dict[str, Any]) -> None:
    assert same_text(row["expected"], row["got"], Comparison(row["comparison"])) is row["same"]


@pytest.mark.parametrize("row", table("compare_json_cases.jsonl"), ids=lambda row: f"{row['comparison']}: {row['why']}")
def test_values_compare_as_the_table_says(row: dict[str, Any]) -> None:
    assert same_json(row["expected"], row["got"], Comparison(row["comparison"])) is row["same"]


@given(st.text(), modes)
def test_every_text_is_the_same_as_itself(text: str, mode: Comparison) -> None:
    assert same_text(text, text, mode)


@given(st.text(), st.text(), modes)
def test_text_comparison_at_zero_tolerance_is_symmetric(left: str, right: str, mode: Comparison) -> None:
    assert same_text(left, right, mode, 0.0) == same_text(right, left, mode, 0.0)


@given(json_values, modes)
def test_every_value_is_the_same_as_itself(value: Any, mode: Comparison) -> None:
    text = json.dumps(value)
    assert same_json(text, text, mode)


@given(json_values, json_values, modes)
def test_value_comparison_at_zero_tolerance_is_symmetric(left: Any, right: Any, mode: Comparison) -> None:
    texts = json.dumps(left), json.dumps(right)
    assert same_json(*texts, mode, 0.0) == same_json(*reversed(texts), mode, 0.0)


@given(st.lists(st.text(alphabet="ab1 .-e", max_size=5)), st.randoms(use_true_random=False))
def test_shuffled_lines_are_the_same_unordered_lines(lines: list[str], order: random.Random) -> None:
    shuffled = order.sample(lines, len(lines))
    assert same_text("\n".join(lines), "\n".join(shuffled), Comparison.UNORDERED_LINES)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_printed_to_twelve_digits_is_within_the_default_tolerance(number: float) -> None:
    assert same_text(repr(number), f"{number:.12e}", Comparison.FLOAT)


@given(st.integers(), st.integers())
def test_different_integers_are_never_the_same(left: int, right: int) -> None:
    for mode in Comparison:
        assert same_text(str(left), str(right), mode) == (left == right)
        assert same_json(str(left), str(right), mode) == (left == right)


@given(st.text(), modes)
def test_no_text_of_a_program_makes_the_value_comparison_fail(got: str, mode: Comparison) -> None:
    same_json("[1, 2.5]", got, mode)


@pytest.mark.parametrize("mode", list(Comparison))
def test_numerals_beyond_the_integer_string_limit_compare_exactly(mode: Comparison) -> None:
    long = "7" * 200_000
    assert same_text(long, long, mode)
    assert not same_text(long, long[:-1] + "8", mode)
    assert same_json(long, long, mode)
    assert not same_json(long, long[:-1] + "8", mode)


def test_values_nested_too_deeply_are_not_the_same() -> None:
    deep = "[" * 300_000 + "]" * 300_000
    assert not same_json("[]", deep, Comparison.TOKENS)
