"""Linear and quadratic equations in one unknown: different approaches, and substitution."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from math import gcd, isqrt
from random import Random

from espalier.training.tasks import Problem
from recipes.seedling.traces.trace import Demonstration, TraceBranch, concluded, majority

_TERM = re.compile(r"([+-]?)(?:(\d+)\*?)?([a-z](?:\*\*(\d+))?)?")


def coefficients(expression: str) -> dict[int, int]:
    """Coefficients by power of an expanded polynomial in one unknown: "20*h + 65" → {1: 20, 0: 65}."""
    found: dict[int, int] = {}
    for sign, number, unknown, power in _TERM.findall(expression.replace(" ", "")):
        if not number and not unknown:
            continue
        degree = int(power or 1) if unknown else 0
        found[degree] = found.get(degree, 0) + int(f"{sign}{number or 1}")
    return found


def _quotient(total: int, a: int) -> str:
    """total / a for an exact division, digit by digit."""
    size, lines, rest = abs(total // a), [], abs(total)
    for place in range(len(str(size)) - 1, -1, -1):
        part = size // 10**place % 10 * 10**place
        if part:
            lines.append(f"{abs(a)}*{part}={abs(a) * part}, {rest}-{abs(a) * part}={rest - abs(a) * part}")
            rest -= abs(a) * part
    return ", ".join(lines) or "0"


def _linear_methods(a: int, b: int, c: int, x: str, rng: Random) -> Iterator[TraceBranch]:
    root = (c - b) // a
    end = f"so {x}=\\boxed{{{root}}}"

    def isolate(a: int, b: int, c: int) -> str:
        moved = f"{c}{-b:+d}={c - b}; " if b else ""
        return f"{moved}{c - b}/{a}: {_quotient(c - b, a)}"

    yield TraceBranch(f" isolate {x}", f" {isolate(a, b, c)} {end}", str(root))
    check = f"{a}*{root}={a * root}, {a * root}{b:+d}={a * root + b}"
    yield TraceBranch(f" isolate {x} and substitute", f" {isolate(a, b, c)}; {check} ok {end}", str(root))
    divisor = gcd(gcd(a, b), c)
    if divisor > 1:
        a1, b1, c1 = a // divisor, b // divisor, c // divisor
        work = f" {a1}*{x}{b1:+d}={c1}; {isolate(a1, b1, c1)} {end}"
        yield TraceBranch(f" divide all by {divisor}", work, str(root))
    guess = rng.randint(1, 9) * rng.choice((1, 10, 10))
    off = c - (a * guess + b)
    work = f" {a}*{guess}={a * guess}, {a * guess}{b:+d}={a * guess + b}, {c}-{a * guess + b}={off}"
    if b < 0 or a * guess + b < 0:
        work = work.replace(f"{c}-{a * guess + b}=", f"{c} less {a * guess + b} is ")
    work += f"; {off}/{a}: {_quotient(off, a)}; {guess}{root - guess:+d}={root} {end}"
    yield TraceBranch(f" try {x}={guess} and correct", work, str(root))


def simple_equations(problem: Problem, rng: Random) -> Demonstration | None:
    """One linear equation with a whole solution."""
    left, right = problem.metadata["equation"].split(" = ")
    found, x = coefficients(left), problem.metadata["variable"]
    a, b, c = found.get(1, 0), found.get(0, 0), int(right)
    if a == 0:
        return None
    return majority(list(_linear_methods(a, b, c, x, rng)), problem.metadata["answer"], rng)


def decimal(value: Fraction) -> str:
    """A root as the problem's wording wants it: 4.0, -1.5, 0.3333."""
    return str(round(float(value), 4))


def _answer(roots: list[Fraction]) -> str:
    return ", ".join(decimal(root) for root in sorted(set(roots)))


def _monic(a: int, b: int, c: int) -> tuple[str, int, int, int]:
    """Divide by the common factor and make the leading coefficient positive."""
    divisor = gcd(gcd(a, b), c) * (-1 if a < 0 else 1)
    text = f"{a},{b},{c} by {divisor}: {a // divisor},{b // divisor},{c // divisor}; " if divisor != 1 else ""
    return text, a // divisor, b // divisor, c // divisor


def _formula(a: int, b: int, c: int) -> tuple[str, list[Fraction]]:
    text, a, b, c = _monic(a, b, c)
    discriminant = b * b - 4 * a * c
    root = isqrt(discriminant)
    roots = [Fraction(-b - root, 2 * a), Fraction(-b + root, 2 * a)]
    text += f"D={b}^2-4*{a}*{c}={b * b}{-4 * a * c:+d}={discriminant}={root}^2; "
    text += f"({-b}-{root})/{2 * a}={-b - root}/{2 * a}={decimal(roots[0])}; "
    text += f"({-b}+{root})/{2 * a}={-b + root}/{2 * a}={decimal(roots[1])}"
    return text, roots


def _splitting(a: int, b: int, c: int) -> tuple[str, list[Fraction]]:
    """Two numbers with product a*c and sum b, found by trying divisors."""
    text, a, b, c = _monic(a, b, c)
    product = a * c
    lines = [f"product {product} sum {b}"]
    if product == 0:
        p, q = 0, b
        lines.append(f"0+{b}={b} yes" if b >= 0 else f"0{b}={b} yes")
    else:
        for d in range(1, isqrt(abs(product)) + 1):
            if product % d:
                continue
            e = product // d
            candidates = [(d, e), (-d, -e)]
            p, q = min(candidates, key=lambda pair: abs(pair[0] + pair[1] - b))
            lines.append(f"{p}{q:+d}={p + q} {'yes' if p + q == b else 'no'}")
            if p + q == b:
                break
    roots = [Fraction(-p, a), Fraction(-q, a)]
    text += f"{', '.join(lines)}; {-p}/{a}={decimal(roots[0])}, {-q}/{a}={decimal(roots[1])}"
    return text, roots


def _trial(a: int, b: int, c: int, rng: Random) -> tuple[str, list[Fraction]] | None:
    """Substitute whole numbers until one is a root; the other root follows from the sum of the roots."""
    text, a, b, c = _monic(a, b, c)
    whole = [r for r in range(-40, 41) if a * r * r + b * r + c == 0]
    if not whole:
        return None
    hit = rng.choice(whole)
    tries = [r for r in range(-40, 41) if r and a * r * r + b * r + c != 0 and c % r == 0]
    rng.shuffle(tries)
    lines = []
    for r in [*tries[: rng.randint(0, 3)], hit]:
        value = a * r * r + b * r + c
        lines.append(f"{r}: {a * r * r}{b * r:+d}{c:+d}={value}")
    other = Fraction(-b, a) - hit
    text += f"{', '.join(lines)} root; sum {-b}/{a}={decimal(Fraction(-b, a))}, other {decimal(other)}"
    return text, [Fraction(hit), other]


def polynomial_equations(problem: Problem, rng: Random) -> Demonstration | None:
    """One quadratic equation with rational roots."""
    found = coefficients(problem.metadata["polynomial_expr"])
    a, b, c = (found.get(degree, 0) for degree in (2, 1, 0))
    if a == 0:
        return None
    attempts = [
        ("the formula", _formula(a, b, c)),
        ("split the middle term", _splitting(a, b, c)),
        ("try whole numbers", _trial(a, b, c, rng)),
    ]
    methods = []
    for plan, attempt in attempts:
        if attempt is not None:
            work, roots = attempt
            methods.append(TraceBranch(f" {plan}", concluded(f" {work}", _answer(roots)), _answer(roots)))
    return majority(methods, problem.metadata["answer"], rng)
