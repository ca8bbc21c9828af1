"""Search programs that write the traces the bundled model is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from espalier.training.tasks import Problem
from recipes.seedling.traces import arithmetic, divisors, equations, expressions, programming, sequences
from recipes.seedling.traces.trace import Demonstration, Search, TraceBlock, TraceBranch

__all__ = ["SEARCHES", "Demonstration", "Search", "TraceBlock", "TraceBranch", "write"]

SEARCHES: Mapping[str, Search] = {
    "chain_sum": arithmetic.chain_sum,
    "countdown": expressions.search,
    "fraction_simplification": divisors.fraction_simplification,
    "gcd": divisors.gcd,
    "lcm": divisors.lcm,
    "number_sequence": sequences.number_sequence,
    "polynomial_equations": equations.polynomial_equations,
    "products": arithmetic.products,
    "programming": programming.search,
    "puzzle24": expressions.search,
    "simple_equations": equations.simple_equations,
}
"""The search program of every task."""

ATTEMPTS = 6


def write(problem: Problem, rng: Random) -> Demonstration | None:
    """A trace that solves the problem, or None if `ATTEMPTS` samples of plans do not."""
    search = SEARCHES[problem.task]
    return next((trace for _ in range(ATTEMPTS) if (trace := search(problem, rng)) is not None), None)
