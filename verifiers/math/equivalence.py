"""Whether two answers are the same, whatever kind each is. Every rule is symmetric unless an option says otherwise."""

from __future__ import annotations

from fractions import Fraction

from espalier.verifiers.check import MathOptions
from espalier.verifiers.math.numeric import same_value
from espalier.verifiers.math.outcome import Outcome, every
from espalier.verifiers.math.tree import (
    Apply,
    Choice,
    Empty,
    Group,
    Node,
    Quantity,
    Relation,
    Symbol,
    Text,
    children,
    walk,
)


def equivalent(gold: Node, claim: Node, options: MathOptions) -> Outcome:
    """Compare a reference with a claim."""
    gold, claim = expand_signs(gold), expand_signs(claim)
    if gold == claim:
        return Outcome(True, "identical")
    if isinstance(gold, Choice | Text | Empty) or isinstance(claim, Choice | Text | Empty):
        return _words(gold, claim, options)
    if isinstance(gold, Relation) and isinstance(claim, Relation):
        return _two_relations(gold, claim, options)
    for relation, other, swapped in ((gold, claim, False), (claim, gold, True)):
        if isinstance(relation, Relation):
            value = solved_value(relation)
            if value is None:
                return Outcome(False, "a relation and a value")
            return equivalent(other, value, options) if swapped else equivalent(value, other, options)
    if isinstance(gold, Group) or isinstance(claim, Group):
        return _groups(gold, claim, options)
    return _values(gold, claim, options)


def _words(gold: Node, claim: Node, options: MathOptions) -> Outcome:
    match gold, claim:
        case Choice(a), Choice(b):
            return Outcome(a == b, "option letters")
        case (Choice(a), Symbol(b)) | (Symbol(b), Choice(a)):
            return Outcome(a == b, "option letters")
        case Choice(_, content), other:
            return equivalent(content, other, options) if content is not None else Outcome(False, "option and value")
        case other, Choice(_, content):
            return equivalent(other, content, options) if content is not None else Outcome(False, "value and option")
        case Text(a), Text(b):
            return Outcome(a == b, "words")
        case (Empty(), Group(_, items)) | (Group(_, items), Empty()):
            return Outcome(not items, "empty set")
        case _:
            return Outcome(False, "words and a value")


def solved_value(relation: Relation) -> Node | None:
    """What a solved form says: the 5 of "x = 5", the last side of a chain, the set of "x in S"."""
    if relation.ops == ("∈",):
        return relation.sides[1]
    if any(op not in ("=", "≈") for op in relation.ops):
        return None
    first, *rest = relation.sides
    if relation.ops[0] == "=" and "≈" in relation.ops:
        rest = rest[: relation.ops.index("≈")]
    if _is_name(first):
        if any(_names(first) & _names(side) for side in rest):
            return None
        sides = rest
    else:
        sides = [first, *rest]
    if len(sides) > 1:
        for left, right in zip(sides, sides[1:], strict=False):
            if same_value(left, right).equal is not True:
                return None
    return sides[-1]


def _is_name(node: Node) -> bool:
    match node:
        case Symbol():
            return True
        case Group("tuple", items):
            return all(isinstance(item, Symbol) for item in items)
        case Apply("*", (Symbol(name), Symbol())):
            return name in ("f", "g", "h", "p", "q", "P", "Q", "F", "G", "y", "r", "s", "v", "V", "A")
        case _:
            return False


def _names(node: Node) -> frozenset[str]:
    return frozenset(part.name for part in walk(node) if isinstance(part, Symbol))


def _two_relations(gold: Relation, claim: Relation, options: MathOptions) -> Outcome:
    left, right = solved_value(gold), solved_value(claim)
    if left is not None and right is not None and gold.sides[0] == claim.sides[0]:
        return equivalent(left, right, options)
    return Outcome(False, "different relations")


def _groups(gold: Node, claim: Node, options: MathOptions) -> Outcome:
    left = gold.items if isinstance(gold, Group) else (gold,)
    right = claim.items if isinstance(claim, Group) else (claim,)
    kinds = {node.kind if isinstance(node, Group) else "value" for node in (gold, claim)}
    if kinds == {"tuple", "set"} or (kinds == {"tuple", "bracket"} and len(left) == 2):
        return Outcome(False, "different brackets")
    ordered = kinds in ({"tuple"}, {"bracket"}, {"tuple", "bracket"}, {"tuple", "list"}, {"tuple", "value"})
    ordered = ordered or (options.ordered_lists and "set" not in kinds)
    if "set" in kinds:
        left, right = _distinct(left, options), _distinct(right, options)
    if len(left) != len(right):
        return Outcome(False, f"{len(left)} elements and {len(right)}")
    if ordered:
        return every([equivalent(a, b, options) for a, b in zip(left, right, strict=True)], "element by element")
    return _matching(left, right, options)


def _distinct(items: tuple[Node, ...], options: MathOptions) -> tuple[Node, ...]:
    kept: list[Node] = []
    for item in items:
        if not any(equivalent(item, other, options).equal for other in kept):
            kept.append(item)
    return tuple(kept)


def _matching(left: tuple[Node, ...], right: tuple[Node, ...], options: MathOptions) -> Outcome:
    """Elements in any order; equivalence is transitive, so the first partner is as good as any."""
    remaining = list(right)
    undecided: Outcome | None = None
    found: list[Outcome] = []
    for item in left:
        for index, other in enumerate(remaining):
            outcome = equivalent(item, other, options)
            if outcome.equal:
                del remaining[index]
                found.append(outcome)
                break
            if outcome.equal is None:
                undecided = outcome
        else:
            if undecided is not None:
                return Outcome(None, undecided.rule)
            return Outcome(False, "an element without a partner")
    return every(found, "elements in any order")


def _values(gold: Node, claim: Node, options: MathOptions) -> Outcome:
    return same_value(gold, claim)


def expand_signs(node: Node) -> Node:
    """Write "1 ± a" as the list "1 + a, 1 - a"; within sets and lists its values become elements."""
    match node:
        case Group(kind, items):
            flat: list[Node] = []
            for item in items:
                expanded = expand_signs(item)
                if kind in ("set", "list") and isinstance(expanded, Group) and expanded.kind == "list":
                    flat.extend(expanded.items)
                else:
                    flat.append(expanded)
            return Group(kind, tuple(flat))
        case Relation((name, value), ("=",)) if _has_signs(value):
            plus, minus = _with_sign(value, True), _with_sign(value, False)
            return Group("list", (Relation((name, plus), ("=",)), Relation((name, minus), ("=",))))
        case Apply() if _has_signs(node):
            return Group("list", (_with_sign(node, True), _with_sign(node, False)))
        case _:
            return node


def _has_signs(node: Node) -> bool:
    return any(isinstance(part, Apply) and part.head in ("±", "∓") for part in walk(node))


def _with_sign(node: Node, upper: bool) -> Node:
    if not isinstance(node, Apply):
        return node
    args = tuple(_with_sign(arg, upper) for arg in node.args)
    if node.head in ("±", "∓"):
        left, right = args
        return Apply("+", (left, right if (node.head == "±") == upper else Apply("neg", (right,))))
    return Apply(node.head, args)
