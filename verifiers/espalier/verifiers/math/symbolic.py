"""The last stage of a comparison: proofs by sympy of what exact numbers, balls and polynomials leave undecided.

Runs only inside a worker process. The sympy objects are built from our own tree by their constructors, node by node;
sympy never reads a text. What goes in is bounded by :data:`NODES` and :data:`BITS`, and the time by :data:`SECONDS`.

An equality counts only when sympy simplifies the difference to exactly zero or finds the sets to be one; a difference
when balls are disjoint at an admissible point, or when sympy proves that the symmetric difference is not empty. Sets of
solutions are tested against the relation itself at points, because `solveset` has been seen to forget domains and
periods.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import reduce
from itertools import pairwise
from types import FrameType
from typing import Any

import sympy

from espalier.verifiers.math.equivalence import normal
from espalier.verifiers.math.evaluate import Undefined, ball
from espalier.verifiers.math.limits import LimitError
from espalier.verifiers.math.numeric import minus, sign
from espalier.verifiers.math.outcome import Equality
from espalier.verifiers.math.parameters import integers, membership, stated, without_memberships
from espalier.verifiers.math.relations import defined_name, is_inequality, solved_value
from espalier.verifiers.math.series import SERIES
from espalier.verifiers.math.sets import infinity
from espalier.verifiers.math.tree import (
    Apply,
    Based,
    Constant,
    Empty,
    Group,
    Interval,
    Node,
    Number,
    Region,
    RelationNode,
    Symbol,
    substitute,
    symbols,
    walk,
)

NODES = 80
"""Nodes of both sides together."""

BITS = 256
"""Size of an exact number."""

SECONDS = 1.0
"""CPU time of one comparison."""

_EXPONENT = 32
_POINTS = 12
_PRECISION = 256
_random = random.SystemRandom()

Expr = Any
Names = dict[str, Expr]


class Unsupported(ValueError):
    """The tree holds something that this stage does not pass on."""


class _OutOfTime(BaseException):
    """No Exception, so that nothing in sympy catches it."""


def decide(gold: Node, claim: Node) -> Equality:
    """Compare two answers that the other stages left undecided; undecided, too, when nothing can be proved."""
    if sum(1 for side in (gold, claim) for _ in walk(side)) > NODES:
        return Equality(None, f"more than {NODES} nodes for sympy")
    try:
        gold, claim = normal(gold), normal(claim)
        with _cpu_time(SECONDS):
            return _decide(gold, claim)
    except _OutOfTime:
        return Equality(None, f"sympy did not decide within {SECONDS:g} s")
    except (Unsupported, LimitError, Undefined) as error:
        return Equality(None, f"sympy: {error}")
    except MemoryError:
        raise
    except Exception as error:  # sympy raises what it likes on input beyond it
        return Equality(None, f"sympy: {type(error).__name__}")


@contextmanager
def _cpu_time(seconds: float) -> Iterator[None]:
    """Raise :class:`_OutOfTime` in this thread, the main one of a worker, after so much CPU time."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise _OutOfTime

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _decide(gold: Node, claim: Node) -> Equality:
    whole = integers(gold) | integers(claim)
    kinds = stated(gold), stated(claim)
    if all(kinds) and set(kinds[0].values()) != set(kinds[1].values()):
        raise Unsupported("parameters of different kinds")
    for own, other in ((kinds[0], claim), (kinds[1], gold)):
        if own.keys() - stated(other).keys() & symbols(other):
            raise Unsupported("a kind of numbers that one side does not state")
    if any(_restricted(side) for side in (gold, claim)):
        raise Unsupported("an unknown that must be whole")
    images = [isinstance(side, Apply) and side.head == "image" for side in (gold, claim)]
    gold, claim = without_memberships(gold), without_memberships(claim)
    if _is_set(gold) or _is_set(claim):
        return _same_set(gold, claim)
    if isinstance(gold, RelationNode) and isinstance(claim, RelationNode) and defined_name(gold) != defined_name(claim):
        raise Unsupported("equations of different unknowns")
    left, right = _value(gold), _value(claim)
    if all(len(kind) == 1 for kind in kinds):
        over_integers = "Z" in kinds[0].values()
        named = [image or _is_solution(side) for image, side in zip(images, (gold, claim), strict=True)]
        if all(named) or (over_integers and _are_angles(gold, claim)):
            family = _same_family(left, right, next(iter(kinds[0])), next(iter(kinds[1])), both_ways=over_integers)
            if family is not None:
                return family
    if any(images):
        right = substitute(right, {name: Symbol(own) for own, name in zip(kinds[0], kinds[1], strict=False)})
    compared = _same_value(left, right, whole)
    if any(images) and compared.equal is not True:
        return Equality(None, "sympy: sets of values that cannot be told apart")  # {k^2} is {(k+1)^2}
    return compared


def _restricted(node: Node) -> bool:
    """Whether a name that must be whole is the unknown of a condition: its kind is part of the set."""
    if not isinstance(node, Group):
        return False  # a set that is built with its kind of numbers
    whole = stated(node).keys()
    conditions = [part for part in walk(node) if is_inequality(part) and membership(part) is None]
    return any(whole & symbols(part) for part in conditions)


def _value(node: Node) -> Node:
    """The value of a solved form, or the value that the node is."""
    value = solved_value(node) if isinstance(node, RelationNode) else node
    if not isinstance(value, Number | Based | Symbol | Constant | Apply):
        raise Unsupported("no single value")
    return value


# Values.


def _same_value(a: Node, b: Node, whole: frozenset[str]) -> Equality:
    names = symbols(a) | symbols(b)
    if names & whole and (point := _witness(a, b, names, whole)):
        return Equality(False, f"disjoint balls at {point}")
    known = {name: sympy.Symbol(name, integer=True) if name in whole else sympy.Symbol(name, real=True)
             for name in names}  # fmt: skip
    difference = _build(a, known) - _build(b, known)
    if sympy.simplify(difference) == 0:
        given = f", for whole {', '.join(sorted(names & whole))}" if names & whole else ""
        return Equality(True, f"sympy simplifies the difference to zero{given}")
    if any(isinstance(part, Apply) and part.head in SERIES for side in (a, b) for part in walk(side)):
        return _different_series(difference)
    return Equality(None, "sympy does not simplify the difference to zero")


def _different_series(difference: Expr) -> Equality:
    """Whether closed forms of sums, integrals and limits differ at a point: balls cannot tell of these."""
    point = dict(zip(sorted(difference.free_symbols, key=str), map(sympy.Integer, (3, 5, 7, 11)), strict=False))
    value = difference.subs(point).evalf(_DIGITS, strict=True)
    if value.is_number and value.is_finite and abs(value) > sympy.Float(10) ** (10 - _DIGITS):
        return Equality(False, "sympy: closed forms of different values")
    return Equality(None, "sympy does not simplify the difference to zero")


_DIGITS = 40


def _witness(a: Node, b: Node, names: frozenset[str], whole: frozenset[str]) -> str:
    """An admissible point where two values differ for certain, or "": whole numbers for the names that are whole."""
    difference = minus(a, b)
    for number in range(1, _POINTS + 1):
        drawn = {name: Fraction(_random.randrange(1, 1 << 40), 1 << 38) for name in sorted(names)}
        point = drawn | {name: Fraction(number) for name in names & whole}
        try:
            gap = ball(difference, _PRECISION, point)
        except (Undefined, LimitError, ZeroDivisionError):
            continue
        if gap.is_finite() and gap.imag.contains(0) and not gap.contains(0):
            return ", ".join(f"{name} = {float(value):.6g}" for name, value in point.items())
    return ""


def _is_solution(node: Node) -> bool:
    """Whether values for every whole number are meant as one set, as in "x = 2k"; "a_n = 2n" is a sequence."""
    name = defined_name(node)
    return isinstance(name, Symbol) and "_" not in name.name


def _are_angles(gold: Node, claim: Node) -> bool:
    bare = not any(isinstance(side, RelationNode) for side in (gold, claim))
    return bare and all(Constant("pi") in walk(side) for side in (gold, claim))


def _same_family(a: Node, b: Node, k: str, m: str, *, both_ways: bool) -> Equality | None:
    """Compare {a(k) : k ∈ Z} with {b(m) : m ∈ Z} when both are progressions; None when one is not.

    Not `both_ways`: k and m are natural numbers, and progressions have a first element.
    """
    integer = sympy.Symbol("k", integer=True)
    starts, steps = [], []
    for node, name in ((a, k), (b, m)):
        names = {other: integer if other == name else sympy.Symbol(other, real=True) for other in symbols(node)}
        value = sympy.expand(_build(node, names))
        start, step = value.coeff(integer, 0), value.coeff(integer, 1)
        if step == 0 or step.has(integer) or sympy.simplify(value - start - step * integer) != 0:
            return None
        starts.append(start)
        steps.append(step)
    ratio = sympy.simplify(steps[0] / steps[1])
    shift = sympy.simplify((starts[0] - starts[1]) / steps[1])
    if not both_ways and ratio.is_number:
        return Equality(bool(ratio == 1 and shift == 0), "sympy: progressions from a first element on")
    if ratio in (1, -1) and shift.is_integer is not None:
        same = bool(shift.is_integer)
        return Equality(
            same, f"sympy: progressions of one step, {'a whole' if same else 'no whole'} number of steps apart"
        )
    if ratio.is_number and ratio.is_real and ratio not in (1, -1):
        return Equality(False, "sympy: progressions of different steps")
    return Equality(None, "sympy: progressions that cannot be told apart")


# Sets of real numbers.


def _is_set(node: Node) -> bool:
    return isinstance(node, Interval | Region | Empty) or is_inequality(node)


def _same_set(gold: Node, claim: Node) -> Equality:
    unknowns = {name for side in (gold, claim) if (name := _unknown(side)) is not None}
    if len(unknowns) > 1:
        raise Unsupported("sets of different unknowns")
    unknown = next(iter(unknowns), "")
    left, right = _build_set(gold, unknown), _build_set(claim, unknown)
    if left == right:
        return Equality(True, f"sympy: both are {left}"[:200])
    parameters = left.free_symbols | right.free_symbols
    values = {name: sympy.Integer(2 + 3 * place) for place, name in enumerate(sorted(parameters, key=str))}
    apart = sympy.SymmetricDifference(left.subs(values), right.subs(values))
    if apart.is_empty is True and not parameters:
        return Equality(True, f"sympy: both are {left}"[:200])
    if apart.is_empty is False:
        return Equality(False, f"sympy: one is {left}, the other {right}"[:200])
    return Equality(None, "sympy: sets that cannot be told apart")


def _unknown(node: Node) -> str | None:
    """The variable that the relations of a set are about."""
    for part in walk(node):
        match part:
            case RelationNode((Symbol(name), _), ("∈",)):
                return name
            case RelationNode((_, Symbol(name), _)):
                return name
            case RelationNode((Symbol(name), other), _) | RelationNode((other, Symbol(name)), _) if name not in symbols(
                other
            ):
                return name
            case RelationNode() if len(symbols(part)) == 1:
                return next(iter(symbols(part)))
    return None


def _build_set(node: Node, unknown: str) -> Expr:
    """The sympy set of a tree, in the real numbers."""
    match node:
        case Symbol("reals"):
            return sympy.S.Reals
        case Symbol("Z"):
            return sympy.S.Integers
        case Symbol("Q"):
            return sympy.S.Rationals
        case Empty():
            return sympy.S.EmptySet
        case Interval(low, high, open_low, open_high):
            return _interval(low, high, open_low, open_high)
        case Group("tuple", (low, high)):
            return _interval(low, high, True, True)
        case Group("bracket", (low, high)):
            return _interval(low, high, False, False)
        case Group("set", items):
            return sympy.FiniteSet(*(_build(item, _reals(item)) for item in items))
        case Region("union", args):
            return sympy.Union(*(_build_set(arg, unknown) for arg in args))
        case Region("intersection", args):
            return sympy.Intersection(*(_build_set(arg, unknown) for arg in args))
        case Region("difference", (whole, part)):
            return sympy.Complement(_build_set(whole, unknown), _build_set(part, unknown))
        case RelationNode((low, Symbol(name), high), (first, second)) if (
            name == unknown and {first, second} <= {"<", "<="} and name not in symbols(low) | symbols(high)
        ):
            return _interval(low, high, first == "<", second == "<")
        case RelationNode((Symbol(name), end), (op,)) if name == unknown and name not in symbols(end) and op in _RAYS:
            return _RAYS[op](_end(end, _reals(end)))
        case RelationNode(sides, ops):
            pairs = zip(pairwise(sides), ops, strict=True)
            return reduce(sympy.Intersection, (_solve(left, op, right, unknown) for (left, right), op in pairs))
        case _:
            raise Unsupported("no set of real numbers")


def _reals(*nodes: Node) -> Names:
    return {name: sympy.Symbol(name, real=True) for node in nodes for name in symbols(node)}


def _interval(low: Node, high: Node, open_low: bool, open_high: bool) -> Expr:
    names = _reals(low, high)
    interval = sympy.Interval(_end(low, names), _end(high, names), open_low, open_high)
    if interval is sympy.S.EmptySet:
        raise Unsupported("an interval without numbers")  # its ends are in the wrong order: a slip, not an answer
    return interval


def _end(node: Node, names: Names) -> Expr:
    return infinity(node) * sympy.oo if infinity(node) else _build(node, names)


_RELATIONS: dict[str, Callable[[Expr, Expr], Expr]] = {
    "=": sympy.Eq,
    "!=": sympy.Ne,
    "<": sympy.Lt,
    "<=": sympy.Le,
    ">": sympy.Gt,
    ">=": sympy.Ge,
}
_RAYS: dict[str, Callable[[Expr], Expr]] = {
    "<": lambda end: sympy.Interval.open(-sympy.oo, end),
    "<=": lambda end: sympy.Interval(-sympy.oo, end),
    ">": lambda end: sympy.Interval.open(end, sympy.oo),
    ">=": lambda end: sympy.Interval(end, sympy.oo),
}
_PERIODIC = frozenset({"sin", "cos", "tan", "cot", "sec", "csc", "mod", "floor", "ceil"})


def _solve(left: Node, op: str, right: Node, unknown: str) -> Expr:
    """The real solutions of one relation in one unknown, tested at points."""
    if op == "∈" and left == Symbol(unknown):
        return _build_set(right, unknown)
    if op not in _RELATIONS or symbols(left) | symbols(right) != {unknown}:
        raise Unsupported("a relation that is not in one unknown")
    if any(isinstance(part, Apply) and part.head in _PERIODIC for side in (left, right) for part in walk(side)):
        raise Unsupported("a periodic relation")  # solveset answers some of these with one period only
    names = _reals(left, right)
    solutions = sympy.solveset(_RELATIONS[op](_build(left, names), _build(right, names)), names[unknown], sympy.S.Reals)
    _test(left, op, right, unknown, solutions)
    return solutions


def _test(left: Node, op: str, right: Node, unknown: str, solutions: Expr) -> None:
    """Refuse solutions that a relation contradicts at a rational point near their ends, or anywhere at random."""
    boundary = sympy.S.EmptySet if solutions.has(sympy.ConditionSet) else solutions.boundary
    if solutions.has(sympy.ConditionSet) or not (boundary.is_FiniteSet or boundary.is_empty):
        raise Unsupported("a relation that solveset does not solve")
    ends = list(boundary)
    near = [sympy.Rational(end.evalf(30)) for end in ends if end.is_finite]
    points = [Fraction(int(end.p), int(end.q)) for end in near]
    points += [point + offset for point in points for offset in (Fraction(1, 97), Fraction(-1, 97))]
    points += [Fraction(_random.randrange(-(1 << 20), 1 << 20), 1 << low) for low in (10, 14, 18) for _ in range(4)]
    for end in ends:
        if not end.is_Rational and solutions.contains(end) == sympy.true and op in ("=", "!="):
            raise Unsupported("an irrational root that cannot be tested")
    for point in points:
        held = _holds(left, op, right, {unknown: point})
        claimed = solutions.contains(sympy.Rational(point.numerator, point.denominator))
        if claimed not in (sympy.true, sympy.false) or held is not (claimed == sympy.true):
            raise Unsupported("solutions that fail a test at a point")


def _holds(left: Node, op: str, right: Node, point: dict[str, Fraction]) -> bool:
    """Whether a relation holds at a point; where a side is not real it does not."""
    if any(sign(part, point) is None for side in (left, right) for part in walk(side)):
        return False
    ordered = sign(minus(left, right), point)
    if ordered is None:
        raise Unsupported("a point that cannot be tested")
    return {
        "=": ordered == 0,
        "!=": ordered != 0,
        "<": ordered < 0,
        "<=": ordered <= 0,
        ">": ordered > 0,
        ">=": ordered >= 0,
    }[op]


# From our tree to sympy's.


def _build(node: Node, names: Names) -> Expr:
    """The sympy expression of a tree, by constructors only."""
    match node:
        case Number(value):
            return _rational(value)
        case Based():
            return _rational(node.value)
        case Symbol(name) if name != "reals":
            return names[name]
        case Constant("pi"):
            return sympy.pi
        case Constant("e"):
            return sympy.E
        case Constant("i"):
            return sympy.I
        case Apply("sum" | "prod" | "integral" | "limit" as head, (body, Symbol(name), *ends)):
            return _bounded(_calculus(head, _build(body, names), names[name], [_end(end, names) for end in ends]))
        case Apply(head, args):
            return _bounded(_apply(head, [_build(arg, names) for arg in args]))
        case _:
            raise Unsupported(f"{type(node).__name__.lower()} in an expression")


def _calculus(head: str, body: Expr, name: Expr, ends: list[Expr]) -> Expr:
    """A sum, product, definite integral or limit in closed form."""
    match head, ends:
        case "sum", [low, high]:
            value = sympy.summation(body, (name, low, high))
        case "prod", [low, high]:
            value = sympy.product(body, (name, low, high))
        case "integral", [low, high]:
            value = sympy.integrate(body, (name, low, high))
        case "limit", [point]:
            left, right = (sympy.limit(body, name, point, side) for side in ("-", "+"))
            value = left if point in (sympy.oo, -sympy.oo) or left == right else sympy.nan
        case _:
            raise Unsupported("an indefinite integral")
    if value is sympy.nan or value.has(sympy.Sum, sympy.Product, sympy.Integral, sympy.Limit, sympy.Piecewise):
        raise Unsupported(f"a {head} without a closed form")
    return value


def _apply(head: str, args: list[Expr]) -> Expr:
    match head:
        case "+":
            return sympy.Add(*args)
        case "*":
            return sympy.Mul(*args)
        case "/":
            if args[1].is_zero is not False and not args[1].free_symbols:
                raise Unsupported("a division by what may be zero")
            return sympy.Mul(args[0], sympy.Pow(args[1], -1))
        case "^":
            return _power(*args)
        case "sqrt":
            return sympy.sqrt(args[0])
        case "cbrt":
            return _power(args[0], sympy.Rational(1, 3))
        case "root":
            return _power(args[0], sympy.Pow(args[1], -1))
        case "factorial" | "gamma" | "binomial" if any(arg.is_number and abs(arg) > _EXPONENT for arg in args):
            raise LimitError(f"{head} of a number beyond {_EXPONENT}")
        case "gcd" | "lcm" if all(arg.is_Integer for arg in args):
            return sympy.Integer(sympy.igcd(*args) if head == "gcd" else sympy.ilcm(*args))
        case "gcd" | "lcm":
            return sympy.Function(head)(*sorted(args, key=sympy.default_sort_key))
    rule = _FUNCTIONS.get(head)
    if rule is None:
        raise Unsupported(f"no rule for {head}")
    return rule(*args)


def _power(base: Expr, exponent: Expr) -> Expr:
    if exponent.is_Rational:
        if exponent.q % 2 == 0 or exponent.q == 1 or base.is_nonnegative:
            if abs(exponent.p) > _EXPONENT or exponent.q > _EXPONENT:
                raise LimitError(f"an exponent beyond {_EXPONENT}")
            return sympy.Pow(base, exponent)
        raise Unsupported("an odd root of what may be negative")  # sympy's is complex, that of schools is real
    if exponent.is_number and abs(exponent) > _EXPONENT:
        raise LimitError(f"an exponent beyond {_EXPONENT}")
    return sympy.Pow(base, exponent)


_FUNCTIONS: dict[str, Callable[..., Expr]] = {
    "neg": lambda x: sympy.Mul(-1, x),
    "abs": sympy.Abs,
    "%": lambda x: sympy.Mul(x, sympy.Rational(1, 100)),
    "°": lambda x: sympy.Mul(x, sympy.pi, sympy.Rational(1, 180)),
    "exp": sympy.exp,
    "ln": sympy.log,
    "log10": lambda x: sympy.Mul(sympy.log(x), sympy.Pow(sympy.log(10), -1)),
    "log": lambda x, base: sympy.Mul(sympy.log(x), sympy.Pow(sympy.log(base), -1)),
    "sin": sympy.sin,
    "cos": sympy.cos,
    "tan": sympy.tan,
    "cot": sympy.cot,
    "sec": sympy.sec,
    "csc": sympy.csc,
    "sinh": sympy.sinh,
    "cosh": sympy.cosh,
    "tanh": sympy.tanh,
    "coth": sympy.coth,
    "asin": sympy.asin,
    "acos": sympy.acos,
    "atan": sympy.atan,
    "acot": lambda x: sympy.Add(sympy.Mul(sympy.pi, sympy.Rational(1, 2)), sympy.Mul(-1, sympy.atan(x))),
    "asec": lambda x: sympy.acos(sympy.Pow(x, -1)),
    "acsc": lambda x: sympy.asin(sympy.Pow(x, -1)),
    "asinh": sympy.asinh,
    "acosh": sympy.acosh,
    "atanh": sympy.atanh,
    "gamma": sympy.gamma,
    "factorial": sympy.factorial,
    "binomial": sympy.binomial,
    "floor": sympy.floor,
    "ceil": sympy.ceiling,
    "sgn": sympy.sign,
    "mod": sympy.Mod,
    "re": sympy.re,
    "im": sympy.im,
    "conj": sympy.conjugate,
    "arg": sympy.arg,
    "max": sympy.Max,
    "min": sympy.Min,
}


def _rational(value: Fraction) -> Expr:
    return _bounded(sympy.Rational(value.numerator, value.denominator))


def _bounded(expression: Expr) -> Expr:
    """The expression, when its numbers are within the limits."""
    for number in expression.atoms(sympy.Rational):
        if max(int(number.p).bit_length(), int(number.q).bit_length()) > BITS:
            raise LimitError(f"a number of more than {BITS} bits")
    if not expression.is_finite and expression.is_number and expression.has(sympy.oo, sympy.nan, sympy.zoo):
        raise Undefined("no finite value")
    return expression
