"""The same problems as a person would type them, so that the model does not depend on one wording."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from espalier.training.tasks.task import Problem

Facts = Mapping[str, Any]


def _list(numbers: Sequence[int]) -> str:
    return f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def _fraction(facts: Facts) -> str:
    return f"{facts['numerator']}/{facts['denominator']}"


def _examples(text: str) -> str:
    return ", ".join(text.splitlines()[1:])


_WORDINGS: Mapping[str, Sequence[Callable[[Facts], str]]] = {
    "chain_sum": (
        lambda f: f"What is {f['expression']}?",
        lambda f: f"Compute {f['expression']}.",
        lambda f: f"{f['expression']} =",
    ),
    "countdown": (
        lambda f: f"Using the numbers {_list(f['numbers'])}, each once, make {f['target']}",
        lambda f: f"Make {f['target']} from {_list(f['numbers'])}, using each number once.",
        lambda f: f"Reach {f['target']} with {', '.join(map(str, f['numbers']))}",
    ),
    "fraction_simplification": (
        lambda f: f"Simplify {_fraction(f)}",
        lambda f: f"Reduce {_fraction(f)} to lowest terms.",
        lambda f: f"Simplify the fraction {_fraction(f)}.",
    ),
    "gcd": (
        lambda f: f"What is the greatest common divisor of {_list(f['numbers'])}?",
        lambda f: f"gcd of {_list(f['numbers'])}",
        lambda f: f"gcd({', '.join(map(str, f['numbers']))})",
    ),
    "lcm": (
        lambda f: f"What is the least common multiple of {_list(f['numbers'])}?",
        lambda f: f"lcm of {_list(f['numbers'])}",
        lambda f: f"lcm({', '.join(map(str, f['numbers']))})",
    ),
    "number_sequence": (
        lambda f: f"What comes next: {', '.join(map(str, f['sequence'][:-1]))}, ?",
        lambda f: f"Continue the sequence {', '.join(map(str, f['sequence'][:-1]))}",
        lambda f: f"What is the next term of {', '.join(map(str, f['sequence'][:-1]))}?",
    ),
    "polynomial_equations": (
        lambda f: f"Solve {f['polynomial_expr']} = 0",
        lambda f: f"Solve {f['polynomial_expr'].replace('**', '^')} = 0 for {f['variable']}.",
        lambda f: f"Find the real roots of {f['polynomial_expr']} = 0",
    ),
    "products": (
        lambda f: f"What is {f['expression']}?",
        lambda f: f"Compute {f['expression'].replace(' * ', ' times ')}.",
        lambda f: f"{f['expression']} =",
    ),
    "puzzle24": (
        lambda f: f"Make 24 from {_list(f['numbers'])}.",
        lambda f: f"Using the numbers {_list(f['numbers'])}, each once, make 24",
    ),
    "simple_equations": (
        lambda f: f"Solve {f['equation']}",
        lambda f: f"Solve {f['equation'].replace('*', '')} for {f['variable']}.",
        lambda f: f"What is {f['variable']} if {f['equation']}?",
    ),
}


def reword(problem: Problem, rng: Random) -> str:
    """The problem's text in other words, with nothing changed in what is asked."""
    if problem.task == "programming":
        return f"Write a function f(xs) with {_examples(problem.text)}"
    return rng.choice(_WORDINGS[problem.task])(problem.facts)
