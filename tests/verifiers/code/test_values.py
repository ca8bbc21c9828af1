"""Data of a program that should be a value: reading, comparing and showing it ends soon, in a verdict."""

from __future__ import annotations

import json
import multiprocessing
import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

import pytest

from espalier.verifiers.check import CallCase, Comparison, ProgramCheck
from espalier.verifiers.code.cases import judge, prepare
from espalier.verifiers.code.compare import same_text
from espalier.verifiers.code.languages import LANGUAGES
from espalier.verifiers.code.sandbox import CommandOutcome
from espalier.verifiers.code.values import MAX_DEPTH, MAX_EQUAL_HASHES, NotDataError, decode, encode

T = TypeVar("T")

DEEP = 300_000
MODULUS = (1 << 61) - 1
"""Of the hashes of integers."""

HOSTILE: dict[str, Any] = {
    "deep tuples in a set": [1, *[["tuple", 1]] * DEEP, ["set", 1]],
    "deep tuples as a key": [1, *[["tuple", 1]] * DEEP, 2, ["dict", 2]],
    "deep deques": [1, *[["deque", 1]] * DEEP],
    "deep defaultdicts": [*[None, "k"] * DEEP, 1, *[["defaultdict", 3]] * DEEP],
    "sets in sets": ["x" * 500_000, *[["frozenset", 1]] * 900],
    "keys of one hash": [*[["int", str(MODULUS * number)] for number in range(40_000)], ["set", 40_000]],
    "a long fraction": [["fraction", 10**4000, "X"]],
    "two names that Python reads as one": [1, 2, ["named", "N", ["\u210c", "H"], 2]],
    "what is no data under deep lists": [["factory", "int"], *[["list", 1]] * 5000],
}
CHECK = ProgramCheck((CallCase("f", "[]", "[1]"),))


def judged(result: bytes) -> str:
    """What is wrong with what a function gave; for the process that may die of it."""
    language = LANGUAGES["python"]
    trial = prepare(CHECK.cases[0], 0, language, CHECK)
    outcome = CommandOutcome(result=result, exit_code=0)
    return judge(trial, outcome, CHECK, trial.command(1, 5, 1 << 30)).reason


def at_little_cost(call: Callable[..., T], *arguments: Any) -> T:
    """What a call gives back, in a process that it may kill and that has 30 seconds of the processor."""
    limit = (resource.RLIMIT_CPU, (30, 30))
    clean = multiprocessing.get_context("forkserver")  # a fork of this process may die of threads of gRPC in it
    with ProcessPoolExecutor(1, clean, initializer=resource.setrlimit, initargs=limit) as process:
        return process.submit(call, *arguments).result()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_value_is_a_wrong_one_and_costs_little(name: str) -> None:
    data = json.dumps(HOSTILE[name]).replace('"X"', "9" * 1_000_000)
    assert at_little_cost(judged, data.encode()) in ("wrong value", "the value is malformed")


def test_a_long_word_of_digits_costs_little_to_compare() -> None:
    long = "1" * 1_000_000 + "x 1" + "1." * 500_000
    assert not at_little_cost(same_text, "3 4", long, Comparison.FLOAT)
    assert same_text("x=3.0", "x=3.0000001", Comparison.FLOAT)


def nested(depth: int, value: Any = 1) -> Any:
    for _ in range(depth):
        value = (value,)
    return value


def test_what_honest_programs_give_is_within_the_limits() -> None:
    for value in (
        {nested(MAX_DEPTH // 2)},
        {nested(500): [nested(5000)]},
        set(range(5000)),
        {key: {} for key in "abc"},
    ):
        assert encode(decode(encode(value))) == encode(value)
    with pytest.raises(NotDataError, match="same hash"):
        decode([*[["int", str(MODULUS * number)] for number in range(MAX_EQUAL_HASHES + 1)], ["set", 65]])
