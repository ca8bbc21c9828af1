"""The math tasks: reasoning-gym's own generators and wording, at the difficulty of one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from random import Random
from typing import Any

import reasoning_gym
import sympy
from reasoning_gym.algebra.polynomial_equations import PolynomialEquationsConfig, PolynomialEquationsDataset
from reasoning_gym.cognition import number_sequences
from reasoning_gym.games.puzzle24 import QUESTION_TEMPLATE, Puzzle24Config, Puzzle24Dataset

from espalier.training.tasks.task import Draft, Task
from espalier.verifiers.check import Check, ConstraintCheck, Domain, NumberUse, ReferenceCheck, Relation

Facts = Mapping[str, Any]
GeneratorSettings = Mapping[str, Mapping[str, Any]]

DIFFICULTY: GeneratorSettings = {
    "chain_sum": {"min_terms": 10, "max_terms": 14, "min_digits": 6, "max_digits": 9},
    "countdown": {
        "min_numbers": 4,
        "max_numbers": 4,
        "min_value": 1,
        "max_value": 99,
        "min_target": 10,
        "max_target": 900,
    },
    "fraction_simplification": {"min_value": 1, "max_value": 500, "min_factor": 2, "max_factor": 200},
    "gcd": {"min_numbers": 2, "max_numbers": 3, "min_value": 10000, "max_value": 999999},
    "lcm": {"min_numbers": 2, "max_numbers": 3, "min_value": 10, "max_value": 999},
    "number_sequence": {"min_terms": 5, "max_terms": 8, "max_complexity": 2},
    "polynomial_equations": {"max_value": 30},
    "products": {"min_digits": 5, "max_digits": 7},
    "puzzle24": {"min_value": 5, "max_value": 40},
    "simple_equations": {"min_terms": 4, "max_terms": 6, "min_value": 10, "max_value": 600},
}
"""How hard each task is: the settings of its reasoning-gym generator."""

EASIER: GeneratorSettings = {
    "chain_sum": {"min_terms": 2, "max_terms": 6, "min_digits": 1, "max_digits": 4},
    "countdown": {
        "min_numbers": 4,
        "max_numbers": 4,
        "min_value": 1,
        "max_value": 60,
        "min_target": 10,
        "max_target": 300,
    },
    "fraction_simplification": {"min_value": 1, "max_value": 60, "min_factor": 2, "max_factor": 20},
    "gcd": {"min_numbers": 2, "max_numbers": 3, "min_value": 2, "max_value": 400},
    "lcm": {"min_numbers": 2, "max_numbers": 3, "min_value": 2, "max_value": 60},
    "number_sequence": {"min_terms": 4, "max_terms": 8, "max_complexity": 1},
    "polynomial_equations": {"max_value": 12},
    "products": {"min_digits": 1, "max_digits": 3},
    "puzzle24": {"min_value": 1, "max_value": 10},
    "simple_equations": {"min_terms": 2, "max_terms": 3, "min_value": 1, "max_value": 30},
}
"""Easier settings, for a share of the training problems and the demo: people type small numbers, too."""


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


class WiderPuzzle24Config(Puzzle24Config):  # type: ignore[misc]
    """The library's settings without its limit of 10 on the numbers."""

    def validate(self) -> None:
        if not 1 <= self.min_value <= self.max_value:
            raise ValueError(f"puzzle24 needs 1 <= min_value <= max_value, got {self.min_value} and {self.max_value}")


class WiderPuzzle24(Puzzle24Dataset):  # type: ignore[misc]
    """Puzzle 24 with larger numbers, made a hundred times faster.

    The stock generator evaluates random expressions with sympy until one is 24. This one does the same with whole
    numbers, from left to right. Only the choice of the numbers is replaced; the wording is the library's.
    """

    def __getitem__(self, idx: int) -> dict[str, Any]:
        rng = Random(self.seed + idx)
        value, numbers = 0, [0]
        while value != 24:
            numbers = [rng.randint(self.config.min_value, self.config.max_value) for _ in range(4)]
            value = numbers[0]
            for number in numbers[1:]:
                value = _apply(rng.choice(self.config.operators), value, number)
        listed, operators = ", ".join(map(str, numbers)), ", ".join(self.config.operators)
        question = QUESTION_TEMPLATE.format(numbers=listed, operators=operators)
        return {"question": question, "answer": "", "metadata": {"numbers": numbers}}


class BoundedRule(number_sequences.PatternRule):  # type: ignore[misc]
    """A rule of a number sequence that ends where the library would not use the sequence any more.

    The stock rule squares on and rejects the sequence afterwards: one problem in some hundred takes seconds, for
    numbers with millions of digits. The library treats an overflow as a rejection, so the problems are the same.
    """

    def apply(self, sequence: list[int], position: int) -> int:
        term: int = super().apply(sequence, position)
        if abs(term) > 1000:
            raise OverflowError("no term of a sequence is above 1000")
        return term


number_sequences.PatternRule = BoundedRule


def _apply(operator: str, left: int, right: int) -> int:
    """`left operator right`; a division that leaves a rest becomes a subtraction, as in the library."""
    match operator:
        case "+":
            return left + right
        case "*":
            return left * right
        case "/" if left % right == 0:
            return left // right
    return left - right


def _dataset(name: str, settings: Mapping[str, Any]) -> Any:
    endless = {**settings, "seed": 0, "size": 1 << 60}
    if name == "polynomial_equations":
        return FactorableQuadratics(PolynomialEquationsConfig(min_degree=2, max_degree=2, **endless))
    if name == "puzzle24":
        return WiderPuzzle24(WiderPuzzle24Config(**endless))
    return reasoning_gym.create_dataset(name, **endless)


def _numbers(facts: Facts) -> str:
    return " ".join(map(str, sorted(facts["numbers"])))


def _number_use(facts: Facts) -> Check:
    target = facts.get("target", 24)
    return ConstraintCheck((NumberUse(tuple(map(str, facts["numbers"])), str(target)),))


def _gym_task(
    name: str, check: Callable[[Facts], Check], key: Callable[[Facts], str], settings: Mapping[str, Any]
) -> Task:
    entries = cache(lambda: _dataset(name, settings))

    def draw(number: int) -> Draft:
        entry = entries()[number]
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

TASKS: tuple[Task, ...] = tuple(_gym_task(*kind, DIFFICULTY[kind[0]]) for kind in _KINDS)
EASIER_TASKS: tuple[Task, ...] = tuple(_gym_task(*kind, EASIER[kind[0]]) for kind in _KINDS)


def tuned(name: str, settings: Mapping[str, Any]) -> Task:
    """The task of this name at other settings of its generator, for models too small for the usual ones.

    Raises:
        ValueError: there is no such task, or its generator has no such settings.
    """
    kind = next((kind for kind in _KINDS if kind[0] == name), None)
    if kind is None:
        raise ValueError(f"task {name!r} has no settings; these have: {', '.join(kind[0] for kind in _KINDS)}")
    found = _gym_task(*kind, settings)
    try:
        found.draw(0)
    except (TypeError, AssertionError, ValueError) as error:
        raise ValueError(f"settings of task {name!r}: {error}") from None
    return found
