"""Sums and products with few terms, and derivatives, written out."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from espalier.verifiers.math.derivative import NotDifferentiable, derivative
from espalier.verifiers.math.evaluate import NotExact, Undefined, exact
from espalier.verifiers.math.limits import LIMITS, LimitError
from espalier.verifiers.math.tree import Apply, Constant, Node, Number, Symbol, rebuild, substitute, symbols, walk

TERMS = 200
"""Most terms of a sum that is written out; sympy sums up longer ones."""


def _term(body: Node, name: str, value: Fraction) -> Node:
    """The body of a sum at one value of its variable: a_k is a_3 there."""

    def change(part: Node) -> Node:
        match part:
            case Apply("indexed", (Symbol(base), index)):
                return Symbol(f"{base}_{exact(index)}")
            case _:
                return part

    return rebuild(substitute(body, {name: Number(value)}), change)


BINDING = frozenset({"sum", "prod", "integral", "limit"})
"""Nodes that bind a variable."""
SERIES = BINDING | {"derivative of"}
"""Nodes that may have a value, which is not worked out here."""

_WRITTEN_OUT = frozenset({"sum", "prod", "derivative", "partial"})


def write_out(node: Node) -> Node:
    """The tree with each finite sum and product of few terms, and each derivative of an expression written out."""
    if not any(isinstance(part, Apply) and part.head in _WRITTEN_OUT for part in walk(node)):
        return node
    return rebuild(node, _written)


def _written(node: Node) -> Node:
    match node:
        case Apply("sum" | "prod" as head, (body, Symbol(name), low, high)):
            try:
                first, last = exact(low), exact(high)
            except (NotExact, Undefined, LimitError):
                return node
            count = last - first + 1
            if first.denominator != 1 or count.denominator != 1 or not 0 <= count <= TERMS:
                return node
            if count * sum(1 for _ in walk(body)) > 4 * LIMITS.nodes:
                return node
            terms = [_term(body, name, first + place) for place in range(int(count))]
            empty = Number(Fraction(head == "prod"))
            return Apply("+" if head == "sum" else "*", tuple(terms)) if terms else empty
        case Apply("derivative" | "partial" as head, (Apply() as body, Symbol(name), Number(order))):
            try:
                return derivative(body, name, int(order), partial=head == "partial")
            except (NotDifferentiable, LimitError):
                return Apply("derivative of", node.args)
        case Apply("derivative" | "partial", (Number() | Constant(), _, _)):
            return Number(Fraction(0))
        case Apply("derivative" | "partial", (body, variable, Number(order))) if body == variable:
            return Number(Fraction(order == 1))
        case _:
            return node


_WHOLE_POINTS = (3, 4, 7, 12)


def differs_at_whole_numbers(a: Node, b: Node, same: Callable[[Node, Node], bool | None]) -> bool:
    """Whether two trees differ for some whole values of the names that bound sums and products.

    Args:
        a: A tree.
        b: Another.
        same: A comparison of two trees; False is a proof.
    """
    names = {
        name
        for part in (*walk(a), *walk(b))
        if isinstance(part, Apply) and part.head in ("sum", "prod") and len(part.args) == 4
        for end in part.args[2:]
        for name in symbols(end)
    }
    for point in _WHOLE_POINTS if names else ():
        values: dict[str, Node] = {name: Number(Fraction(point)) for name in names}
        left, right = (write_out(substitute(side, values)) for side in (a, b))
        if _has_series(left) or _has_series(right):
            return False
        if same(left, right) is False:
            return True
    return False


def _has_series(node: Node) -> bool:
    return any(isinstance(part, Apply) and part.head in SERIES for part in walk(node))
