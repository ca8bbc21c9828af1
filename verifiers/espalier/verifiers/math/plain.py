"""Which answers are plain: made of numbers that are easy to work out, so that whatever equals them can be told."""

from __future__ import annotations

from espalier.verifiers.math.evaluate import Undefined, ball
from espalier.verifiers.math.limits import LimitError
from espalier.verifiers.math.numeric import scale_of
from espalier.verifiers.math.sets import infinity
from espalier.verifiers.math.tree import (
    Apply,
    Based,
    Choice,
    Constant,
    Empty,
    Group,
    Interval,
    Matrix,
    Node,
    Number,
    Quantity,
    Region,
    RelationNode,
    Symbol,
    Text,
    children,
)

_BITS = 64


def is_plain(node: Node) -> bool:
    """Whether a tree is a number, a text, or brackets, sets, intervals and matrices of such."""
    match node:
        case Text() | Choice() | Empty() | Number() | Based():
            return True
        case Constant() | Apply():
            return bool(infinity(node)) or _has_value(node)
        case RelationNode((Symbol(), *values), _):
            return all(map(is_plain, values))
        case Quantity() | Group() | Interval() | Matrix() | Region():
            return all(map(is_plain, children(node)))
        case _:
            return False


def _has_value(node: Node) -> bool:
    try:
        return bool(ball(node, _BITS).is_finite()) and scale_of(node) is not None
    except (Undefined, LimitError, ZeroDivisionError):
        return False
