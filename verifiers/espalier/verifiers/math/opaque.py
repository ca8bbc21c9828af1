# ruff: noqa: RUF001 (mathematical signs are meant as they look)
"""Nodes without a value of their own: functions that only have a name, products of vectors, derivatives, images.

Two such nodes are the same when their parts are. For a comparison each becomes a variable that stands for it.
"""

from __future__ import annotations

from fractions import Fraction

from espalier.verifiers.math.numeric import same_value
from espalier.verifiers.math.series import BINDING
from espalier.verifiers.math.sets import same_combination
from espalier.verifiers.math.tree import (
    Apply,
    Constant,
    Group,
    Node,
    Number,
    Region,
    RelationNode,
    Symbol,
    children,
    rebuild,
    show,
    substitute,
    symbols,
    walk,
)

HEADS = frozenset({"call", "cross", "dot", "cartesian", "derivative", "partial", "compose"})
CARTESIAN = frozenset({"cartesian"})
"""Products of capital letters with a cross: of numbers, or of sets or matrices, whose order counts."""
DEFINITE = frozenset({"f", "g", "h", "F", "G", "H", "phi", "varphi", "psi", "varpsi"})
"""Names that are functions where they stand before a bracket; other letters may be factors."""


def called(node: Node) -> frozenset[str]:
    """The names that a tree uses as functions."""
    return frozenset(_base(part) for part in walk(node) if isinstance(part, Apply) and part.head == "call")


def written_alone(node: Node) -> frozenset[str]:
    """The names that a tree uses as values, outside of calls of their own."""
    names: set[str] = set()
    stack = [node]
    while stack:
        part = stack.pop()
        if isinstance(part, Apply) and part.head == "call":
            stack.extend(part.args[1:])
        elif isinstance(part, Symbol):
            names.add(part.name.rstrip("′"))
        else:
            stack.extend(children(part))
    return frozenset(names)


def as_products(node: Node, names: frozenset[str] | None = None) -> Node:
    """The tree with calls of these names (of all, when None) read as products."""

    def change(part: Node) -> Node:
        if isinstance(part, Apply) and part.head == "cartesian" and names is None:
            return Apply("*", part.args)
        is_call = isinstance(part, Apply) and part.head == "call" and len(part.args) == 2
        if isinstance(part, Apply) and is_call and (names is None or _base(part) in names):
            return Apply("*", part.args)
        return part

    return rebuild(node, change)


def _base(call: Apply) -> str:
    name = call.args[0]
    return name.name.partition("^")[0].rstrip("′") if isinstance(name, Symbol) else ""


def has_heads(node: Node, heads: frozenset[str]) -> bool:
    """Whether a tree holds a node of these heads."""
    return any(isinstance(part, Apply) and part.head in heads for part in walk(node))


def with_stand_ins(trees: tuple[Node, Node], heads: frozenset[str]) -> tuple[Node, Node]:
    """The trees with each node that has no value of its own replaced by a variable, the same one for the same node."""
    known: list[tuple[Apply, Symbol]] = []

    def change(part: Node) -> Node:
        if not isinstance(part, Apply) or part.head not in heads:
            return part
        if part.head == "cross" and show(part.args[0]) > show(part.args[1]):
            return Apply("neg", (change(Apply("cross", part.args[::-1])),))
        if part.head == "dot" and show(part.args[0]) > show(part.args[1]):
            return change(Apply("dot", part.args[::-1]))
        if part.head == "cross" and part.args[0] == part.args[1]:
            return Number(Fraction(0))
        for other, name in known:
            if other.head == part.head and len(other.args) == len(part.args) and _same(other, part):
                return name
        name = Symbol(f"§{len(known)}")
        known.append((part, name))
        return name

    # What a sum is of may depend on its variable: it has no name outside.
    return rebuild(trees[0], change, _binds), rebuild(trees[1], change, _binds)


def _binds(node: Node) -> bool:
    return isinstance(node, Apply) and node.head in BINDING


def _same(a: Apply, b: Apply) -> bool:
    if a.head in BINDING and len(a.args) > 2 and a.args[1] != b.args[1]:  # an integral without ends has no bound name
        a, b = _with_bound_name(a), _with_bound_name(b)
    return all(map(_same_argument, a.args, b.args))


def _with_bound_name(node: Apply) -> Apply:
    """A sum or an integral with a name of its own for its variable."""
    body, name, *ends = node.args
    fresh = rebuild(body, lambda part: Symbol("§bound") if part == name else part)
    return Apply(node.head, (fresh, Symbol("§bound"), *ends))


def _same_argument(a: Node, b: Node) -> bool:
    if a == b:
        return True
    if isinstance(a, Region) and isinstance(b, Region):
        combined = same_combination(a, b)
        return combined is not None and combined.equal is True
    if isinstance(a, Apply) and isinstance(b, Apply) and a.head == b.head == "given":
        return all(_same_events(one, other) for one, other in zip(a.args, b.args, strict=True))
    return _is_value(a) and _is_value(b) and same_value(*with_stand_ins((a, b), HEADS)).equal is True


def _same_events(a: Node, b: Node) -> bool:
    """Whether events that happen together are the same, in any order."""
    own, other = (list(side.items) if isinstance(side, Group) else [side] for side in (a, b))
    for event in own:
        found = next((place for place, one in enumerate(other) if _same_argument(event, one)), None)
        if found is None:
            return False
        del other[found]
    return not other


def _is_value(node: Node) -> bool:
    return isinstance(node, Apply | Number | Constant)


def generic_arguments(node: RelationNode) -> RelationNode:
    """A definition "f(t) = t^2" with its arguments under names that do not depend on how they were chosen.

    Capital letters are events and random variables, which are not chosen: P(A).
    """
    match node.sides[0]:
        case Apply("call", (Symbol() as function, *arguments)) if all(
            isinstance(argument, Symbol) and not argument.name.isupper() for argument in arguments
        ) and len(set(arguments)) == len(arguments):
            fresh = {argument: Symbol(f"§argument {place}") for place, argument in enumerate(arguments)}
            changed = rebuild(node, lambda part: fresh.get(part, part) if isinstance(part, Symbol) else part)
            if isinstance(changed, RelationNode):
                return RelationNode((Symbol(f"{function.name}()"), *changed.sides[1:]), changed.ops)
        case Symbol(name) if (index := name.rpartition("_")[2]) != name and len(index) == 1 and index.isalpha():
            if any(part.endswith(f"_{index}") for side in node.sides[1:] for part in symbols(side)):
                return node
            changed = substitute(node, {index: Symbol("§argument 0")})
            if isinstance(changed, RelationNode):
                return RelationNode((Symbol(f"{name.rpartition('_')[0]}_()"), *changed.sides[1:]), changed.ops)
    return node
