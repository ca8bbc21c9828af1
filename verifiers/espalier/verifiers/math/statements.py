"""Statements that are no sets of values: inclusions of sets, and what is said of all or some values.

Two of them are the same when they say the same of the same things; whether they are true does not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count, islice

from espalier.verifiers.math.outcome import Equality, doubt, every, unless_different
from espalier.verifiers.math.tree import Apply, Group, Node, RelationNode, Symbol, substitute, symbols

QUANTIFIERS = {r"\forall": "forall", r"\exists": "exists", r"\nexists": "nexists"}
"""Signs before a statement, and the heads of their nodes; "exists_one" is "exists" with an exclamation mark."""
_HEADS = frozenset({*QUANTIFIERS.values(), "exists_one"})
NOT = r"\neg"
INCLUSIONS = frozenset({"⊆", "⊂", "⊊", "⊈", "⊄", "∉"})
REVERSED = {"⊇": "⊆", "⊃": "⊂", "⊋": "⊊", "⊉": "⊈", "⊅": "⊄"}
_STRICTNESS = ({"⊂", "⊆"}, {"⊂", "⊊"}, {"⊄", "⊈"})
"""Signs of which one is used for the other: ⊂ allows equality with some authors."""

Compare = Callable[[Node, Node], Equality]


def same_statement(gold: Node, claim: Node, compare: Compare) -> Equality | None:
    """Compare statements part by part; None where neither side is one.

    Args:
        gold: The reference.
        claim: The answer.
        compare: How parts of statements are compared.
    """
    match gold, claim:
        case Apply("not", (said,)), Apply("not", (saying,)):
            return compare(said, saying)
        case Apply("not"), _:
            return Equality(None, "a denial and something else")
        case _, Apply("not"):
            return Equality(None if _is_quantified(gold) else False, "a statement and a denial")
    if _is_quantified(gold) or _is_quantified(claim):
        return _same_quantified(gold, claim, compare)
    ops = [op for side in (gold, claim) if isinstance(side, RelationNode) for op in side.ops if op in INCLUSIONS]
    if not ops or set(ops) == {"∉"}:  # what is no element is a set of values, too
        return _same_inclusion(gold, claim, compare) if ops and _same_sides(gold, claim, compare) else None
    return _same_inclusion(gold, claim, compare) or Equality(False, "an inclusion and something else")


def _same_sides(gold: Node, claim: Node, compare: Compare) -> bool:
    found = _same_inclusion(gold, claim, compare)
    return found is not None and found.equal is True


def _same_inclusion(gold: Node, claim: Node, compare: Compare) -> Equality | None:
    match gold, claim:
        case RelationNode(sides, ops), RelationNode(others, signs) if len(ops) == len(signs):
            sets = every([compare(a, b) for a, b in zip(sides, others, strict=True)], "the same inclusion")
        case _:
            return None
    if ops == signs:
        return sets
    if all(a == b or {a, b} in _STRICTNESS for a, b in zip(ops, signs, strict=True)):
        return unless_different(sets, "an inclusion that may allow equality, or may not")
    return Equality(False, "different inclusions")


def _is_quantified(node: Node) -> bool:
    return isinstance(node, Apply) and node.head in _HEADS


def _same_quantified(gold: Node, claim: Node, compare: Compare) -> Equality:
    """Compare by quantifier, domain and statement, whatever the bound names are."""
    match gold, claim:
        case Apply(head, (Group(_, names), Group(_, domains), said)), Apply(
            other, (Group(_, own), Group(_, owned), saying)
        ) if head == other and len(names) == len(own) and len(domains) == len(owned):
            taken = symbols(gold) | symbols(claim)
            unused = (name for place in count() if (name := f"§ANY {place}") not in taken)  # capitals: of no function
            fresh = [Symbol(name) for name in islice(unused, len(names))]
            left, right = _renamed(names, fresh), _renamed(own, fresh)
            parts = [
                compare(substitute(a, left), substitute(b, right))
                for a, b in zip((*domains, said), (*owned, saying), strict=True)
            ]
            compared = every(parts, "the same statement")
            return doubt("statements that are written differently") if compared.equal is None else compared
        case _ if _is_quantified(gold) and _is_quantified(claim):
            return Equality(False, "different quantifiers")
        case _:
            return Equality(False, "a quantified statement and something else")


def _renamed(names: tuple[Node, ...], fresh: list[Symbol]) -> dict[str, Node]:
    return {name.name: new for name, new in zip(names, fresh, strict=True) if isinstance(name, Symbol)}
