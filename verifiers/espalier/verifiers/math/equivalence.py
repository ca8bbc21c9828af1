"""Whether two answers are the same, whatever kind each is. Every rule is symmetric unless an option says otherwise."""

from __future__ import annotations

from fractions import Fraction

from espalier.verifiers.check import MathOptions
from espalier.verifiers.math.evaluate import NotExact, Undefined, exact
from espalier.verifiers.math.limits import LIMITS, LimitError
from espalier.verifiers.math.matrices import reduce_matrices, vector
from espalier.verifiers.math.numeric import minus, order, same_value
from espalier.verifiers.math.outcome import Outcome, every
from espalier.verifiers.math.relations import defined_name, is_inequality, same_relation, solved_value
from espalier.verifiers.math.sets import infinity, same_set
from espalier.verifiers.math.tree import (
    Apply,
    Based,
    Choice,
    Empty,
    Group,
    Interval,
    Matrix,
    Node,
    Number,
    Quantity,
    Region,
    Relation,
    Symbol,
    Text,
    rebuild,
    show,
    symbols,
    walk,
)
from espalier.verifiers.math.units import PLAIN

_COUNT = (("count", 1),)


def equivalent(gold: Node, claim: Node, options: MathOptions) -> Outcome:
    """Compare a reference with a claim.

    Returns:
        Equal, different, or undecided; with the rule that decided.
    """
    try:
        return _equivalent(normal(gold), normal(claim), options)
    except (Undefined, LimitError) as error:
        return Outcome(None, str(error))


def normal(node: Node) -> Node:
    """The form that is compared: matrices reduced, ± written out."""
    return expand_signs(_name_first(reduce_matrices(node)))


def _name_first(node: Node) -> Node:
    """ "5 = x" as "x = 5"."""
    match node:
        case Relation((value, Symbol() as name), ("=",)) if not symbols(value):
            return Relation((name, value), ("=",))
        case _:
            return node


def canonical(node: Node) -> str:
    """A key such that answers with the same key are equivalent: rational numbers in lowest terms, else the tree."""
    try:
        node = normal(node)
        if isinstance(node, Apply) and node.head in ("%", "°", "ratio"):
            return show(node)
        return show(node) if isinstance(node, Based) else f"number {show(Number(exact(node)))}"
    except (NotExact, Undefined, LimitError):
        pass
    if isinstance(node, Group):
        return f"{node.kind}({', '.join(map(canonical, node.items))})"
    return show(node)


def _equivalent(gold: Node, claim: Node, options: MathOptions) -> Outcome:
    if gold == claim:
        return Outcome(True, "identical")
    if isinstance(gold, Choice | Text) or isinstance(claim, Choice | Text):
        return _words(gold, claim, options)
    if _is_region(gold) or _is_region(claim):
        return _regions(gold, claim, options)
    if isinstance(gold, Empty) or isinstance(claim, Empty):
        return Outcome(_is_empty(gold) and _is_empty(claim), "the empty set")
    if isinstance(gold, Relation) or isinstance(claim, Relation):
        return _relations(gold, claim, options)
    if isinstance(gold, Matrix) or isinstance(claim, Matrix):
        return _matrices(gold, claim, options)
    if isinstance(gold, Group) or isinstance(claim, Group):
        return _groups(gold, claim, options)
    return _values(gold, claim, options)


def _words(gold: Node, claim: Node, options: MathOptions) -> Outcome:
    match gold, claim:
        case Choice(a, content), Choice(b, other) if a == b and content is not None and other is not None:
            return equivalent(content, other, options)
        case Choice(a), Choice(b):
            return Outcome(a == b, "option letters")
        case (Choice(a), Symbol(b)) | (Symbol(b), Choice(a)):
            return Outcome(a == b, "option letters")
        case Choice(_, content), other:
            return Outcome(False, "an option and a value") if content is None else equivalent(content, other, options)
        case other, Choice(_, content):
            return Outcome(False, "a value and an option") if content is None else equivalent(other, content, options)
        case Text(a), Text(b):
            return Outcome(a == b, "words")
        case _:
            return Outcome(False, "words and a value")


# Sets of real numbers.


def _is_region(node: Node) -> bool:
    if isinstance(node, Interval | Region) or is_inequality(node) or node == Symbol("reals"):
        return True
    return isinstance(node, Group) and node.kind == "list" and any(is_inequality(item) for item in node.items)


def _regions(gold: Node, claim: Node, options: MathOptions) -> Outcome:
    inequalities = [is_inequality(side) and "∈" not in getattr(side, "ops", ()) for side in (gold, claim)]
    if not options.interval_as_inequality and inequalities[0] != inequalities[1]:
        return Outcome(False, "an interval and an inequality")
    compared = same_set(gold, claim)
    if compared.equal is not None:
        return compared
    if isinstance(gold, Relation) and isinstance(claim, Relation):
        related = same_relation(gold, claim)
        # Sets in one variable that were not found above may be the same although no side is proportional.
        return compared if related.equal is False and len(symbols(gold) | symbols(claim)) == 1 else related
    for side, other in ((gold, claim), (claim, gold)):
        if isinstance(side, Relation) and side.ops == ("∈",) and not isinstance(other, Relation):
            left, right = (side.sides[1], other) if side is gold else (other, side.sides[1])
            return equivalent(left, right, options)
    if isinstance(gold, Interval) and isinstance(claim, Interval):
        if (gold.open_low, gold.open_high) != (claim.open_low, claim.open_high):
            return Outcome(False, "different brackets")
        ends = [_values(gold.low, claim.low, options), _values(gold.high, claim.high, options)]
        return every(ends, "end by end")
    if isinstance(gold, Number | Matrix) or isinstance(claim, Number | Matrix):
        return Outcome(False, "a set and a value")
    if isinstance(gold, Group) and isinstance(claim, Group) and len(gold.items) == len(claim.items):
        return _matching(gold.items, claim.items, options)
    return compared


def _is_empty(node: Node) -> bool:
    return isinstance(node, Empty) or (isinstance(node, Group) and not node.items)


# Equations.


def _relations(gold: Node, claim: Node, options: MathOptions) -> Outcome:
    if isinstance(gold, Relation) and isinstance(claim, Relation):
        name, other_name = defined_name(gold), defined_name(claim)
        if name is not None and name == other_name:
            left, right = solved_value(gold), solved_value(claim)
            if left is not None and right is not None:
                return equivalent(left, right, options)
        if name is None and other_name is None:
            left, right = solved_value(gold), solved_value(claim)
            if left is not None and right is not None:
                return equivalent(left, right, options)
        if _is_value_of(gold) != _is_value_of(claim):
            return Outcome(False, "a solution and an equation")
        return same_relation(gold, claim)
    left = solved_value(gold) if isinstance(gold, Relation) else gold
    right = solved_value(claim) if isinstance(claim, Relation) else claim
    if left is None or right is None:
        return Outcome(False, "an equation and a value")
    return equivalent(left, right, options)


def _is_value_of(relation: Relation) -> bool:
    """Whether the relation gives a variable a value without variables, as "x = 5" does and "2x = 10" does not."""
    value = solved_value(relation)
    return value is not None and not any(isinstance(part, Symbol) for part in walk(value))


# Several values.


def _matrices(gold: Node, claim: Node, options: MathOptions) -> Outcome:
    if isinstance(gold, Matrix) and isinstance(claim, Matrix):
        if [len(row) for row in gold.rows] != [len(row) for row in claim.rows]:
            return Outcome(False, "matrices of different shapes")
        pairs = [pair for rows in zip(gold.rows, claim.rows, strict=True) for pair in zip(*rows, strict=True)]
        return every([equivalent(a, b, options) for a, b in pairs], "entry by entry")
    left, right = _entries(gold), _entries(claim)
    if left is None or right is None or len(left) != len(right):
        return Outcome(False, "a matrix and something else")
    return every([equivalent(a, b, options) for a, b in zip(left, right, strict=True)], "entry by entry")


def _entries(node: Node) -> tuple[Node, ...] | None:
    """The entries of a vector, however it is written."""
    match node:
        case Matrix():
            return vector(node)
        case Group("tuple" | "bracket" | "list", items):
            return items
        case _:
            return None


def _groups(gold: Node, claim: Node, options: MathOptions) -> Outcome:
    left = gold.items if isinstance(gold, Group) else (gold,)
    right = claim.items if isinstance(claim, Group) else (claim,)
    kinds = {node.kind if isinstance(node, Group) else "value" for node in (gold, claim)}
    if kinds == {"tuple", "set"} or (kinds == {"bracket", "set"} and max(len(left), len(right)) > 1):
        return Outcome(False, "different brackets")
    if kinds == {"tuple", "bracket"} and len(left) == 2 and _ascends(left):
        return Outcome(False, "an open and a closed interval, or a pair in different brackets")
    if "set" in kinds:
        left, right = _distinct(left, options), _distinct(right, options)
    if len(left) != len(right):
        return Outcome(False, f"{len(left)} elements and {len(right)}")
    ordered = kinds <= {"tuple", "bracket"} or "tuple" in kinds or (options.ordered_lists and "set" not in kinds)
    if ordered:
        return every([equivalent(a, b, options) for a, b in zip(left, right, strict=True)], "element by element")
    return _matching(left, right, options)


def _ascends(items: tuple[Node, ...]) -> bool:
    low, high = items
    if infinity(low) == -1 or infinity(high) == 1:
        return True
    return order(low, high) == -1


def _distinct(items: tuple[Node, ...], options: MathOptions) -> tuple[Node, ...]:
    kept: list[Node] = []
    for item in items:
        if not any(equivalent(item, other, options).equal for other in kept):
            kept.append(item)
    return tuple(kept)


def _matching(left: tuple[Node, ...], right: tuple[Node, ...], options: MathOptions) -> Outcome:
    """Elements in any order; equivalence is transitive, so the first partner is as good as any."""
    remaining = list(right)
    alone: list[Node] = []
    found: list[Outcome] = []
    for item in left:
        for index, other in enumerate(remaining):
            outcome = equivalent(item, other, options)
            if outcome.equal:
                del remaining[index]
                found.append(outcome)
                break
        else:
            alone.append(item)
    if not alone:
        return every(found, "elements in any order")
    rows = [[equivalent(item, other, options).equal for other in right] for item in alone]
    columns = [[equivalent(item, other, options).equal for item in left] for other in remaining]
    if any(all(equal is False for equal in line) for line in (*rows, *columns)):
        return Outcome(False, "an element without a partner")
    return Outcome(None, "elements that could not be told apart")


# Single values.


def _values(gold: Node, claim: Node, options: MathOptions) -> Outcome:
    if isinstance(gold, Quantity) or isinstance(claim, Quantity):
        return _quantities(gold, claim, options)
    if _is("ratio", gold) or _is("ratio", claim):
        return _ratios(gold, claim)
    if infinity(gold) or infinity(claim):
        return Outcome(infinity(gold) == infinity(claim), "infinities")
    if isinstance(gold, Based) != isinstance(claim, Based) and options.missing_unit_ok:
        based, plain = (gold, claim) if isinstance(gold, Based) else (claim, gold)
        if isinstance(based, Based) and isinstance(plain, Number):
            return Outcome(plain.decimals is None and str(plain.value) == based.digits, "digits, the base left out")
    if _is("%", gold) != _is("%", claim) and not options.percent_as_fraction:
        return Outcome(False, "a percentage and a plain number")
    if _is("°", gold) != _is("°", claim) and options.missing_unit_ok:
        left = gold.args[0] if _is("°", gold) and isinstance(gold, Apply) else gold
        right = claim.args[0] if _is("°", claim) and isinstance(claim, Apply) else claim
        if same_value(left, right).equal:
            return Outcome(True, "degrees, named on one side")
    if _is("°", gold) and _is("°", claim) and isinstance(gold, Apply) and isinstance(claim, Apply):
        return _rounded(gold.args[0], claim.args[0], options)
    return _rounded(gold, claim, options)


def _ratios(gold: Node, claim: Node) -> Outcome:
    """Ratios up to a common factor; a ratio of two is their quotient."""
    left, right = (side.args if isinstance(side, Apply) and side.head == "ratio" else None for side in (gold, claim))
    if left is not None and right is not None:
        if len(left) != len(right):
            return Outcome(False, "ratios of different length")
        crossed = [(Apply("*", (left[0], b)), Apply("*", (right[0], a))) for a, b in zip(left, right, strict=True)]
        return every([same_value(a, b) for a, b in crossed], "ratios")
    terms, other = (left, claim) if left is not None else (right, gold)
    if terms is None or len(terms) != 2:
        return Outcome(False, "a ratio and a value")
    return same_value(Apply("/", terms), other)


def _is(head: str, node: Node) -> bool:
    return isinstance(node, Apply) and node.head == head


def _rounded(gold: Node, claim: Node, options: MathOptions) -> Outcome:
    compared = same_value(gold, claim)
    if compared.equal is not False or options.round_to is None:
        return compared
    if not isinstance(claim, Number) or claim.decimals is None:
        return compared
    half = Number(Fraction(1, 2 * 10**options.round_to))
    off = Apply("abs", (minus(gold, claim),))
    near = order(off, half)
    if near is None:
        return compared
    return Outcome(near <= 0, f"{'within' if near <= 0 else 'beyond'} half a unit of {options.round_to} decimal places")


def _quantities(gold: Node, claim: Node, options: MathOptions) -> Outcome:
    if isinstance(gold, Quantity) and isinstance(claim, Quantity):
        a, b = gold.unit, claim.unit
        if a.dimensions == b.dimensions:
            left: Node = Apply("*", (gold.value, Number(a.factor)))
            right: Node = Apply("*", (claim.value, Number(b.factor)))
            return _rounded(gold.value, claim.value, options) if a.factor == b.factor else same_value(left, right)
        generic = "unit" in dict(a.dimensions) or "unit" in dict(b.dimensions)
        if generic and options.missing_unit_ok and _powers(a.dimensions) == _powers(b.dimensions):
            return _rounded(gold.value, claim.value, options)
        return Outcome(False, f"{a.name} and {b.name} measure different things")
    unit = gold.unit if isinstance(gold, Quantity) else claim.unit if isinstance(claim, Quantity) else PLAIN
    left, right = (side.value if isinstance(side, Quantity) else side for side in (gold, claim))
    if unit.dimensions == _COUNT:
        counted = [Apply("*", (side.value, Number(unit.factor))) if isinstance(side, Quantity) else side
                   for side in (gold, claim)]  # fmt: skip
        return same_value(*counted)
    if not options.missing_unit_ok:
        return Outcome(False, f"{unit.name} on one side only")
    compared = _values(left, right, options)
    return Outcome(compared.equal, f"{compared.rule}; {unit.name} on one side only")


def _powers(dimensions: tuple[tuple[str, int], ...]) -> list[int]:
    return sorted(power for _, power in dimensions)


# Plus or minus.


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
            if len(flat) > LIMITS.elements:
                raise LimitError(f"more than {LIMITS.elements} elements")
            return Group(kind, tuple(flat))
        case Relation((name, value), ("=",)) if _has_signs(value):
            return Group("list", tuple(Relation((name, side), ("=",)) for side in _both(value)))
        case Apply() if _has_signs(node):
            return Group("list", _both(node))
        case Quantity(value, unit) if _has_signs(value):
            return Group("list", tuple(Quantity(side, unit) for side in _both(value)))
        case _:
            return node


def _both(node: Node) -> tuple[Node, ...]:
    return tuple(_with_sign(node, upper) for upper in (True, False))


def _has_signs(node: Node) -> bool:
    return any(isinstance(part, Apply) and part.head in ("±", "∓") for part in walk(node))


def _with_sign(node: Node, upper: bool) -> Node:
    def chosen(part: Node) -> Node:
        if not isinstance(part, Apply) or part.head not in ("±", "∓"):
            return part
        left, right = part.args
        return Apply("+", (left, right if (part.head == "±") == upper else Apply("neg", (right,))))

    return rebuild(node, chosen)
