# ruff: noqa: RUF001 (mathematical signs are meant as they look)
"""Nodes from tokens and from smaller nodes."""

from __future__ import annotations

from espalier.verifiers.math.lexer import ParseError, Token
from espalier.verifiers.math.tree import Apply, Group, Node, Number, Quantity, Symbol


def literal(token: Token) -> Number:
    """The number that a token writes, with its decimals if it has a point.

    Raises:
        ParseError: The token is no number.
    """
    if token.value is None:
        raise ParseError(f"expected a number, found {token.text!r}")
    decimals = len(token.text.partition(".")[2].partition("e")[0]) if "." in token.text else None
    return Number(token.value, decimals)


def bare(node: Node) -> Node:
    """Square brackets around one expression only group it."""
    if isinstance(node, Group) and node.kind == "bracket" and len(node.items) == 1:
        return node.items[0]
    return node


def negative(node: Node) -> Node:
    """The node with its sign turned: a number stays a number."""
    node = bare(node)
    if isinstance(node, Number):
        return Number(-node.value, node.decimals)
    if isinstance(node, Quantity):
        return Quantity(negative(node.value), node.unit)
    return Apply("neg", (node,))


def flat(head: str, left: Node, right: Node) -> Node:
    """An application of `head` to both; a left side with the same head takes the right one as a further argument."""
    left, right = bare(left), bare(right)
    if isinstance(left, Apply) and left.head == head:
        return Apply(head, (*left.args, right))
    return Apply(head, (left, right))


def multiplied(sign: str, left: Node, right: Node) -> Node:
    """A product; of two vectors a cross product or a dot product, which the sign tells apart."""
    if sign == "×" and _is_capital(left) and _is_capital(right):
        return Apply("cartesian", (left, right))
    if sign == "*" or not is_vector(left) or not is_vector(right):
        return flat("*", left, right)
    scalars: list[Node] = []
    parts = []
    for side in (left, right):
        factors = side.args if isinstance(side, Apply) and side.head == "*" else (side,)
        vectors = [factor for factor in factors if is_vector(factor)]
        scalars.extend(factor for factor in factors if not is_vector(factor))
        parts.append(vectors[0] if len(vectors) == 1 else side)
    product = Apply("cross" if sign == "×" else "dot", tuple(parts))
    return Apply("*", (*scalars, product)) if scalars else product


def _is_capital(node: Node) -> bool:
    """Whether a node is a capital letter, or a product of such in order: sets and matrices are called so."""
    match node:
        case Symbol(name):
            return len(name.partition("_")[0]) == 1 and name[0].isupper()
        case Apply("cartesian", _):
            return True
        case _:
            return False


def is_vector(node: Node) -> bool:
    """Whether a node is written as a vector: in bold, with an arrow, or made of such nodes."""
    match node:
        case Symbol(name):
            return name.startswith(("vec ", "overrightarrow ", "bold ", "hat ", "widehat "))
        case Apply("cross", _):
            return True
        case Apply("+" | "neg" | "*", args):
            return any(map(is_vector, args))
        case _:
            return False
