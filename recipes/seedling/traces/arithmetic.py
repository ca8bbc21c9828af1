"""Sums and products: several ways to the same value, and a vote."""

from __future__ import annotations

import re
from collections.abc import Iterator
from random import Random

from espalier.training.tasks import Problem
from recipes.seedling.traces.trace import Demonstration, TraceBranch, concluded, majority


def running(terms: list[int]) -> tuple[str, int]:
    """Add terms one after the other: "57+87=144, 144-30=114"."""
    total = terms[0]
    lines = []
    for term in terms[1:]:
        lines.append(f"{total}{term:+d}={total + term}")
        total += term
    return ", ".join(lines) or str(total), total


def _signed_terms(expression: str) -> list[int]:
    return [int(text.replace(" ", "")) for text in re.findall(r"[+-]? ?\d+", expression)]


def _sum_methods(terms: list[int]) -> Iterator[TraceBranch]:
    def branch(plan: str, work: str, total: int) -> TraceBranch:
        return TraceBranch(f" {plan}", concluded(f" {work}", str(total)), str(total))

    yield branch("add from left to right", *running(terms))
    yield branch("add from right to left", *running(terms[::-1]))
    plus, minus = [t for t in terms if t > 0], [-t for t in terms if t < 0]
    if len(plus) > 1 and len(minus) > 1:
        (gain, high), (loss, low) = running(plus), running(minus)
        yield branch("gains minus losses", f"gains {gain}; losses {loss}; {high}-{low}={high - low}", high - low)
    pairs = [terms[i : i + 2] for i in range(0, len(terms), 2)]
    sums = [sum(pair) for pair in pairs]
    work = ", ".join(running(pair)[0] for pair in pairs if len(pair) > 1)
    yield branch("add in pairs", f"{work}; {running(sums)[0]}", sum(sums))
    yield branch("add in order of size", *running(sorted(terms, key=abs, reverse=True)))


def chain_sum(problem: Problem, rng: Random) -> Demonstration | None:
    """Add a chain of signed numbers."""
    terms = _signed_terms(problem.metadata["expression"])
    return majority(list(_sum_methods(terms)), problem.metadata["answer"], rng)


def partial_products(a: int, b: int) -> tuple[str, int]:
    """a times b by the digits of b: "205*800=164000, 205*30=6150, 164000+6150=170150, …"."""
    digits = [int(d) * 10**place for place, d in zip(range(len(str(b)) - 1, -1, -1), str(b), strict=True) if d != "0"]
    products = [a * digit for digit in digits]
    work = ", ".join(f"{a}*{digit}={product}" for digit, product in zip(digits, products, strict=True))
    return (f"{work}, {running(products)[0]}" if len(products) > 1 else work), a * b


def _columns(a: int, b: int) -> tuple[str, int]:
    """a times b column by column: the sums of digit products, each with its carry."""
    low_a, low_b = [int(d) for d in reversed(str(a))], [int(d) for d in reversed(str(b))]
    carry, written, lines = 0, "", []
    for column in range(len(low_a) + len(low_b) - 1):
        factors = [(low_a[i], low_b[column - i]) for i in range(len(low_a)) if 0 <= column - i < len(low_b)]
        total = sum(x * y for x, y in factors) + carry
        terms = "+".join(f"{x}*{y}" for x, y in factors) + (f"+{carry}" if carry else "")
        carry, digit = divmod(total, 10)
        written = f"{digit}{written}"
        lines.append(f"{terms}={total}")
    value = int(f"{carry}{written}")
    return f"{', '.join(lines)}; {value}", value


def _product_methods(a: int, b: int) -> Iterator[TraceBranch]:
    for left, right in ((a, b), (b, a)):
        work, value = partial_products(left, right)
        yield TraceBranch(f" split {right}", concluded(f" {work}", str(value)), str(value))
        up = -(-right // 10) * 10
        if up != right:
            work, high = partial_products(left, up)
            low = left * (up - right)
            work += f"; {left}*{up - right}={low}, {high}-{low}={high - low}"
            yield TraceBranch(f" round {right} up to {up}", concluded(f" {work}", str(value)), str(value))
    work, value = _columns(a, b)
    yield TraceBranch(" column by column", concluded(f" {work}", str(value)), str(value))


def products(problem: Problem, rng: Random) -> Demonstration | None:
    """Multiply two numbers."""
    a, b = (int(factor) for factor in problem.metadata["expression"].split(" * "))
    return majority(list(_product_methods(a, b)), problem.metadata["answer"], rng)
