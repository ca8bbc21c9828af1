"""Greatest common divisors, least common multiples and fractions in lowest terms."""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd as true_gcd
from random import Random

from espalier.training.tasks import Problem
from espalier.training.traces.arithmetic import partial_products
from espalier.training.traces.trace import Branch, Trace, majority

PRIMES = (2, 3, 5, 7, 11, 13)


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


def _common_primes(a: int, b: int) -> tuple[str, int]:
    """Take out common small primes; misses a large common prime."""
    divisor, lines = 1, [f"{a},{b}"]
    for prime in PRIMES:
        while a % prime == 0 and b % prime == 0:
            a, b, divisor = a // prime, b // prime, divisor * prime
            lines.append(f"by {prime}: {a},{b}")
        lines.append(f"by {prime} no")
    return ", ".join(lines), divisor


GCD_METHODS = (
    ("Euclid", _euclid),
    ("Euclid with nearest multiples", _nearest),
    ("halve and subtract", _halving),
    ("common primes", _common_primes),
)


def gcd(problem: Problem, rng: Random) -> Trace | None:
    """The greatest common divisor of two numbers."""
    a, b = problem.facts["numbers"]
    methods = []
    for plan, method in GCD_METHODS:
        work, value = method(a, b)
        methods.append(Branch(f" {plan}", f" {work} so {value}", str(value)))
    return majority(methods, problem.facts["answer"], rng)


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


def _lcm_methods(a: int, b: int) -> Iterator[Branch]:
    value = a * b // true_gcd(a, b)
    for plan, method in (("Euclid", _euclid), ("halving", _halving)):
        work, divisor = method(a, b)
        for x, y in ((a, b), (b, a)):
            multiplied, _ = partial_products(x, y // divisor)
            text = f" {work} so {divisor}; {y}/{divisor}={y // divisor}; {multiplied} so {value}"
            yield Branch(f" gcd by {plan}, then {x} times {y} over it", text, str(value))
    left, right = factors(a), factors(b)
    extra = list(left)
    for p in right:
        if p in extra:
            extra.remove(p)
    text, product = f" {a}={'*'.join(map(str, left))}; {b}={'*'.join(map(str, right))}; ", b
    text += f"{b} lacks {'*'.join(map(str, extra)) or 'none'}: {b}"
    for p in extra:
        product *= p
        text += f"*{p}={product}"
    yield Branch(" prime factors", f"{text} so {value}", str(value))
    high, low = max(a, b), min(a, b)
    tried, multiple, listed = 0, 0, ""
    while tried < 8 and (tried == 0 or multiple % low):
        tried, multiple = tried + 1, multiple + high
        listed += f" {multiple} rest {multiple % low},"
    found = multiple % low == 0
    end = f" so {multiple}" if found else " none"
    yield Branch(f" multiples of {high}, rests by {low}", listed + end, str(multiple) if found else None)


def lcm(problem: Problem, rng: Random) -> Trace | None:
    """The least common multiple of two numbers."""
    a, b = problem.facts["numbers"]
    return majority(list(_lcm_methods(a, b)), problem.facts["answer"], rng)


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


def _fraction_methods(n: int, d: int) -> Iterator[Branch]:
    for plan, method in GCD_METHODS[:3]:
        work, g = method(n, d)
        value = _ratio(n // g, d // g)
        text = f" {work} so {g}; {_division(n, g)}; {_division(d, g)}; so {value}"
        yield Branch(f" gcd by {plan}, then divide", text, value)
    work, value = _cancelled(n, d)
    yield Branch(" cancel small primes", f" {work} so {value}", value)


def fraction_simplification(problem: Problem, rng: Random) -> Trace | None:
    """A fraction in lowest terms."""
    facts = problem.facts
    answer = _ratio(facts["simplified_numerator"], facts["simplified_denominator"])
    methods = list(_fraction_methods(facts["numerator"], facts["denominator"]))
    return majority(methods, answer, rng)
