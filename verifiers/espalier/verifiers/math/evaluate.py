"""The value of a tree: exactly as a fraction where it is one, and as a ball of any precision.

A ball (Arb, through python-flint) holds the true value for certain: balls that do not touch prove that two numbers
differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import pairwise

from flint import acb, arb, ctx, fmpq, fmpz, fmpz_poly

from espalier.verifiers.math.limits import LIMITS, LimitError, check_bits
from espalier.verifiers.math.tree import Apply, Based, Constant, Node, Number, Quantity, RelationNode, Symbol


class NotExact(ValueError):
    """The tree has no value that is a fraction (or none that was found)."""


class Undefined(ValueError):
    """The tree has no value: a division by zero, a logarithm of zero, a set where a number is due."""


def exact(node: Node, values: Mapping[str, Fraction] | None = None) -> Fraction:
    """The rational value of a tree.

    Args:
        node: The tree.
        values: The values of its variables.

    Raises:
        NotExact: It has a variable without a value, or is not recognised as rational.
        Undefined: It divides by zero.
        LimitError: A number would grow beyond the limits; it is not computed.
    """
    match node:
        case Number(value):
            return value
        case Based():
            return node.value
        case Symbol(name):
            if values is not None and name in values:
                return values[name]
            raise NotExact(f"the variable {name}")
        case Apply(head, args):
            rule = _EXACT.get(head)
            if rule is None:
                raise NotExact(head)
            result = rule(*(exact(arg, values) for arg in args))
            check_bits(result.numerator)
            check_bits(result.denominator)
            return result
        case _:
            raise NotExact(type(node).__name__)


def _sum(*terms: Fraction) -> Fraction:
    return sum(terms, Fraction(0))


def _product(*factors: Fraction) -> Fraction:
    result = Fraction(1)
    for factor in factors:
        result *= factor
        check_bits(result.numerator)
        check_bits(result.denominator)
    return result


def _quotient(over: Fraction, under: Fraction) -> Fraction:
    if not under:
        raise Undefined("a division by zero")
    return over / under


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        return _root(_power(base, Fraction(exponent.numerator)), Fraction(exponent.denominator))
    power = exponent.numerator
    if not base:
        if power < 0:
            raise Undefined("a division by zero")
        return Fraction(int(power == 0))
    if abs(base) == 1:
        return base if power % 2 else Fraction(1)
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if power.bit_length() > LIMITS.exponent_bits or (size - 1) * abs(power) > LIMITS.bits:
        raise LimitError("a power beyond the limits")
    return base**power


def _root(radicand: Fraction, index: Fraction) -> Fraction:
    if index.denominator != 1 or not 1 <= index <= 64:
        raise NotExact("a root of an unusual index")
    degree = int(index)
    if radicand < 0:
        if degree % 2 == 0:
            raise NotExact("an even root of a negative number")
        return -_root(-radicand, index)
    over, exact_over = fmpz(radicand.numerator).root(degree), True
    under = fmpz(radicand.denominator).root(degree)
    exact_over = over**degree == radicand.numerator and under**degree == radicand.denominator
    if not exact_over:
        raise NotExact("an irrational root")
    return Fraction(int(over), int(under))


def _integer(value: Fraction) -> int:
    if value.denominator != 1:
        raise NotExact("an integer is due")
    return value.numerator


def _factorial(value: Fraction) -> Fraction:
    argument = _integer(value)
    if argument < 0:
        raise Undefined("a factorial of a negative number")
    if argument > LIMITS.factorial:
        raise LimitError("a factorial beyond the limits")
    return Fraction(math.factorial(argument))


def _double_factorial(value: Fraction) -> Fraction:
    argument = _integer(value)
    if not 0 <= argument <= LIMITS.factorial:
        raise LimitError("a double factorial beyond the limits")
    return Fraction(math.prod(range(argument, 0, -2)))


def _binomial(upper: Fraction, lower: Fraction) -> Fraction:
    n, k = _integer(upper), _integer(lower)
    if not 0 <= n <= LIMITS.factorial:
        raise LimitError("a binomial beyond the limits")
    return Fraction(math.comb(n, k)) if k >= 0 else Fraction(0)


def _modulo(value: Fraction, modulus: Fraction) -> Fraction:
    if not modulus:
        raise Undefined("a remainder by zero")
    return value % modulus


_EXACT: dict[str, Callable[..., Fraction]] = {
    "+": _sum,
    "*": _product,
    "/": _quotient,
    "^": _power,
    "neg": lambda value: -value,
    "abs": abs,
    "%": lambda value: value / 100,
    "sqrt": lambda radicand: _root(radicand, Fraction(2)),
    "cbrt": lambda radicand: _root(radicand, Fraction(3)),
    "root": _root,
    "floor": lambda value: Fraction(math.floor(value)),
    "ceil": lambda value: Fraction(math.ceil(value)),
    "sgn": lambda value: Fraction((value > 0) - (value < 0)),
    "factorial": _factorial,
    "factorial2": _double_factorial,
    "binomial": _binomial,
    "mod": _modulo,
    "gcd": lambda *values: Fraction(math.gcd(*map(_integer, values))),
    "lcm": lambda *values: Fraction(math.lcm(*map(_integer, values))),
    "max": lambda *values: max(values),
    "min": lambda *values: min(values),
    "re": lambda value: value,
    "im": lambda value: Fraction(0),
    "conj": lambda value: value,
}


def ball(node: Node, bits: int, values: Mapping[str, Fraction] | None = None) -> acb:
    """A complex ball that holds the value of a tree.

    Args:
        node: The tree.
        bits: Working precision.
        values: The values of its variables.

    Raises:
        Undefined: It has no value, or a variable without one.
        LimitError: It goes beyond the static limits.
    """
    saved = ctx.prec
    ctx.prec = bits
    try:
        return _ball(node, values or {})
    finally:
        ctx.prec = saved


def from_fraction(value: Fraction) -> acb:
    """The ball of a fraction, at the current precision."""
    return acb(arb(fmpq(value.numerator, value.denominator)))


def _ball(node: Node, values: Mapping[str, Fraction]) -> acb:
    match node:
        case Number(value):
            return from_fraction(value)
        case Based():
            return from_fraction(node.value)
        case Symbol(name):
            if name not in values:
                raise Undefined(f"the variable {name} has no value")
            return from_fraction(values[name])
        case Constant("pi"):
            return acb.pi()
        case Constant("e"):
            return acb(1).exp()
        case Constant("i"):
            return acb(0, 1)
        case Apply(head, args):
            return _apply(head, args, values)
        case Quantity(value, unit):
            return _ball(value, values) * from_fraction(unit.factor)
        case _:
            raise Undefined(f"{type(node).__name__.lower()} is no number")


_SIMPLE: dict[str, Callable[..., acb]] = {
    "neg": lambda x: -x,
    "%": lambda x: x / 100,
    "°": lambda x: x * acb.pi() / 180,
    "rad": lambda x: x,
    "cis": lambda x: (x * acb(0, 1)).exp(),
    "sqrt": lambda x: x.sqrt(),
    "exp": lambda x: x.exp(),
    "ln": lambda x: x.log(),
    "log10": lambda x: x.log() / acb(10).log(),
    "log": lambda x, base: x.log() / base.log(),
    "sin": lambda x: x.sin(),
    "cos": lambda x: x.cos(),
    "tan": lambda x: x.tan(),
    "cot": lambda x: x.cot(),
    "sec": lambda x: x.sec(),
    "csc": lambda x: x.csc(),
    "sinh": lambda x: x.sinh(),
    "cosh": lambda x: x.cosh(),
    "tanh": lambda x: x.tanh(),
    "coth": lambda x: x.coth(),
    "asin": lambda x: x.asin(),
    "acos": lambda x: x.acos(),
    "atan": lambda x: x.atan(),
    "acot": lambda x: acb.pi() / 2 - x.atan(),
    "asec": lambda x: (1 / x).acos(),
    "acsc": lambda x: (1 / x).asin(),
    "asinh": lambda x: x.asinh(),
    "acosh": lambda x: x.acosh(),
    "atanh": lambda x: x.atanh(),
    "gamma": lambda x: x.gamma(),
    "factorial": lambda x: (x + 1).gamma(),
    "binomial": lambda n, k: (n + 1).gamma() * (k + 1).rgamma() * (n - k + 1).rgamma(),
    "floor": lambda x: acb(x.real.floor()),
    "ceil": lambda x: acb(x.real.ceil()),
    "abs": lambda x: acb(abs(x)),
    "re": lambda x: acb(x.real),
    "im": lambda x: acb(x.imag),
    "conj": lambda x: x.conjugate(),
    "sgn": lambda x: x.sgn(),
    "arg": lambda x: acb(x.arg()),
    "max": lambda *xs: acb(max_real([x.real for x in xs])),
    "min": lambda *xs: -acb(max_real([-x.real for x in xs])),
}
_INTEGER_HEADS = frozenset({"gcd", "lcm", "mod", "factorial2"})


def _piece(args: tuple[Node, ...], values: Mapping[str, Fraction]) -> Node:
    """The value of the piece whose condition holds; several may hold where they give one value."""
    pieces = list(zip(args[::2], args[1::2], strict=True))
    held = [value for value, condition in pieces if isinstance(condition, RelationNode) and _holds(condition, values)]
    held = held or [value for value, condition in pieces if condition == Symbol("otherwise")]
    if not held:
        raise Undefined("no piece for this value")
    first, *others = held
    for other in others:
        if not (_ball(first, values) - _ball(other, values)).contains(0):
            raise Undefined("cases that overlap")
    return first


_ORDERED: dict[str, Callable[[int], bool]] = {
    "=": lambda sign: sign == 0,
    "!=": lambda sign: sign != 0,
    "<": lambda sign: sign < 0,
    "<=": lambda sign: sign <= 0,
    ">": lambda sign: sign > 0,
    ">=": lambda sign: sign >= 0,
}


def _holds(condition: RelationNode, values: Mapping[str, Fraction]) -> bool:
    for (left, right), op in zip(pairwise(condition.sides), condition.ops, strict=True):
        if op not in _ORDERED:
            raise Undefined(f"a condition with {op}")
        difference = Apply("+", (left, Apply("neg", (right,))))
        try:
            gap = exact(difference, values)
            sign = (gap > 0) - (gap < 0)
        except NotExact:
            real = _ball(difference, values).real
            if real.contains(0):
                raise Undefined("a condition that cannot be told") from None
            sign = 1 if real > 0 else -1
        if not _ORDERED[op](sign):
            return False
    return True


def max_real(values: list[arb]) -> arb:
    """A ball that holds the largest of several real balls."""
    largest = values[0]
    for value in values[1:]:
        largest = largest.max(value)
    return largest


def _apply(head: str, args: tuple[Node, ...], values: Mapping[str, Fraction]) -> acb:
    if head == "+":
        total = acb(0)
        for arg in args:
            total += _ball(arg, values)
        return total
    if head == "*":
        product = acb(1)
        for arg in args:
            product *= _ball(arg, values)
        return product
    if head == "/":
        under = _ball(args[1], values)
        if under.is_zero():
            raise Undefined("a division by zero")
        return _ball(args[0], values) / under
    if head == "^":
        return _ball_power(args[0], args[1], values)
    if head in ("root", "cbrt"):
        index: Node = args[1] if head == "root" else Number(Fraction(3))
        return _ball_power(args[0], Apply("/", (Number(Fraction(1)), index)), values)
    if head in _INTEGER_HEADS:
        try:
            return from_fraction(exact(Apply(head, args), values))
        except NotExact as error:
            raise Undefined(f"{head} of numbers that are not whole") from error
    if head == "piecewise":
        return _ball(_piece(args, values), values)
    if head == "root_of":
        return _root_of(args)
    rule = _SIMPLE.get(head)
    if rule is None:
        raise Undefined(f"no value for {head}")
    return rule(*(_ball(arg, values) for arg in args))


def _ball_power(base: Node, exponent: Node, values: Mapping[str, Fraction]) -> acb:
    if base == Constant("e"):
        return _ball(exponent, values).exp()
    value = _ball(base, values)
    try:
        power = exact(exponent, values)
    except (NotExact, LimitError):
        return value ** _ball(exponent, values)
    if power.denominator == 1:
        if power.numerator.bit_length() > LIMITS.exponent_bits:
            raise LimitError("an exponent beyond the limits")
        if power < 0 and value.is_zero():
            raise Undefined("a division by zero")
        return value**power.numerator
    if power.denominator % 2 == 1 and value.imag.is_zero() and value.real < 0:
        # The real root of a negative number, as in school: (-8)^(1/3) = -2.
        positive = (-value) ** from_fraction(power)
        return -positive if power.numerator % 2 else positive
    return value ** from_fraction(power)


def real_root_balls(polynomial: fmpz_poly) -> list[arb]:
    """Balls around the real roots of a squarefree polynomial, ascending, at the current precision."""
    roots: list[acb] = [root for root, _ in polynomial.complex_roots()]  # type: ignore[misc, has-type]  # flint's stub
    return sorted((root.real for root in roots if root.imag.is_zero()), key=lambda root: root.mid())


def _root_of(args: tuple[Node, ...]) -> acb:
    """Root number args[0] of the real ones of the polynomial with the integer coefficients args[1:], constant first."""
    index, *coefficients = (exact(arg) for arg in args)
    return acb(real_root_balls(fmpz_poly([fmpz(c.numerator) for c in coefficients]))[int(index)])
