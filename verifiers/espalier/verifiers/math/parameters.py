"""Names that stand for whole numbers, as far as an answer itself says so."""

from __future__ import annotations

from espalier.verifiers.math.evaluate import NotExact, Undefined, exact
from espalier.verifiers.math.limits import LimitError
from espalier.verifiers.math.tree import Apply, Group, Node, RelationNode, Symbol, walk

_WHOLE = frozenset({"Z", "N"})
_LETTERS = frozenset("jklmnKN")


def membership(node: Node) -> tuple[str, str] | None:
    """The k and Z of "k ∈ Z"; None for anything but whole numbers."""
    match node:
        case RelationNode((Symbol(name), Symbol(kind)), ("∈",)) if kind in _WHOLE:
            return name, kind
        case _:
            return None


def without_memberships(node: Node) -> Node:
    """The answer without what only says which names are whole: items of a list, the condition of a set of values."""
    if isinstance(node, Apply) and node.head == "image" and membership(node.args[1]) is not None:
        return node.args[0]
    if not isinstance(node, Group) or node.kind != "list":
        return node
    kept = tuple(item for item in node.items if membership(item) is None)
    return kept[0] if len(kept) == 1 else Group("list", kept)


def stated(node: Node) -> dict[str, str]:
    """The names that a tree says are whole, and of which kind: "x = kπ, k ∈ Z"."""
    return dict(found for part in walk(node) if (found := membership(part)) is not None)


def integers(node: Node) -> frozenset[str]:
    """The names that must be whole: stated ones, and those in powers of a negative number, as n in (-1)^n."""
    return frozenset(stated(node)) | {
        name.name
        for part in walk(node)
        if isinstance(part, Apply) and part.head == "^" and _is_negative(part.args[0])
        for name in walk(part.args[1])
        if isinstance(name, Symbol) and name.name in _LETTERS
    }


def _is_negative(node: Node) -> bool:
    try:
        return exact(node) < 0
    except (NotExact, Undefined, LimitError):
        return False
