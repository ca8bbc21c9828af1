from __future__ import annotations

from typing import Any

import pytest

from espalier.verifiers.check import Constraint, Domain, NumberUse, Relation
from espalier.verifiers.math.recognise import recognise
from espalier.verifiers.math.tasks import handle

HUMAN: list[tuple[str, Constraint]] = [
    ("make 24 from 4 7 8 8", NumberUse(("4", "7", "8", "8"), "24")),
    ("Using the numbers 19, 36, 55 and 7, each once, make 65", NumberUse(("19", "36", "55", "7"), "65")),
    ("Use 3, 3, 8, 8 to make 24.", NumberUse(("3", "3", "8", "8"), "24")),
    ("solve 3x + 5 = 20", Relation("3x + 5 = 20", all_solutions=True)),
    ("If 2x + 3 = 11, what is x?", Relation("2x + 3 = 11", all_solutions=True)),
    ("Find x such that x^2 = 16.", Relation("x^2 = 16", all_solutions=True)),
    ("what is the gcd of 12 and 18", Relation("answer = gcd(12, 18)")),
    ("Find the least common multiple of 4, 6, and 10.", Relation("answer = lcm(4, 6, 10)")),
    ("What is 12 * 13?", Relation("answer = 12 * 13")),
]


@pytest.mark.parametrize(("problem", "constraint"), HUMAN)
def test_a_clear_problem_is_recognised(problem: str, constraint: Constraint) -> None:
    check = recognise(problem)
    assert check is not None
    assert check.constraints[0] == constraint


@pytest.mark.parametrize(
    "problem",
    [
        "",
        "What is the capital of France?",
        "Find the sum of all x such that x^2 = 4.",
        "How many ways are there to make 24 using 4, 6, 8?",
        "Solve for x: 2x + a = 3",
        "What is 2+2 in base 3?",
        "What is 22/7 rounded to two decimal places?",
        "Use 3 4 to make a story",
        "Let f(x) = x^2. What is f(3) + gcd of 12 and 18 times 2?",
        "What is the remainder when 2^100 is divided by 7?",
        "x" * 5000,
    ],
)
def test_a_doubtful_problem_is_left_alone(problem: str) -> None:
    assert recognise(problem) is None


def judged(problem: str, claim: str) -> dict[str, Any]:
    return handle({"task": "constraints", "claim": claim, "constraints": [], "problem": problem})


RECOGNISED = [
    *("countdown", "puzzle24", "simple_equations", "polynomial_equations", "chain_sum", "basic_arithmetic", "products"),
    *("gcd", "lcm", "count_bits", "fraction_simplification", "prime_factorization", "complex_arithmetic"),
]


@pytest.mark.parametrize("task", RECOGNISED)
def test_generated_problems_accept_their_answers_and_reject_others(task: str) -> None:
    reasoning_gym = pytest.importorskip("reasoning_gym", reason="the extra `train` is not installed")
    entries = list(reasoning_gym.create_dataset(task, seed=11, size=30))
    recognised = [entry for entry in entries if recognise(entry["question"]) is not None]
    assert len(recognised) >= 28
    for entry in recognised:
        assert judged(entry["question"], entry["answer"])["satisfied"], entry
        assert not judged(entry["question"], f"7 + {entry['answer'].strip('$').split(',')[0]}")["satisfied"], entry


def test_a_calculation_left_to_the_reader_is_no_answer() -> None:
    check = recognise("What is 12 * 13?")
    assert check is not None
    assert Domain("evaluated") in check.constraints
    assert judged("What is 12 * 13?", "156")["satisfied"]
    assert not judged("What is 12 * 13?", "12 * 13")["satisfied"]
