"""Equations and inequalities: solved forms, and equality up to equivalence."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from itertools import pairwise

from espalier.verifiers.math.evaluate import NotExact, Undefined, exact
from espalier.verifiers.math.grammar.combine import is_vector
from espalier.verifiers.math.limits import LimitError
from espalier.verifiers.math.numeric import minus, order, same_value, sign
from espalier.verifiers.math.outcome import Equality, every
from espalier.verifiers.math.polynomial import quotient, squarefree
from espalier.verifiers.math.tree import Apply, Group, Node, Number, RelationNode, Symbol, substitute, symbols

_DIRECTION = {"<": -1, "<=": -1, ">": 1, ">=": 1, "=": 0}
_random = random.SystemRandom()


def is_inequality(node: Node) -> bool:
    """Whether a relation orders, excludes or includes rather than equates."""
    return isinstance(node, RelationNode) and any(op not in ("=", "≈", "≡") for op in node.ops)


def defined_name(node: Node) -> Node | None:
    """What an equation defines by its left side: x, f(x), or a tuple of names; None when it defines nothing."""
    if not isinstance(node, RelationNode) or node.ops[0] not in ("=", "≈"):
        return None
    left = node.sides[0]
    match left:
        case Symbol():
            name: Node = left
        case Group("tuple", items) if all(isinstance(item, Symbol) for item in items):
            name = left
        case _:
            return None
    if any(symbols(name) & symbols(side) for side in node.sides[1:]):
        return None
    return name


def solved_value(node: RelationNode) -> Node | None:
    """What a solved form says: the 5 of "x = 5", the last side of a chain of equal numbers, the set of "x in S".

    An approximation adds nothing: "x = 1/3 ≈ 0.33" says 1/3. None when the relation is no solved form.
    """
    if node.ops == ("∈",):
        return node.sides[1]
    if any(op not in ("=", "≈") for op in node.ops):
        return None
    sides = list(node.sides)
    if "≈" in node.ops:
        if not all(
            _near(left, right) for (left, right), op in zip(pairwise(sides), node.ops, strict=True) if op == "≈"
        ):
            return None
        kept = node.ops.index("≈") + 1
        sides = sides[: kept if kept > 1 or defined_name(node) is None else kept + 1]
    if defined_name(node) is not None or all(_is_measure(side) for side in sides[:1]):
        sides = sides[1:]
    elif symbols(node):
        return None
    for left, right in pairwise(sides):
        if same_value(left, right).equal is not True:
            return None
    return sides[-1] if sides else None


Congruence = tuple[Node | None, Node, Node | None]


def congruence(node: Node) -> Congruence | None:
    """What is congruent (None where it is not named), to what, and the modulus (None without one).

    None for anything but a congruence.

    "x ≡ 3 (mod 7)", "3 (mod 7)" and "x ≡ 3 mod 7" are congruences.
    """
    match node:
        case Apply("class" | "mod", (residue, modulus)):
            return None, residue, modulus
        case RelationNode((left, Apply("class" | "mod", (residue, modulus))), ("≡" | "=",)):
            return left, residue, modulus
        case RelationNode((left, residue), ("≡",)):
            return left, residue, None
        case _:
            return None


def solved_congruence(found: Congruence) -> Congruence:
    """A linear congruence in one unknown, with whole coefficients, solved for it; any other as it is.

    "2x ≡ 6 (mod 8)" is "x ≡ 3 (mod 4)".
    """
    left, residue, modulus = found
    if left is not None and not symbols(left):
        left, residue = residue, left  # "3 ≡ x"
    if left is None or modulus is None or isinstance(left, Symbol) or len(symbols(left)) != 1:
        return left, residue, modulus
    (name,) = symbols(left)
    try:
        over, under = quotient(minus(left, residue), name)
        divisor = exact(modulus)
    except (NotExact, LimitError, Undefined):
        return found
    if over.degree() != 1 or under.degree() != 0:
        return found
    constant, factor = (Fraction(int(c.p), int(c.q)) for c in (over[0] / under[0], over[1] / under[0]))
    if not constant.denominator == factor.denominator == divisor.denominator == 1 or divisor < 1:
        return found
    common = math.gcd(factor.numerator, divisor.numerator)
    if constant.numerator % common:
        return found
    reduced = divisor.numerator // common
    solution = -constant.numerator // common * pow(factor.numerator // common, -1, reduced) % reduced
    return Symbol(name), Number(Fraction(solution)), Number(Fraction(reduced))


def _is_measure(node: Node) -> bool:
    """Whether a side is made of lengths alone, as AB, |AB| and NO/BO are, the length of a vector, a determinant, or a
    ratio of names: it has a value."""
    names = symbols(node)
    match node:
        case Apply("abs", (Symbol() as inner,)) if is_vector(inner):
            return True
        case Apply("det", (Symbol(),)):
            return True
    if isinstance(node, Apply) and node.head == "ratio" and all(isinstance(arg, Symbol) for arg in node.args):
        return True
    return bool(names) and all(len(name) > 1 and name.isalpha() and name.isupper() for name in names)


def _near(left: Node, right: Node) -> bool:
    """Whether a written approximation is within one unit of its last place; true where a side is no number."""
    if symbols(left) or symbols(right) or not isinstance(right, Number):
        return True
    unit = Number(Fraction(1, 10 ** (right.decimals or 0)))
    return order(Apply("abs", (minus(left, right),)), unit) == -1


def same_relation(a: RelationNode, b: RelationNode) -> Equality:
    """Compare two equations or two inequalities in several variables, of two sides each, up to equivalence.

    They are the same when the differences of their sides are proportional, by a positive factor where they order; and
    two polynomial equations in one variable when they have the same roots.
    """
    if len(a.ops) != 1 or len(b.ops) != 1:
        if len(a.ops) != len(b.ops):
            return Equality(False, "relations of different form")
        links = [_links(side) for side in (a, b)]
        return every([same_relation(*pair) for pair in zip(*links, strict=True)], "link by link")
    if a.ops[0] not in _DIRECTION or b.ops[0] not in _DIRECTION or ("=" in a.ops[0]) != ("=" in b.ops[0]):
        return Equality(False, "different relations")
    if symbols(a) != symbols(b):
        return Equality(False, "relations of different variables")
    left, right = minus(*a.sides), minus(*b.sides)
    if a.ops == b.ops == ("=",) and len(symbols(a)) == 1:
        roots = _same_roots(left, right, *symbols(a))
        if roots is not None:
            return roots
    factor = _factor(left, right)
    if factor is None:
        return Equality(False, "the sides are not proportional")
    same = factor * _DIRECTION[b.ops[0]] == _DIRECTION[a.ops[0]] if a.ops != ("=",) else b.ops == ("=",)
    return Equality(same, "proportional sides" if same else "proportional sides, different order")


def _links(chain: RelationNode) -> list[RelationNode]:
    """The relations between the neighbours in a chain, the smaller side first: "c > b > a" is "a < b < c"."""
    if set(chain.ops) <= {">", ">="}:
        flipped = tuple({">": "<", ">=": "<="}[op] for op in reversed(chain.ops))
        chain = RelationNode(chain.sides[::-1], flipped)
    return [RelationNode(pair, (op,)) for pair, op in zip(pairwise(chain.sides), chain.ops, strict=True)]


def family(node: Node) -> tuple[Symbol, Node, Node, str] | None:
    """The x, 2, 6 and "Z" of "x = 6k + 2, k ∈ Z"; None for anything else. The kind is "" where it is not said."""
    kind = ""
    names: frozenset[str]
    match node:
        case Group("list", (relation, RelationNode((Symbol(name), Symbol(kind)), ("∈",)))) if kind in ("Z", "N"):
            names = frozenset({name})
        case relation:
            names = symbols(relation) & frozenset("jklmn")
    match relation:
        case RelationNode((Symbol() as unknown, value), ("=",)) if len(names) == 1 and unknown.name not in symbols(
            value
        ):
            (name,) = names
        case _:
            return None
    if symbols(value) != {name}:
        return None
    at = [substitute(value, {name: Number(Fraction(number))}) for number in (0, 1, 2)]
    if same_value(minus(at[2], at[1]), minus(at[1], at[0])).equal is not True:
        return None
    return unknown, at[0], minus(at[1], at[0]), kind


def _same_roots(a: Node, b: Node, name: str) -> Equality | None:
    try:
        (over, under), (other_over, other_under) = quotient(a, name), quotient(b, name)
    except (NotExact, LimitError, Undefined):
        return None
    if under.degree() > 0 or other_under.degree() > 0:
        return None
    return Equality(squarefree(over) == squarefree(other_over), "the roots of two polynomials")


def _factor(a: Node, b: Node) -> int | None:
    """The sign of the constant c with a = c·b, at a random point and then everywhere; None without one."""
    for _ in range(4):
        point: dict[str, Node] = {
            name: Number(Fraction(_random.randrange(1, 1 << 16), 1 << 12)) for name in symbols(a) | symbols(b)
        }
        first, second = substitute(a, point), substitute(b, point)
        signs = sign(first), sign(second)
        if signs[0] and signs[1]:
            same = same_value(Apply("*", (a, second)), Apply("*", (b, first)))
            return signs[0] * signs[1] if same.equal else None
    return None
