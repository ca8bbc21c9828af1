"""What only sympy decides, and that it cannot be misused."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from espalier.verifiers.check import MathOptions
from espalier.verifiers.math import symbolic
from espalier.verifiers.math.equivalence import equivalent
from espalier.verifiers.math.outcome import Equality
from espalier.verifiers.math.parameters import integers
from espalier.verifiers.math.parser import parse
from espalier.verifiers.math.symbolic import decide
from espalier.verifiers.math.tasks import compare, read

ROWS = [json.loads(line) for line in (Path(__file__).parents[1] / "math_cases.jsonl").read_text().splitlines()]
CASES = [row for row in ROWS if row.get("symbolic")]


def outcome(gold: str, claim: str) -> Equality:
    return compare(read(gold), read(claim), MathOptions())


def test_there_are_equal_and_different_pairs() -> None:
    assert sum(case["equal"] for case in CASES) >= 12
    assert sum(not case["equal"] for case in CASES) >= 10


@pytest.mark.parametrize("case", CASES, ids=[f"{case['gold']} | {case['answer']}" for case in CASES])
def test_a_pair_is_decided_here_and_nowhere_else(case: dict[str, Any]) -> None:
    (gold, *_), (claim, *_) = parse(case["gold"]), parse(case["answer"])
    before = equivalent(gold, claim, MathOptions())
    assert before.equal is None or (before.equal is False and integers(gold) | integers(claim)), before
    found = outcome(case["gold"], case["answer"])
    assert found.equal is case["equal"], found
    assert found == decide(gold, claim)
    assert not found.equal or "sympy" in found.rule


def test_a_name_is_whole_only_when_the_answer_says_so() -> None:
    assert outcome(r"\sin(n\pi)", "0").equal is not True
    assert outcome(r"\sin(x\pi), x \in \mathbb{Z}", "0").equal is True


@pytest.mark.parametrize(
    ("gold", "claim"),
    [
        (r"\sin x > 0", r"(0, \pi)"),
        (r"\ln x + \ln(x-1) = \ln 6", r"x \in \{-2, 3\}"),
        (r"\cos x \ge 1", r"x \in \{0\}"),
    ],
)
def test_what_solveset_is_known_to_get_wrong_is_undecided(gold: str, claim: str) -> None:
    assert outcome(gold, claim).equal is None


def test_solutions_that_a_relation_contradicts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symbolic.sympy, "solveset", lambda *args: symbolic.sympy.Interval.open(1, symbolic.sympy.oo))
    found = outcome("e^x > 1", "x > 1")
    assert found.equal is None


def test_an_interval_with_its_ends_in_the_wrong_order_is_not_the_empty_set() -> None:
    assert outcome("e^x < 0", "(5, 1)").equal is not True
    assert outcome("e^x < 0", "no solution").equal is True


def test_large_trees_and_large_numbers_do_not_reach_sympy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symbolic.sympy, "simplify", lambda *args: pytest.fail("simplify was called"))
    many = "+".join(rf"\gcd(a, {n})" for n in range(2, 60))
    for text in (many, r"\gcd(a, 9^{9^{9}})", r"\gcd(a, 2^{33})", r"\gcd(a, 100!)", rf"\gcd(a, {10**100})"):
        assert outcome(text, r"\gcd(b, a)").equal is not True


def test_a_comparison_that_takes_long_is_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    def forever(expression: object) -> object:
        while True:
            pass

    monkeypatch.setattr(symbolic, "SECONDS", 0.05)
    monkeypatch.setattr(symbolic.sympy, "simplify", forever)
    (gold,), (claim,) = parse(r"\gcd(a, b) + 1"), parse(r"\gcd(b, a) + 2")
    found = decide(gold, claim)
    assert found.equal is None
    assert "within" in found.rule


def test_nothing_here_lets_sympy_read_a_text() -> None:
    names = {node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
             for node in ast.walk(ast.parse(inspect.getsource(symbolic)))}  # fmt: skip
    assert "Rational" in names
    assert not names & {"sympify", "parse_expr", "parse_latex", "lambdify", "eval", "exec"}


def test_sympy_is_imported_only_when_it_is_needed() -> None:
    script = """
import sys
from espalier.verifiers.math.tasks import handle

def ask(gold, claim):
    return handle({"task": "equivalent", "gold": gold, "claim": claim, "options": {}})["equal"]

print(ask("x^2 - 1", "(x-1)(x+1)"), "sympy" in sys.modules)
print(ask("e^x > 1", "x > 0"), "sympy" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False", "True", "True"]
