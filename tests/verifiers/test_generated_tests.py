"""Tests that a model wrote: read as data, evidence and never a PASS."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from espalier.verifiers.check import AssertCase
from espalier.verifiers.generated_tests import GeneratedTests, assertions
from espalier.verifiers.verdict import Evidence, Status, Verdict

ROWS = [
    json.loads(line) for line in (Path(__file__).parent / "generated_test_cases.jsonl").read_text("utf-8").splitlines()
]
HOSTILE = [
    "assert " + "f(" * 400,
    "assert " + "-" * 900 + "f(1)",
    "assert f(1)" + ".a" * 480,
    "assert f(1)" + "+1" * 480,
    "assert f(" + "[" * 300 + "]" * 300 + ")",
    "assert f(1)\0 == 1",
    "assert f(\n" * 2000,
]
TESTS = GeneratedTests(("assert f(1) == 1", "assert f(2) == 2", "assert f(3) == 4"), (3, 2, 1))


def verdict(*passed: bool, status: Status = Status.FAIL) -> Verdict:
    cases = tuple(Evidence(f"case {i}", json.dumps({"passed": one})) for i, one in enumerate(passed, start=1))
    return Verdict(status, sum(passed) / len(passed), "program", cases)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_assertions_are_read_as_the_table_says(row: dict[str, object]) -> None:
    assert list(assertions(str(row["text"]), frozenset(row.get("functions", ())))) == row["tests"]  # type: ignore[call-overload]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_what_the_parser_cannot_take_is_no_test(text: str) -> None:
    assert list(assertions(text)) == []


def test_a_text_brings_so_many_tests_and_repeated_ones_count_again() -> None:
    texts = ["assert f(1) == 1\n" * 9, "assert f(2)==2\nassert f(1)  == 1"]
    found = GeneratedTests.of(texts, per_text=3)
    assert found == GeneratedTests(("assert f(1) == 1", "assert f(2) == 2"), (4, 1))


def test_a_test_of_another_function_than_the_problem_defines_is_none() -> None:
    found = GeneratedTests.of(["assert g(1) == 1\nassert f(1) == 1"], "def f(x: int) -> int:\n    ...")
    assert found.sources == ("assert f(1) == 1",)


def test_the_check_runs_every_test_in_one_process() -> None:
    assert TESTS.check.cases == tuple(map(AssertCase, TESTS.sources))
    assert TESTS.check.together
    assert not TESTS.check.stop_at_first_failure


@pytest.mark.parametrize("status", [Status.PASS, Status.FAIL])
def test_the_verdict_is_unknown_whatever_the_tests_say(status: Status) -> None:
    found = TESTS.evidence(verdict(True, True, status is Status.PASS, status=status))
    assert found.status is Status.UNKNOWN
    assert found.score == pytest.approx((6 if status is Status.PASS else 5) ** 2 / 36)
    assert found.feedback == ""
    assert ("fails", "assert f(3) == 4") in [(one.rule, one.detail) for one in found.evidence] or status is Status.PASS


def test_a_sandbox_that_failed_says_nothing() -> None:
    error = Verdict(Status.ERROR, 0.0, "program")
    assert TESTS.evidence(error) is error


def test_the_class_with_the_most_agreement_of_programs_and_tests_is_the_first() -> None:
    """By the square root of the programs times the tests, in votes of 6: 1 and 6, 2 and 5, 4 and 3."""
    everything, most, half = frozenset({0, 1, 2}), frozenset({0, 1}), frozenset({0})
    passed = [everything, most, most, half, half, half, half]
    classes = TESTS.agreement(passed, [f"program {i}" for i in range(7)])
    assert [one.members for one in classes] == [(1, 2), (0,), (3, 4, 5, 6)]


def test_without_tests_nothing_is_passed() -> None:
    assert GeneratedTests((), ()).share(frozenset()) == 0.0
