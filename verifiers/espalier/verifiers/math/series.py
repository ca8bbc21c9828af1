"""Sums and products with few terms, written out."""

from __future__ import annotations

from fractions import Fraction

from espalier.verifiers.math.evaluate import NotExact, Undefined, exact
from espalier.verifiers.math.limits import LIMITS, LimitError
from espalier.verifiers.math.tree import Apply, Node, Number, Symbol, rebuild, substitute, walk

TERMS = 200
"""Most terms of a sum that is written out; sympy sums up longer ones."""


def write_out(node: Node) -> Node:
    """The tree with each finite sum and product of few terms written out."""
    if not any(isinstance(part, Apply) and part.head in ("sum", "prod") for part in walk(node)):
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
            terms = [substitute(body, {name: Number(first + place)}) for place in range(int(count))]
            empty = Number(Fraction(head == "prod"))
            return Apply("+" if head == "sum" else "*", tuple(terms)) if terms else empty
        case _:
            return node
