"""Sets that differ by the kind of numbers that they are made of: whole, natural, rational or real ones."""

from __future__ import annotations

from fractions import Fraction
from functools import reduce

from espalier.verifiers.math.numeric import minus, same_value
from espalier.verifiers.math.outcome import Equality
from espalier.verifiers.math.relations import solved_value
from espalier.verifiers.math.sets import NotASet, intersection, real_set
from espalier.verifiers.math.tree import (
    Apply,
    Constant,
    Empty,
    Group,
    Node,
    Number,
    Region,
    RelationNode,
    Symbol,
    substitute,
    symbols,
    walk,
)

COUNTABLE = frozenset({"Z", "N", "Q"})
_ZERO, _ONE, _TWO = (Number(Fraction(value)) for value in (0, 1, 2))


def kinds_of_numbers(node: Node) -> frozenset[str]:
    """The kinds of numbers, other than real ones, that a set is restricted to."""
    return frozenset(part.name for part in walk(node) if isinstance(part, Symbol) and part.name in COUNTABLE)


def different_kinds(a: Node, b: Node) -> Equality:
    """Compare two sets of different kinds of numbers: different where that can be proved, else undecided."""
    families = progression(a), progression(b)
    if families[0] is not None and families[1] is not None and families[0] != families[1]:
        return Equality(False, "progressions over different kinds of numbers")
    if any(family is not None and _is_finite(other) for family, other in zip(families, (b, a), strict=True)):
        return Equality(False, "a progression, and single values")
    if (_is_countable(a) and _is_continuous(b)) or (_is_countable(b) and _is_continuous(a)):
        return Equality(False, "whole or rational numbers, and all real ones")
    return Equality(None, "sets of different kinds of numbers")


def progression(node: Node) -> str | None:
    """The kind of numbers over which a set of values of one step runs ("x = kπ, k ∈ Z"); None for anything else."""
    match node:
        case Group("list", (value, RelationNode((Symbol(name), Symbol(kind)), ("∈",)))) | Apply(
            "image", (value, RelationNode((Symbol(name), Symbol(kind)), ("∈",)))
        ) if kind in COUNTABLE | {"reals"}:
            body = solved_value(value) if isinstance(value, RelationNode) else value
        case _:
            return None
    if not isinstance(body, Symbol | Apply) or name not in symbols(body):
        return None
    at = [substitute(body, {name: number}) for number in (_ZERO, _ONE, _TWO)]
    general = Apply("+", (at[0], Apply("*", (Symbol(name), minus(at[1], at[0])))))
    steady = same_value(body, general).equal is True and same_value(at[0], at[1]).equal is False
    return kind if steady else None


def _is_finite(node: Node) -> bool:
    match node:
        case Number() | Constant() | Empty():
            return True
        case Group(_, items):
            return not symbols(node) and all(isinstance(item, Number | Constant | Apply) for item in items)
        case _:
            return False


def _is_countable(node: Node) -> bool:
    match node:
        case Apply("image", (value, condition)):
            return _is_countable(condition) and symbols(value) <= symbols(condition)
        case Symbol(name) | RelationNode((Symbol(), Symbol(name)), ("∈",)):
            return name in COUNTABLE
        case Region("intersection", args):
            return any(map(_is_countable, args))
        case Region("union", args):
            return all(map(_is_countable, args))
        case Region("difference", (whole, _)):
            return _is_countable(whole)
        case Group("list", items):
            names = {name for item in items for name in symbols(item) if _is_countable(item)}
            return bool(names) and all(symbols(item) <= names for item in items)
        case _:
            return False


def _is_continuous(node: Node) -> bool:
    """Whether a set says that it holds an interval of real numbers; an inequality alone does not say so."""
    conditions = node.items if isinstance(node, Group) and node.kind == "list" else (node,)
    named = any(isinstance(part, Symbol) and part.name == "reals" for part in walk(node))
    if not named and any(isinstance(part, RelationNode) and "∈" not in part.ops for part in walk(node)):
        return False
    try:
        return any(piece.low != piece.high for piece in reduce(intersection, map(real_set, conditions)))
    except NotASet:
        return False
