"""The math tasks: reasoning-gym's own generators and wording, at the difficulty of one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from random import Random
from typing import Any

import reasoning_gym
import sympy
from reasoning_gym.algebra.polynomial_equations import PolynomialEquationsConfig, PolynomialEquationsDataset

from espalier.training.tasks.task import Draft, Task
from espalier.verifiers.check import Check, ConstraintCheck, NumberUse, ReferenceCheck, Relation

DIFFICULTY: Mapping[str, Mapping[str, Any]] = {
    "chain_sum": {"min_terms": 4, "max_terms": 6, "min_digits": 2, "max_digits": 4},
    "countdown": {
        "min_numbers": 4,
        "max_numbers": 4,
        "min_value": 1,
        "max_value": 60,
        "min_target": 10,
        "max_target": 300,
    },
    "fraction_simplification": {"min_value": 1, "max_value": 150, "min_factor": 2, "max_factor": 60},
    "gcd": {"min_value": 10, "max_value": 2000},
    "lcm": {"min_value": 5, "max_value": 250},
    "number_sequence": {"min_terms": 5, "max_terms": 8, "max_complexity": 2},
    "polynomial_equations": {"max_value": 12},
    "products": {"min_digits": 2, "max_digits": 3},
    "puzzle24": {"min_value": 1, "max_value": 10},
    "simple_equations": {"min_terms": 2, "max_terms": 3, "min_value": 1, "max_value": 50},
}
"""How hard each task is: the settings of its reasoning-gym generator."""


class FactorableQuadratics(PolynomialEquationsDataset):  # type: ignore[misc]
    """Quadratic equations whose two roots are multiples of one half.

    The stock generator's equations nearly all have irrational roots, asked for to four decimals: no task for a small
    model. Only the choice of the polynomial is replaced; wording, solution and answer format are the library's.
    """

    def _generate_polynomial_expr(self, rng: Random, variable: str, degree: int, num_terms: int) -> sympy.Expr:
        x = sympy.Symbol(variable)
        bound = self.config.max_value
        first = rng.choice((1, 1, 1, 2)) * x + rng.choice((-1, 1)) * rng.randint(1, bound)
        second = rng.choice((1, 1, 2)) * x + rng.choice((-1, 1)) * rng.randint(0, bound)
        return sympy.expand(rng.choice((-1, 1, 1, 2)) * first * second)


@cache
def _dataset(name: str) -> Any:
    settings = {**DIFFICULTY[name], "seed": 0, "size": 1 << 60}
    if name == "polynomial_equations":
        return FactorableQuadratics(PolynomialEquationsConfig(min_degree=2, max_degree=2, **settings))
    return reasoning_gym.create_dataset(name, **settings)


def _numbers(facts: Mapping[str, Any]) -> str:
    return " ".join(map(str, sorted(facts["numbers"])))


def _number_use(facts: Mapping[str, Any]) -> Check:
    target = facts.get("target", 24)
    return ConstraintCheck((NumberUse(tuple(map(str, facts["numbers"])), str(target)),))


def _gym_task(
    name: str,
    check: Callable[[Mapping[str, Any]], Check],
    key: Callable[[Mapping[str, Any]], str],
) -> Task:
    def draw(number: int) -> Draft:
        entry = _dataset(name)[number]
        facts = {**entry["metadata"], "answer": entry["answer"]}
        return Draft(entry["question"].strip(), key(facts), check(facts), facts)

    return Task(name, draw)


def _reference(facts: Mapping[str, Any]) -> Check:
    return ReferenceCheck(facts["answer"])


TASKS: tuple[Task, ...] = (
    _gym_task("chain_sum", _reference, lambda f: f["expression"]),
    _gym_task("countdown", _number_use, lambda f: f"{_numbers(f)} = {f['target']}"),
    _gym_task(
        "fraction_simplification",
        lambda f: ReferenceCheck(f"{f['simplified_numerator']}/{f['simplified_denominator']}"),
        lambda f: f"{f['numerator']}/{f['denominator']}",
    ),
    _gym_task("gcd", _reference, _numbers),
    _gym_task("lcm", _reference, _numbers),
    _gym_task("number_sequence", _reference, lambda f: str(f["sequence"])),
    _gym_task("polynomial_equations", _reference, lambda f: f["polynomial_expr"].replace(f["variable"], "x")),
    _gym_task("products", _reference, lambda f: f["expression"]),
    _gym_task("puzzle24", _number_use, _numbers),
    _gym_task(
        "simple_equations",
        lambda f: ConstraintCheck((Relation(f["equation"]),)),
        lambda f: f["equation"].replace(f["variable"], "x"),
    ),
)
