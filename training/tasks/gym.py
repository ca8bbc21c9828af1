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
from espalier.verifiers.check import Check, ConstraintCheck, Domain, NumberUse, ReferenceCheck, Relation

Facts = Mapping[str, Any]
Settings = Mapping[str, Mapping[str, Any]]

DIFFICULTY: Settings = {
    "chain_sum": {"min_terms": 5, "max_terms": 8, "min_digits": 3, "max_digits": 6},
    "countdown": {
        "min_numbers": 4,
        "max_numbers": 4,
        "min_value": 1,
        "max_value": 99,
        "min_target": 10,
        "max_target": 500,
    },
    "fraction_simplification": {"min_value": 1, "max_value": 200, "min_factor": 2, "max_factor": 80},
    "gcd": {"min_value": 100, "max_value": 9999},
    "lcm": {"min_value": 10, "max_value": 600},
    "number_sequence": {"min_terms": 5, "max_terms": 8, "max_complexity": 2},
    "polynomial_equations": {"max_value": 25},
    "products": {"min_digits": 3, "max_digits": 4},
    "puzzle24": {"min_value": 1, "max_value": 10},
    "simple_equations": {"min_terms": 3, "max_terms": 4, "min_value": 1, "max_value": 100},
}
"""How hard each task is: the settings of its reasoning-gym generator."""

EASIER: Settings = {
    "chain_sum": {"min_terms": 2, "max_terms": 6, "min_digits": 1, "max_digits": 4},
    "countdown": {
        "min_numbers": 4,
        "max_numbers": 4,
        "min_value": 1,
        "max_value": 60,
        "min_target": 10,
        "max_target": 300,
    },
    "fraction_simplification": {"min_value": 1, "max_value": 99, "min_factor": 2, "max_factor": 20},
    "gcd": {"min_value": 2, "max_value": 999},
    "lcm": {"min_value": 2, "max_value": 200},
    "number_sequence": {"min_terms": 4, "max_terms": 8, "max_complexity": 1},
    "polynomial_equations": {"max_value": 12},
    "products": {"min_digits": 1, "max_digits": 3},
    "puzzle24": {"min_value": 1, "max_value": 10},
    "simple_equations": {"min_terms": 2, "max_terms": 3, "min_value": 1, "max_value": 50},
}
"""Easier settings, for a share of the training problems: people type small numbers, too."""


class FactorableQuadratics(PolynomialEquationsDataset):  # type: ignore[misc]
    """Quadratic equations whose two roots are multiples of one quarter.

    The stock generator's equations nearly all have irrational roots, asked for to four decimals: no task for a small
    model. Only the choice of the polynomial is replaced; wording, solution and answer format are the library's.
    """

    def _generate_polynomial_expr(self, rng: Random, variable: str, degree: int, num_terms: int) -> sympy.Expr:
        x = sympy.Symbol(variable)
        bound = self.config.max_value
        first = rng.choice((1, 1, 1, 2)) * x + rng.choice((-1, 1)) * rng.randint(1, bound)
        second = rng.choice((1, 1, 2, 4)) * x + rng.choice((-1, 1)) * rng.randint(0, bound)
        return sympy.expand(rng.choice((-1, 1, 1, 2)) * first * second)


@cache
def _dataset(name: str, easier: bool) -> Any:
    settings = {**(EASIER if easier else DIFFICULTY)[name], "seed": 0, "size": 1 << 60}
    if name == "polynomial_equations":
        return FactorableQuadratics(PolynomialEquationsConfig(min_degree=2, max_degree=2, **settings))
    return reasoning_gym.create_dataset(name, **settings)


def _numbers(facts: Facts) -> str:
    return " ".join(map(str, sorted(facts["numbers"])))


def _number_use(facts: Facts) -> Check:
    target = facts.get("target", 24)
    return ConstraintCheck((NumberUse(tuple(map(str, facts["numbers"])), str(target)),))


def _gym_task(name: str, check: Callable[[Facts], Check], key: Callable[[Facts], str], easier: bool) -> Task:
    def draw(number: int) -> Draft:
        entry = _dataset(name, easier)[number]
        facts = {**entry["metadata"], "answer": entry["answer"]}
        return Draft(entry["question"].strip(), key(facts), check(facts), facts)

    return Task(name, draw)


def _reference(facts: Facts) -> Check:
    return ReferenceCheck(facts["answer"])


def _all_roots(facts: Facts) -> Check:
    relation = f"{facts['polynomial_expr'].replace('**', '^')} = 0"
    return ConstraintCheck((Relation(relation, round_to=4, all_solutions=True),))


def _lowest_terms(facts: Facts) -> Check:
    value = f"{facts['numerator']}/{facts['denominator']}"
    return ConstraintCheck((Relation(f"answer = {value}"), Domain("lowest terms")))


def _substituted(facts: Facts) -> Check:
    return ConstraintCheck((Relation(facts["equation"]),))


_KINDS: tuple[tuple[str, Callable[[Facts], Check], Callable[[Facts], str]], ...] = (
    ("chain_sum", _reference, lambda f: f["expression"]),
    ("countdown", _number_use, lambda f: f"{_numbers(f)} = {f['target']}"),
    ("fraction_simplification", _lowest_terms, lambda f: f"{f['numerator']}/{f['denominator']}"),
    ("gcd", _reference, _numbers),
    ("lcm", _reference, _numbers),
    ("number_sequence", _reference, lambda f: str(f["sequence"])),
    ("polynomial_equations", _all_roots, lambda f: f["polynomial_expr"].replace(f["variable"], "x")),
    ("products", _reference, lambda f: f["expression"]),
    ("puzzle24", _number_use, _numbers),
    ("simple_equations", _substituted, lambda f: f["equation"].replace(f["variable"], "x")),
)

TASKS: tuple[Task, ...] = tuple(_gym_task(*kind, easier=False) for kind in _KINDS)
EASIER_TASKS: tuple[Task, ...] = tuple(_gym_task(*kind, easier=True) for kind in _KINDS)
