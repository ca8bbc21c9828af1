"""Nodes from tokens and from smaller nodes."""

from __future__ import annotations

from espalier.verifiers.math.lexer import ParseError, Token
from espalier.verifiers.math.tree import Apply, Group, Node, Number


def literal(token: Token) -> Number:
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
    node = bare(node)
    if isinstance(node, Number):
        return Number(-node.value, node.decimals)
    return Apply("neg", (node,))


def flat(head: str, left: Node, right: Node) -> Node:
    left, right = bare(left), bare(right)
    if isinstance(left, Apply) and left.head == head:
        return Apply(head, (*left.args, right))
    return Apply(head, (left, right))
