"""Sets of real numbers: disjoint pieces in ascending order, made from intervals, inequalities and points."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cmp_to_key, reduce
from itertools import pairwise, product

from espalier.verifiers.math.evaluate import NotExact, Undefined, ball
from espalier.verifiers.math.limits import LimitError
from espalier.verifiers.math.numeric import minus, order, same_value, sign
from espalier.verifiers.math.outcome import Equality
from espalier.verifiers.math.polynomial import quotient, real_roots
from espalier.verifiers.math.tree import (
    Apply,
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
)

_PLUS: Node = Constant("oo")
_MINUS: Node = Apply("neg", (_PLUS,))
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "!=": "!="}


class NotASet(ValueError):
    """The tree is no set of real numbers that this module understands."""


@dataclass(frozen=True, slots=True)
class Piece:
    """An interval; a point when both ends are the same and closed."""

    low: Node
    high: Node
    open_low: bool
    open_high: bool


RealSet = tuple[Piece, ...]
EVERYTHING: RealSet = (Piece(_MINUS, _PLUS, True, True),)


def infinity(node: Node) -> int:
    """1 for oo, -1 for -oo, else 0."""
    if node == _PLUS or node == Apply("+", (_PLUS,)):
        return 1
    return -1 if node == _MINUS else 0


def _compare(a: Node, b: Node) -> int:
    """The order of two ends; raises NotASet when it cannot be told."""
    left, right = infinity(a), infinity(b)
    if left or right:
        return (left > right) - (left < right)
    result = order(a, b)
    if result is None:
        raise NotASet("ends that cannot be ordered")
    return result


def real_set(node: Node) -> RealSet:
    """The set of real numbers that a tree describes.

    Raises:
        NotASet: It describes none, or one beyond the rules here.
    """
    match node:
        case Interval(low, high, open_low, open_high):
            return _interval(low, high, open_low, open_high)
        case Group("tuple", (low, high)):
            return _interval(low, high, True, True)
        case Group("bracket", (low, high)):
            return _interval(low, high, False, False)
        case Group("set" | "list", items):
            if any(isinstance(item, RelationNode) for item in items):
                parts = [real_set(item) for item in items]
                excludes = any(isinstance(item, RelationNode) and "!=" in item.ops for item in items)
                return reduce(intersection if excludes else union, parts)
            return reduce(union, (_point(item) for item in items), ())
        case Empty():
            return ()
        case Symbol("reals"):
            return EVERYTHING
        case Region("union", args):
            return reduce(union, map(real_set, args))
        case Region("intersection", args):
            return reduce(intersection, map(real_set, args))
        case Region("difference", (left, right)):
            return intersection(real_set(left), complement(real_set(right)))
        case RelationNode():
            return _solutions(node)
        case _:
            return _point(node)


def variable(node: Node) -> str:
    """The variable of the relations in a set, "" without one."""
    names = symbols(node) - {"reals"}
    return min(names) if names else ""


def same_set(a: Node, b: Node) -> Equality:
    """Compare two trees as sets of real numbers."""
    if variable(a) and variable(b) and variable(a) != variable(b):
        return Equality(False, "sets of different variables")
    if len((symbols(a) | symbols(b)) - {"reals"}) > 1:
        return Equality(None, "sets: several variables")
    try:
        left, right = real_set(a), real_set(b)
        if len(left) != len(right):
            return Equality(False, "real sets of different pieces")
        same = all(
            p.open_low == q.open_low
            and p.open_high == q.open_high
            and _compare(p.low, q.low) == 0
            and _compare(p.high, q.high) == 0
            for p, q in zip(left, right, strict=True)
        )
    except NotASet as error:
        return Equality(None, f"sets: {error}")
    return Equality(same, "the same real set" if same else "different real sets")


_NAMED_SETS = frozenset({"reals", "Z", "N", "Q", "R", "U", "Omega"})
_SETS = 8
"""Most sets without a name of their own that are combined."""


def same_combination(a: Node, b: Node) -> Equality | None:
    """Compare combinations of sets that are only letters, whatever these stand for; None for anything else.

    An element is in each of the letters' sets or not: every case is tried.
    """
    if not _is_combination(a) and not _is_combination(b):
        return None
    names = sorted({name.removesuffix("′").rpartition(" ")[2] for name in symbols(a) | symbols(b)} - {"c"})  # noqa: RUF001
    if not names or len(names) > _SETS or _NAMED_SETS.intersection(names):
        return None
    try:
        for case in product((False, True), repeat=len(names)):
            inside = dict(zip(names, case, strict=True))
            if _contains(a, inside) != _contains(b, inside):
                return Equality(False, "different combinations of sets")
    except NotASet:
        return None
    return Equality(True, "one combination of sets")


def _is_combination(node: Node) -> bool:
    return isinstance(node, Region) or _is_complement(node)


def _is_complement(node: Node) -> bool:
    return isinstance(node, Symbol) and node.name.partition(" ")[0] in ("overline", "bar")


def _contains(node: Node, inside: dict[str, bool]) -> bool:
    """Whether an element is in a combination of sets, given in which of the sets it is."""
    match node:
        case Empty():
            return False
        case Symbol(name) if name in inside:
            return inside[name]
        case Symbol(name) if name.endswith("′") and name[:-1] in inside:  # noqa: RUF001
            return not inside[name[:-1]]
        case Symbol(name) if _is_complement(node):
            return not _contains(Symbol(name.partition(" ")[2]), inside)
        case Apply("^", (part, Symbol("c" | "C"))):
            return not _contains(part, inside)
        case Region("union", args):
            return any(_contains(arg, inside) for arg in args)
        case Region("intersection", args):
            return all(_contains(arg, inside) for arg in args)
        case Region("difference", (whole, part)):
            return _contains(whole, inside) and not _contains(part, inside)
        case _:
            raise NotASet("no combination of sets")


def _interval(low: Node, high: Node, open_low: bool, open_high: bool) -> RealSet:
    if symbols(low) or symbols(high):
        raise NotASet("ends with variables")
    compared = _compare(low, high)
    if compared > 0:
        raise NotASet("ends in the wrong order")
    open_low, open_high = open_low or bool(infinity(low)), open_high or bool(infinity(high))
    if compared == 0 and (open_low or open_high):
        return ()
    return (Piece(low, high, open_low, open_high),)


def _point(node: Node) -> RealSet:
    if not isinstance(node, Number | Apply | Constant) or symbols(node) or sign(node) is None:
        raise NotASet("no real number")
    return (Piece(node, node, False, False),)


def union(a: RealSet, b: RealSet) -> RealSet:
    """Pieces that touch become one."""
    pieces = sorted((*a, *b), key=cmp_to_key(_by_low))
    merged: list[Piece] = []
    for piece in pieces:
        if merged:
            last = merged[-1]
            gap = _compare(piece.low, last.high)
            if gap < 0 or (gap == 0 and not (piece.open_low and last.open_high)):
                higher = _compare(piece.high, last.high)
                high = piece.high if higher > 0 else last.high
                open_high = {1: piece.open_high, -1: last.open_high, 0: piece.open_high and last.open_high}[higher]
                merged[-1] = Piece(last.low, high, last.open_low, open_high)
                continue
        merged.append(piece)
    return tuple(merged)


def _by_low(p: Piece, q: Piece) -> int:
    return _compare(p.low, q.low) or int(p.open_low) - int(q.open_low)


def complement(a: RealSet) -> RealSet:
    """All other real numbers."""
    pieces: list[Piece] = []
    low, open_low = _MINUS, True
    for piece in a:
        if _compare(low, piece.low) < 0 or (not open_low and not piece.open_low):
            pieces.append(Piece(low, piece.low, open_low, not piece.open_low or bool(infinity(piece.low))))
        elif _compare(low, piece.low) == 0 and not open_low and piece.open_low:
            pieces.append(Piece(low, low, False, False))
        low, open_low = piece.high, not piece.open_high
    if infinity(low) != 1:
        pieces.append(Piece(low, _PLUS, open_low, True))
    return tuple(pieces)


def intersection(a: RealSet, b: RealSet) -> RealSet:
    """The numbers in both."""
    pieces: list[Piece] = []
    for p in a:
        for q in b:
            lower, higher = _compare(p.low, q.low), _compare(p.high, q.high)
            low, open_low = {1: (p.low, p.open_low), -1: (q.low, q.open_low)}.get(
                lower, (p.low, p.open_low or q.open_low)
            )
            high, open_high = {-1: (p.high, p.open_high), 1: (q.high, q.open_high)}.get(
                higher, (p.high, p.open_high or q.open_high)
            )
            width = _compare(low, high)
            if width < 0 or (width == 0 and not open_low and not open_high):
                pieces.append(Piece(low, high, open_low, open_high))
    return tuple(sorted(pieces, key=cmp_to_key(_by_low)))


def _solutions(relation: RelationNode) -> RealSet:
    names = symbols(relation) - {"reals"}
    if len(names) != 1:
        raise NotASet("not one variable")
    (name,) = names
    parts = [
        _solve(left, op, right, name) for (left, right), op in zip(pairwise(relation.sides), relation.ops, strict=True)
    ]
    return reduce(intersection, parts)


def _solve(left: Node, op: str, right: Node, name: str) -> RealSet:
    if op == "∈" and left == Symbol(name):
        return real_set(right)
    if op == "∉" and left == Symbol(name):
        return complement(real_set(right))
    if op not in _FLIPPED:
        raise NotASet(f"the relation {op}")
    if right == Symbol(name) and name not in symbols(left):
        return _solve(right, _FLIPPED[op], left, name)
    if left == Symbol(name) and name not in symbols(right):
        return _ray(op, right)
    if isinstance(right, Apply) and right.head == "abs" and name not in symbols(left):
        return _solve(right, _FLIPPED[op], left, name)
    if isinstance(left, Apply) and left.head == "abs" and name not in symbols(right):
        return _solve_absolute(left.args[0], op, right, name)
    difference = minus(left, right)
    try:
        return _solve_rational(difference, op, name)
    except (NotExact, LimitError, Undefined):
        return _solve_linear(difference, op, name)


def _ray(op: str, end: Node) -> RealSet:
    if not infinity(end):
        _point(end)
    match op:
        case "<" | "<=":
            return (Piece(_MINUS, end, True, op == "<" or bool(infinity(end))),)
        case ">" | ">=":
            return (Piece(end, _PLUS, op == ">" or bool(infinity(end)), True),)
        case "=":
            return _point(end)
        case _:
            return complement(_point(end))


def _solve_absolute(inner: Node, op: str, bound: Node, name: str) -> RealSet:
    negative = Apply("neg", (bound,))
    signed = sign(bound)
    if signed is None:
        raise NotASet("a bound that cannot be ordered")
    if signed < 0:
        return EVERYTHING if op in (">", ">=", "!=") else ()
    if op in ("<", "<="):
        return intersection(_solve(inner, op, bound, name), _solve(inner, _FLIPPED[op], negative, name))
    if op in (">", ">=", "="):
        return union(_solve(inner, op, bound, name), _solve(inner, _FLIPPED[op], negative, name))
    return intersection(_solve(inner, op, bound, name), _solve(inner, op, negative, name))


def _solve_rational(difference: Node, op: str, name: str) -> RealSet:
    """Signs between the real roots of numerator and denominator."""
    over, under = quotient(difference, name)
    if over.degree() < 0:
        roots: list[Node] = []
        zero_everywhere = True
    else:
        roots, zero_everywhere = real_roots(over), False
    poles = real_roots(under)
    if zero_everywhere:
        base = EVERYTHING if op in ("=", "<=", ">=") else ()
        return intersection(base, complement(reduce(union, map(_point, poles), ())))
    zeros = intersection(reduce(union, map(_point, roots), ()), complement(reduce(union, map(_point, poles), ())))
    if op == "=":
        return zeros
    if op == "!=":
        return intersection(complement(zeros), complement(reduce(union, map(_point, poles), ())))
    ends = sorted([*roots, *(pole for pole in poles if pole not in roots)], key=cmp_to_key(_compare))
    edges = [_MINUS, *ends, _PLUS]
    wanted = -1 if op in ("<", "<=") else 1
    inside = tuple(
        Piece(low, high, True, True)
        for low, high in pairwise(edges)
        if sign(difference, {name: _between(low, high)}) == wanted
    )
    return union(inside, zeros) if op in ("<=", ">=") else union(inside, ())


def _between(low: Node, high: Node) -> Fraction:
    """A rational number strictly between two ends."""
    if infinity(low) and infinity(high):
        return Fraction(0)
    if infinity(low):
        return Fraction(int(ball(high, 64).real.floor().mid().unique_fmpz() or 0) - 2)
    if infinity(high):
        return Fraction(int(ball(low, 64).real.ceil().mid().unique_fmpz() or 0) + 2)
    middle = ((ball(low, 128) + ball(high, 128)) / 2).real.mid()
    mantissa, exponent = middle.man_exp()
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)


def _solve_linear(difference: Node, op: str, name: str) -> RealSet:
    """a·x + b against 0 with any constants a and b."""
    at = [substitute(difference, {name: Number(Fraction(x))}) for x in (0, 1, 2)]
    bend = Apply("+", (at[0], Apply("*", (Number(Fraction(-2)), at[1])), at[2]))
    if same_value(bend, Number(Fraction(0))).equal is not True:
        raise NotASet("neither rational nor linear")
    slope = minus(at[1], at[0])
    signed = sign(slope)
    if not signed:
        raise NotASet("no slope")
    return _ray(op if signed > 0 else _FLIPPED[op], Apply("neg", (Apply("/", (at[0], slope)),)))
