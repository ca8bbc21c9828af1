"""Greatest common divisors, least common multiples and fractions in lowest terms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from random import Random

from espalier.training.tasks import Problem
from recipes.seedling.traces.arithmetic import partial_products
from recipes.seedling.traces.trace import Demonstration, TraceBranch, concluded, majority

PRIMES = (2, 3, 5, 7, 11, 13)
MULTIPLES = 8
"""Multiples that a step lists before it gives up."""

Algorithm = Callable[[int, int], tuple[str, int]]
"""A way to the greatest common divisor of two numbers: the work and the value."""


def _euclid(a: int, b: int) -> tuple[str, int]:
    lines = []
    high, low = max(a, b), min(a, b)
    while low:
        quotient, rest = divmod(high, low)
        lines.append(f"{high}-{low}*{quotient}={high}-{low * quotient}={rest}")
        high, low = low, rest
    return ", ".join(lines), high


def _nearest(a: int, b: int) -> tuple[str, int]:
    """Euclid's algorithm with the remainder of least absolute value."""
    lines = []
    high, low = max(a, b), min(a, b)
    while low:
        quotient = (2 * high + low) // (2 * low)
        rest = high - quotient * low
        lines.append(f"{low}*{quotient}={low * quotient} off {high} by {abs(rest)}")
        high, low = low, abs(rest)
    return ", ".join(lines), high


def _halving(a: int, b: int) -> tuple[str, int]:
    """The binary algorithm: halve even numbers, subtract odd ones."""
    factor, lines = 1, [f"{a},{b}"]
    while a != b:
        if a % 2 == 0 and b % 2 == 0:
            a, b, factor = a // 2, b // 2, factor * 2
        elif a % 2 == 0:
            a //= 2
        elif b % 2 == 0:
            b //= 2
        elif a > b:
            a -= b
        else:
            b -= a
        lines.append(f"{a},{b}")
    return f"{' > '.join(lines)}; {a}*{factor}={a * factor}", a * factor


def _common_primes(*numbers: int) -> tuple[str, int]:
    """Take out common small primes; misses a large common prime."""
    divisor, lines = 1, [",".join(map(str, numbers))]
    for prime in PRIMES:
        while all(n % prime == 0 for n in numbers):
            numbers, divisor = tuple(n // prime for n in numbers), divisor * prime
            lines.append(f"by {prime}: {','.join(map(str, numbers))}")
        lines.append(f"by {prime} no")
    return ", ".join(lines), divisor


PAIRWISE = (
    ("Euclid", _euclid),
    ("Euclid with nearest multiples", _nearest),
    ("halve and subtract", _halving),
)


def _gcd_methods(numbers: list[int], rng: Random) -> Iterator[TraceBranch]:
    def branch(plan: str, work: str, value: int) -> TraceBranch:
        return TraceBranch(f" {plan}", concluded(f" {work}", str(value)), str(value))

    for plan, method in PAIRWISE:
        first, *others = rng.sample(numbers, k=len(numbers))
        divisor, lines = first, []
        for other in others:
            work, divisor = method(divisor, other)
            lines.append(work)
        yield branch(plan, "; ".join(lines), divisor)
    yield branch("common primes", *_common_primes(*numbers))


def gcd(problem: Problem, rng: Random) -> Demonstration | None:
    """The greatest common divisor of two or more numbers."""
    return majority(list(_gcd_methods(problem.metadata["numbers"], rng)), problem.metadata["answer"], rng)


def factors(n: int) -> list[int]:
    """Prime factors in ascending order."""
    found, p = [], 2
    while p * p <= n:
        while n % p == 0:
            found.append(p)
            n //= p
        p += 1
    return [*found, n] if n > 1 else found


def _division(n: int, d: int) -> str:
    """n / d for an exact division, quotient digit by quotient digit: "70*200=14000, 17080-14000=3080, …"."""
    quotient, rest, lines = n // d, n, []
    for place in range(len(str(quotient)) - 1, -1, -1):
        part = quotient // 10**place % 10 * 10**place
        if part:
            lines.append(f"{d}*{part}={d * part}, {rest}-{d * part}={rest - d * part}")
            rest -= d * part
    return f"{', '.join(lines)} so {quotient}"


def _lcm_by_gcd(numbers: list[int], method: Algorithm) -> tuple[str, int]:
    """From left to right: the multiple so far times the next number over their divisor."""
    multiple, lines = numbers[0], []
    for number in numbers[1:]:
        work, divisor = method(multiple, number)
        multiplied, multiple = partial_products(multiple, number // divisor)
        lines.append(f"{work} so {divisor}; {number}/{divisor}={number // divisor}; {multiplied}")
    return "; ".join(lines), multiple


def _lcm_by_factors(numbers: list[int]) -> tuple[str, int]:
    """Multiply the largest number by the prime factors that the others have beyond it."""
    largest, *others = sorted(numbers, reverse=True)
    product, have = largest, factors(largest)
    lines = [f"{largest}={'*'.join(map(str, have))}"]
    for number in others:
        needed = factors(number)
        lacks = list((Counter(needed) - Counter(have)).elements())
        lines.append(f"{number}={'*'.join(map(str, needed))} lacks {'*'.join(map(str, lacks)) or 'none'}")
        for p in lacks:
            have.append(p)
            lines[-1] += f", {product}*{p}={product * p}"
            product *= p
    return "; ".join(lines), product


def _lcm_methods(numbers: list[int], rng: Random) -> Iterator[TraceBranch]:
    def branch(plan: str, work: str, value: int) -> TraceBranch:
        return TraceBranch(f" {plan}", concluded(f" {work}", str(value)), str(value))

    for plan, method in (("Euclid", _euclid), ("halving", _halving)):
        for _ in range(2):
            order = rng.sample(numbers, k=len(numbers))
            yield branch(f"gcd by {plan}, in the order {','.join(map(str, order))}", *_lcm_by_gcd(order, method))
    yield branch("prime factors", *_lcm_by_factors(numbers))
    largest, *others = sorted(numbers, reverse=True)
    listed, multiple = "", 0
    for _ in range(MULTIPLES):
        multiple += largest
        rests = [multiple % other for other in others]
        listed += f" {multiple} rest {','.join(map(str, rests))};"
        if not any(rests):
            break
    plan = f" multiples of {largest}, rests by {','.join(map(str, others))}"
    if any(rests):
        yield TraceBranch(plan, f"{listed} none", None)
    else:
        yield TraceBranch(plan, concluded(listed, str(multiple)), str(multiple))


def lcm(problem: Problem, rng: Random) -> Demonstration | None:
    """The least common multiple of two or more numbers."""
    return majority(list(_lcm_methods(problem.metadata["numbers"], rng)), problem.metadata["answer"], rng)


def _cancelled(n: int, d: int) -> tuple[str, str]:
    lines = [f"{n}/{d}"]
    for prime in PRIMES:
        while n % prime == 0 and d % prime == 0:
            n, d = n // prime, d // prime
            lines.append(f"by {prime}: {n}/{d}")
        lines.append(f"by {prime} no")
    return ", ".join(lines), _ratio(n, d)


def _ratio(n: int, d: int) -> str:
    return str(n) if d == 1 else f"{n}/{d}"


def _fraction_methods(n: int, d: int) -> Iterator[TraceBranch]:
    for plan, method in PAIRWISE:
        work, g = method(n, d)
        value = _ratio(n // g, d // g)
        text = f" {work} so {g}; {_division(n, g)}; {_division(d, g)};"
        yield TraceBranch(f" gcd by {plan}, then divide", concluded(text, value), value)
    work, value = _cancelled(n, d)
    yield TraceBranch(" cancel small primes", concluded(f" {work}", value), value)


def fraction_simplification(problem: Problem, rng: Random) -> Demonstration | None:
    """A fraction in lowest terms."""
    facts = problem.metadata
    answer = _ratio(facts["simplified_numerator"], facts["simplified_denominator"])
    methods = list(_fraction_methods(facts["numerator"], facts["denominator"]))
    return majority(methods, answer, rng)
