"""Whether two answers are the same, whatever kind each is. Every rule is symmetric unless an option says otherwise."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import permutations, product

from espalier.verifiers.check import MathOptions
from espalier.verifiers.math.evaluate import NotExact, Undefined, exact
from espalier.verifiers.math.kinds import different_kinds, kinds_of_numbers
from espalier.verifiers.math.limits import LIMITS, LimitError
from espalier.verifiers.math.matrices import components, in_plain_letters, reduce_matrices, vector, with_identities
from espalier.verifiers.math.numeric import minus, order, same_value, sign
from espalier.verifiers.math.opaque import (
    CARTESIAN,
    DEFINITE,
    HEADS,
    as_products,
    called,
    generic_arguments,
    has_heads,
    with_stand_ins,
    written_alone,
)
from espalier.verifiers.math.outcome import Equality, doubt, every, unless_different
from espalier.verifiers.math.progressions import written_out
from espalier.verifiers.math.relations import (
    congruence,
    defined_name,
    family,
    is_inequality,
    same_relation,
    solved_congruence,
    solved_value,
)
from espalier.verifiers.math.series import SERIES, write_out
from espalier.verifiers.math.sets import infinity, same_combination, same_set
from espalier.verifiers.math.statements import same_statement
from espalier.verifiers.math.tree import (
    DOTS,
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
    Permutation,
    Quantity,
    Region,
    RelationNode,
    Symbol,
    Text,
    children,
    rebuild,
    show,
    substitute,
    symbols,
    walk,
)
from espalier.verifiers.math.units import PLAIN, PRIMES, lookup
from espalier.verifiers.math.words import SCALES

_COUNT = (("count", 1),)
CLOCK = re.compile(r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?P<half> am| pm)?")
"""A time of day as the parser writes it."""


def equivalent(gold: Node, claim: Node, options: MathOptions) -> Equality:
    """Compare a reference with a claim.

    Returns:
        Equal, different, or undecided; with the rule that decided.
    """
    if isinstance(gold, Number) and isinstance(claim, Number):
        return _rounded(gold, claim, options)
    if (stated := same_statement(gold, claim, lambda a, b: equivalent(a, b, options))) is not None:
        return stated
    if _has_several_signs(gold) or _has_several_signs(claim):
        together, apart = (_as_written(gold, claim, options, apart=apart) for apart in (False, True))
        return together if together.equal is apart.equal else doubt("signs that belong together, or do not")
    return _as_written(gold, claim, options, apart=False)


def _as_written(gold: Node, claim: Node, options: MathOptions, *, apart: bool) -> Equality:
    """Compare answers of which several signs ± in one expression belong together, or each stands for itself."""
    try:
        gold, claim = with_identities(gold, claim), with_identities(claim, gold)
        gold, claim = _alike(normal(gold, apart=apart), normal(claim, apart=apart))
        gold, claim = _with_primes(gold, claim), _with_primes(claim, gold)
        claim = _same_constant(gold, claim)
        if (value := _at_a_point(claim)) is not None and not isinstance(gold, RelationNode):
            named = equivalent(gold, value, options)
            return unless_different(named, "a value of a function that only the answer names")
        gold, claim = _without_argument(gold, claim), _without_argument(claim, gold)
        if isinstance(gold, RelationNode) and isinstance(claim, RelationNode):
            gold, claim = generic_arguments(gold), generic_arguments(claim)
        else:
            gold, claim = _body(gold, claim), _body(claim, gold)
            gold, claim = _unnamed_point(gold, claim), _unnamed_point(claim, gold)
        names = called(gold) | called(claim)
        if not names and not any(has_heads(side, CARTESIAN) for side in (gold, claim)):
            return _standing_in(gold, claim, options)
        return _with_calls(gold, claim, names, options)
    except (Undefined, LimitError) as error:
        return Equality(None, str(error))


def _standing_in(gold: Node, claim: Node, options: MathOptions) -> Equality:
    if not has_heads(gold, HEADS | SERIES) and not has_heads(claim, HEADS | SERIES):
        return _equivalent(gold, claim, options)
    left, right = with_stand_ins((gold, claim), HEADS)
    outcome = _equivalent(left, right, options)
    if outcome.equal is not None or outcome.doubtful or not any(has_heads(side, SERIES) for side in (left, right)):
        return outcome
    left, right = with_stand_ins((gold, claim), HEADS | SERIES)
    alike = _equivalent(left, right, options)
    return alike if alike.equal else outcome


def _with_calls(gold: Node, claim: Node, names: frozenset[str], options: MathOptions) -> Equality:
    """Compare trees with brackets behind letters: calls of a function, or products where the reference says so."""
    factors = names & written_alone(gold)
    gold, claim = as_products(gold, factors), as_products(claim, factors)
    outcome = _standing_in(gold, claim, options)
    rest = names - factors
    in_order = any(has_heads(side, CARTESIAN) for side in (gold, claim))
    definite = rest <= DEFINITE and not rest & written_alone(claim)
    if outcome.equal is True or (definite and not in_order):
        return outcome
    products = _standing_in(as_products(gold), as_products(claim), options)
    return doubt("equal if brackets behind a letter mean a product") if products.equal else outcome


def _without_argument(node: Node, other: Node) -> Node:
    """ "y(x) = …" as "y = …", where the other side writes it so."""
    match node, other:
        case RelationNode((Apply("call", (Symbol() as name, Symbol())), value), ("=",)), RelationNode(
            (first, *_), ("=",)
        ) if first == name:
            return RelationNode((name, value), ("=",))
        case _:
            return node


def _unnamed_point(node: Node, other: Node) -> Node:
    """The (1, 2) of the point "A(1, 2)", where the other side is a tuple."""
    match node, other:
        case Apply("call", (Symbol(name), _, _, *_)), Group("tuple") if len(name) == 1 and name.isupper():
            return Group("tuple", node.args[1:])
        case _:
            return node


def _at_a_point(node: Node) -> Node | None:
    """The 5 of "f(6) = 5"; None for anything but the value of a function at a number."""
    match node:
        case RelationNode((Apply("call", (Symbol(), *arguments)), value), ("=",)) if any(
            isinstance(argument, Number | Constant | Apply) and not symbols(argument) for argument in arguments
        ):
            return value
        case _:
            return None


def _body(node: Node, other: Node) -> Node:
    """What "f(x) = …" says, where the other side is no equation."""
    match node:
        case RelationNode((Apply("call", (Symbol(), *arguments)), *_), ("=",) | ("=", "=")) if not isinstance(
            other, RelationNode
        ) and all(isinstance(argument, Symbol) for argument in arguments):
            return node.sides[-1]
        case _:
            return node


def _alike(gold: Node, claim: Node) -> tuple[Node, Node]:
    """Letters that one side alone sets in bold are the same letters."""
    bold = [{name[5:] for name in symbols(side) if name.startswith("bold ")} for side in (gold, claim)]
    return _bolder(gold, bold[1] - bold[0]), _bolder(claim, bold[0] - bold[1])


def _with_primes(node: Node, other: Node) -> Node:
    """A tree with dy/dx as y′ and df/dx as f′(x), where the other side writes it so."""  # noqa: RUF002
    if not has_heads(node, frozenset({"derivative"})):
        return node
    primed = {part for part in walk(other) if isinstance(part, Symbol) and part.name.endswith("′")}  # noqa: RUF001
    calls = {part for part in walk(other) if isinstance(part, Apply) and part.head == "call"}

    def change(part: Node) -> Node:
        match part:
            case Apply("derivative", (Symbol(name), Symbol(variable), Number(order))):
                prime = Symbol(name + "′" * int(order))  # noqa: RUF001
                call = Apply("call", (prime, Symbol(variable)))
                if call in calls:
                    return call
                return prime if prime in primed and variable in {"x", *symbols(other)} else part
            case _:
                return part

    return rebuild(node, change)


_INDEXED_CONSTANT = re.compile(r"[CcKk]_\d")
_MOST_CONSTANTS = 3


def _same_constant(gold: Node, claim: Node) -> Node:
    """The claim with its constants of integration called as in the reference: "+ C" is "+ c", "C_1 e^x + C_2" is
    "A e^x + B"."""
    mine, theirs = symbols(claim) - symbols(gold), symbols(gold) - symbols(claim)
    if 1 < len(mine) == len(theirs) <= _MOST_CONSTANTS:
        own, other = (all(map(_INDEXED_CONSTANT.fullmatch, names)) for names in (mine, theirs))
        named = all(_INDEXED_CONSTANT.fullmatch(name) or name in ("A", "B", "C", "D") for name in mine | theirs)
        if not named or not (own or other):
            return claim
        every_way = (dict(zip(sorted(mine), names, strict=True)) for names in permutations(sorted(theirs)))
        renamed = [substitute(claim, {name: Symbol(new) for name, new in way.items()}) for way in every_way]
        return next((node for node in renamed if _of_same_constants(gold, node)), claim)
    one_letter = len(mine) == len(theirs) == 1 and set(map(str.lower, mine)) == set(map(str.lower, theirs)) <= {
        "c",
        "k",
    }
    if one_letter and all(isinstance(side, RelationNode) and side.sides[0] == Symbol("y") for side in (gold, claim)):
        return substitute(claim, {next(iter(mine)): Symbol(next(iter(theirs)))})
    if len(mine) != 1 or len(theirs) != 1 or not mine | theirs <= {"C", "c", "K", "k"}:
        return claim
    if not all(_added(side, next(iter(name))) for side, name in ((gold, theirs), (claim, mine))):
        return claim
    return substitute(claim, {next(iter(mine)): Symbol(next(iter(theirs)))})


def _of_same_constants(gold: Node, claim: Node) -> bool:
    sides = [node.sides[-1] if isinstance(node, RelationNode) else node for node in (gold, claim)]
    return same_value(*sides).equal is True


def _added(node: Node, name: str) -> bool:
    """Whether a name stands once in a tree, as a term of the sum that the tree or its last side is."""
    value = node.sides[-1] if isinstance(node, RelationNode) else node
    once = sum(part == Symbol(name) for part in walk(node)) == 1
    return once and isinstance(value, Apply) and value.head == "+" and Symbol(name) in value.args


def _bolder(node: Node, letters: set[str]) -> Node:
    if not letters:
        return node

    def change(part: Node) -> Node:
        return Symbol(f"bold {part.name}") if isinstance(part, Symbol | Constant) and part.name in letters else part

    return rebuild(node, change)


def normal(node: Node, *, apart: bool = False) -> Node:
    """The form that is compared: matrices reduced, ± written out; several in one expression together or `apart`."""
    return expand_signs(_name_first(reduce_matrices(write_out(node))), apart=apart)


def _name_first(node: Node) -> Node:
    """ "5 = x" as "x = 5", "x ≠ 1, 2" as "x ≠ 1, x ≠ 2", "f(x) ≡ 5" as "f(x) = 5", and "1, 2, …, 5" written out."""
    match node:
        case RelationNode((Apply("call", _), value), ("≡",)) if not has_heads(value, frozenset({"class", "mod"})):
            return RelationNode(node.sides, ("=",))
        case Group(kind, items, word) if DOTS in items:
            return Group(kind, written_out(items) or items, word)
        case Group("list", (RelationNode((Symbol() as name, _), ("!=",)) as first, *others), word) if not any(
            isinstance(item, RelationNode) for item in others
        ):
            return Group("list", (first, *(RelationNode((name, item), ("!=",)) for item in others)), word)
        case RelationNode((value, Symbol() | Apply("call", _) as name), ("=",)) if not symbols(value):
            return RelationNode((name, value), ("=",))
        case _:
            return node


def canonical(node: Node) -> str:
    """A key such that answers with the same key are equivalent: rational numbers in lowest terms, else the tree."""
    try:
        node = normal(node)
        if any(isinstance(part, Based) or _is_more_than_a_value(part) for part in walk(node)):
            return show(node)
        return f"number {show(Number(exact(node)))}"
    except (NotExact, Undefined, LimitError):
        pass
    if isinstance(node, Group):
        return f"{node.kind} {node.word}({', '.join(map(canonical, node.items))})"
    return show(node)


def _is_more_than_a_value(node: Node) -> bool:
    return isinstance(node, Apply) and node.head in ("%", "°", "rad", "ratio", "mod", "class")


def _equivalent(gold: Node, claim: Node, options: MathOptions) -> Equality:
    if gold == claim:
        return Equality(True, "identical")
    if (combined := same_combination(gold, claim)) is not None:
        return combined
    if (families := _families(gold, claim)) is not None:
        return families
    if isinstance(gold, Permutation) or isinstance(claim, Permutation):
        return _permutations(gold, claim)
    if isinstance(gold, Choice | Text) or isinstance(claim, Choice | Text):
        return _words(gold, claim, options)
    if _is_region(gold) or _is_region(claim):
        return _regions(gold, claim, options)
    if isinstance(gold, Empty) or isinstance(claim, Empty):
        return Equality(_is_empty(gold) and _is_empty(claim), "the empty set")
    if (named := _by_name(gold, claim, options)) is not None:
        return named
    if isinstance(gold, RelationNode) or isinstance(claim, RelationNode):
        return _relations(gold, claim, options)
    if (vectors := _unit_vectors(gold, claim, options)) is not None:
        return vectors
    if _is("image", gold) or _is("image", claim):
        alike = kinds_of_numbers(gold) == kinds_of_numbers(claim)
        return same_value(gold, claim) if alike else different_kinds(gold, claim)
    if isinstance(gold, Matrix) or isinstance(claim, Matrix):
        return _matrices(gold, claim, options)
    if isinstance(gold, Group) or isinstance(claim, Group):
        return _groups(gold, claim, options)
    return _values(gold, claim, options)


def _permutations(gold: Node, claim: Node) -> Equality:
    """Compare products of cycles, whichever of them acts first; a tuple may be one cycle."""
    match gold, claim:
        case Permutation(), Permutation():
            elements = {element for side in (gold, claim) for cycle in side.cycles for element in cycle}
            same = [
                all(
                    gold.image(element, leftmost_first=first) == claim.image(element, leftmost_first=first)
                    for element in elements
                )
                for first in (True, False)
            ]
            rule = "one permutation" if same[0] else "different permutations"
            return Equality(same[0], rule) if same[0] is same[1] else doubt("cycles in an order that is not said")
        case (Permutation() as cycles, Group("tuple", items)) | (Group("tuple", items), Permutation() as cycles):
            values = [int(item.value) for item in items if isinstance(item, Number)]
            alone = len(values) == len(items) and _permutations(cycles, Permutation((tuple(values),))).equal
            return doubt("a cycle, or a tuple") if alone else Equality(False, "a permutation and a tuple")
        case _:
            return Equality(False, "a permutation and something else")


def _words(gold: Node, claim: Node, options: MathOptions) -> Equality:
    match gold, claim:
        case Choice(a, content), Choice(b, other) if a == b and content is not None and other is not None:
            return equivalent(content, other, options)
        case Choice(a), Choice(b):
            return Equality(a == b, "option letters")
        case (Choice(a), Symbol(b)) | (Symbol(b), Choice(a)):
            return Equality(a == b.removeprefix("bold "), "option letters")
        case Choice(_, content), other:
            return Equality(False, "an option and a value") if content is None else equivalent(content, other, options)
        case other, Choice(_, content):
            return Equality(False, "a value and an option") if content is None else equivalent(other, content, options)
        case Text(a), Text(b):
            if a != b and (clock := _same_clock(a, b)) is not None:
                return clock
            if a != b and _date_without_year(a, b):
                return doubt("one date without its year")
            if a != b and (parts := _named_things(a)) and parts == _named_things(b):
                return Equality(True, "names in any order")
            return Equality(a == b, "words")
        case _:
            return Equality(False, "words and a value")


def _named_things(words: str) -> frozenset[str]:
    """The names of "alice and bob", which have no order; none for anything longer."""
    names = words.split(" and ")
    return frozenset(names) if len(names) > 1 and all(len(name.split()) == 1 for name in names) else frozenset()


def _same_clock(a: str, b: str) -> Equality | None:
    """Compare times of day by the minutes since midnight that they may mean; None where one is no time of day."""
    times = [CLOCK.fullmatch(text) for text in (a, b)]
    if not times[0] or not times[1]:
        return None
    first, second = _minutes(times[0]), _minutes(times[1])
    if first == second and len(first) == 1:
        return Equality(True, "one time of day")
    if first & second:
        return doubt("one time of day without a.m. or p.m.")
    return Equality(False, "different times of day")


def _minutes(time: re.Match[str]) -> frozenset[int]:
    hour, minute = int(time["hour"]), int(time["minute"])
    if time["half"]:
        return frozenset({hour % 12 * 60 + minute + (720 if "p" in time["half"] else 0)})
    if not 1 <= hour <= 12:
        return frozenset({hour * 60 + minute})
    return frozenset(hour % 12 * 60 + minute + half for half in (0, 720))


def _date_without_year(a: str, b: str) -> bool:
    dates = [text.removeprefix("date ").partition("-") for text in (a, b) if text.startswith("date ")]
    return len(dates) == 2 and dates[0][2] == dates[1][2] and "?" in (dates[0][0], dates[1][0])


# Sets of real numbers.


def _is_region(node: Node) -> bool:
    if isinstance(node, Interval | Region) or is_inequality(node) or node == Symbol("reals"):
        return True
    return isinstance(node, Group) and node.kind == "list" and any(is_inequality(item) for item in node.items)


def _regions(gold: Node, claim: Node, options: MathOptions) -> Equality:
    if kinds_of_numbers(gold) != kinds_of_numbers(claim):
        return different_kinds(gold, claim)
    joined = {side.op for side in (gold, claim) if isinstance(side, Region) and len(symbols(side) - {"reals"}) > 1}
    if any(isinstance(side, Group) for side in (gold, claim)) and "union" in joined:
        return Equality(False, "all and any of several conditions")
    inequalities = [is_inequality(side) and "∈" not in getattr(side, "ops", ()) for side in (gold, claim)]
    if not options.interval_as_inequality and inequalities[0] != inequalities[1]:
        return Equality(False, "an interval and an inequality")
    compared = same_set(gold, claim)
    if compared.equal is not None:
        return compared
    if isinstance(gold, RelationNode) and isinstance(claim, RelationNode):
        related = same_relation(gold, claim)
        # Sets in one variable that were not found above may be the same although no side is proportional.
        return compared if related.equal is False and len(symbols(gold) | symbols(claim)) == 1 else related
    for side, other in ((gold, claim), (claim, gold)):
        if isinstance(side, RelationNode) and side.ops == ("∈",) and not isinstance(other, RelationNode):
            left, right = (side.sides[1], other) if side is gold else (other, side.sides[1])
            return equivalent(left, right, options)
    if isinstance(gold, Interval) and isinstance(claim, Interval):
        if (gold.open_low, gold.open_high) != (claim.open_low, claim.open_high):
            return Equality(False, "different brackets")
        ends = [_values(gold.low, claim.low, options), _values(gold.high, claim.high, options)]
        return every(ends, "end by end")
    if isinstance(gold, Number | Matrix) or isinstance(claim, Number | Matrix):
        return Equality(False, "a set and a value")
    if isinstance(gold, Group) and isinstance(claim, Group) and len(gold.items) == len(claim.items):
        matched = _matching(gold.items, claim.items, options)
        joined_alike = {gold.word, claim.word} != {"and", "or"} or _one_unknown(gold, claim)
        return matched if joined_alike else unless_different(matched, _JOINED)
    return compared


def _is_empty(node: Node) -> bool:
    return isinstance(node, Empty) or (isinstance(node, Group) and not node.items)


# Equations.


def _relations(gold: Node, claim: Node, options: MathOptions) -> Equality:
    if any(isinstance(side, RelationNode) and "≡" in side.ops for side in (gold, claim)):
        return _congruences(gold, claim)
    if isinstance(claim, RelationNode) and claim.ops == ("≈",) and not _is_approximate(gold):
        return unless_different(_relations(gold, replace(claim, ops=("=",)), options), "an approximation")
    if isinstance(gold, RelationNode) and isinstance(claim, RelationNode):
        name, other_name = defined_name(gold), defined_name(claim)
        if name is not None and name == other_name:
            left, right = solved_value(gold), solved_value(claim)
            if left is not None and right is not None:
                return equivalent(left, right, options)
        if name is None and other_name is None:
            left, right = solved_value(gold), solved_value(claim)
            if left is not None and right is not None:
                if symbols(gold.sides[0]) and not same_value(gold.sides[0], claim.sides[0]).equal:
                    return Equality(False, "values of different things")
                return equivalent(left, right, options)
        if _is_value_of(gold) != _is_value_of(claim):
            return Equality(False, "a solution and an equation")
        return same_relation(gold, claim)
    left = solved_value(gold) if isinstance(gold, RelationNode) else gold
    right = solved_value(claim) if isinstance(claim, RelationNode) else claim
    if left is None or right is None:
        value = _of_expression(claim)
        if left is None or value is None:
            return Equality(False, "an equation and a value")
        return unless_different(
            equivalent(gold, value, options), "the value of an expression that only the answer names"
        )
    return equivalent(left, right, options)


def _is_approximate(node: Node) -> bool:
    """Whether a side is a decimal number, or says that it is about that."""
    if isinstance(node, RelationNode):
        return "≈" in node.ops or _is_approximate(node.sides[-1])
    return isinstance(node, Number) and node.decimals is not None


def _of_expression(node: Node) -> Node | None:
    """The 7 of "m + n = 7", which need not be an equation to solve; None for anything else."""
    match node:
        case RelationNode((Apply() as left, value), ("=",)) if len(symbols(left)) > 1 and not symbols(value):
            return value
        case _:
            return None


def _congruences(gold: Node, claim: Node) -> Equality:
    """Congruences are the same when what is congruent, the modulus and the residue are."""
    left, right = congruence(gold), congruence(claim)
    if left is not None and right is None and isinstance(claim, Number):
        return same_value(left[1], claim)  # the residue, its modulus left out
    if right is not None and left is None and isinstance(gold, Number):
        return unless_different(same_value(gold, right[1]), "a modulus that only the answer names")
    if left is None or right is None:
        other = gold if left is None else claim
        if left is right or any(congruence(part) is not None for part in walk(other)):
            return Equality(None, "several congruences")
        return Equality(False, "a congruence and something else")
    name, residue, modulus = solved_congruence(left)
    other_name, other_residue, other_modulus = solved_congruence(right)
    if name != other_name and name is not None and other_name is not None:
        return Equality(False, "congruences of different unknowns")
    if modulus is None or other_modulus is None:
        return Equality(None if modulus is other_modulus else False, "a congruence without its modulus")
    if (same := same_value(modulus, other_modulus)).equal is not True:
        return Equality(same.equal, "different moduli")
    if same_value(residue, other_residue).equal:
        return Equality(True, "one residue and one modulus")
    try:
        return Equality(exact(Apply("mod", (minus(residue, other_residue), modulus))) == 0, "residues of one modulus")
    except (NotExact, Undefined):
        return Equality(None, "residues that cannot be told apart")


def _families(gold: Node, claim: Node) -> Equality | None:
    """Compare a congruence with "x = 6k + 2"; None where the sides are anything else."""
    for side, other in ((gold, claim), (claim, gold)):
        if (found := congruence(side)) is None or congruence(other) is not None or (values := family(other)) is None:
            continue
        name, residue, modulus = solved_congruence(found)
        unknown, start, step, kind = values
        if modulus is None or (name is not None and name != unknown):
            return None
        moduli = same_value(Apply("abs", (step,)), modulus)
        if not moduli.equal:
            return Equality(moduli.equal, "a congruence, and values of another step")
        try:
            same = exact(Apply("mod", (minus(residue, start), modulus))) == 0
        except (NotExact, Undefined):
            return None
        if same and kind == "N":
            return doubt("all values, or those from a first one on")
        return Equality(same, "a congruence and its values")
    return None


def _is_value_of(relation: RelationNode) -> bool:
    """Whether the relation gives a variable a value without variables, as "x = 5" does and "2x = 10" does not."""
    value = solved_value(relation)
    return value is not None and not any(isinstance(part, Symbol) for part in walk(value))


# Several values.


def _matrices(gold: Node, claim: Node, options: MathOptions) -> Equality:
    if isinstance(gold, Matrix) and isinstance(claim, Matrix):
        if [len(row) for row in gold.rows] != [len(row) for row in claim.rows]:
            return Equality(False, "matrices of different shapes")
        pairs = [pair for rows in zip(gold.rows, claim.rows, strict=True) for pair in zip(*rows, strict=True)]
        return every([equivalent(a, b, options) for a, b in pairs], "entry by entry")
    left, right = _entries(gold), _entries(claim)
    if left is None or right is None or len(left) != len(right):
        return Equality(False, "a matrix and something else")
    return every([equivalent(a, b, options) for a, b in zip(left, right, strict=True)], "entry by entry")


def _unit_vectors(gold: Node, claim: Node, options: MathOptions) -> Equality | None:
    """Compare by components where a side is a sum of multiples of i, j and k; None where they cannot be told."""
    if not all(isinstance(side, Apply | Symbol | Group | Matrix) for side in (gold, claim)):
        return None
    own, other = components(gold), components(claim)
    if own is not None and other is not None:
        return every([equivalent(a, b, options) for a, b in zip(own, other, strict=True)], "component by component")
    for side, vectors in ((gold, other), (claim, own)):
        entries = _entries(side)
        if entries is None or len(entries) not in (2, 3):
            continue
        written = claim if side is gold else gold
        found = vectors or components(in_plain_letters(written)) if isinstance(written, Apply) else vectors
        if found is None:
            continue
        padded = (*entries, Number(Fraction(0)))[:3]
        pairs = [(a, b) if side is gold else (b, a) for a, b in zip(padded, found, strict=True)]
        compared = every([equivalent(a, b, options) for a, b in pairs], "component by component")
        return compared if vectors is not None else unless_different(compared, "letters that may be unit vectors")
    return None


def _entries(node: Node) -> tuple[Node, ...] | None:
    """The entries of a vector, however it is written."""
    match node:
        case Matrix():
            return vector(node)
        case Group("tuple" | "bracket" | "list", items):
            return items
        case _:
            return None


def _named(node: Node) -> dict[str, Node] | None:
    """The values by name of "x = 1, y = 2", "(x, y) = (1, 2)" and their likes; None for anything else."""
    match node:
        case RelationNode((Group("tuple" | "list", names), Group("tuple" | "list", values)), ("=",)):
            if len(names) != len(values) or not all(isinstance(name, Symbol) for name in names):
                return None
            return {name.name: value for name, value in zip(names, values, strict=True) if isinstance(name, Symbol)}
        case Group("list" | "tuple" | "set", items):
            named = {
                item.sides[0].name: item.sides[-1]
                for item in items
                if isinstance(item, RelationNode) and item.ops == ("=",) and isinstance(item.sides[0], Symbol)
            }
            return named if len(named) == len(items) > 1 else None
        case _:
            return None


def _all_equal(node: Node) -> dict[str, Node] | None:
    """The values by name of "a = b = 1"; None for anything else."""
    match node:
        case RelationNode((*names, value), ops) if set(ops) == {"="} and not symbols(value):
            named = {name.name: value for name in names if isinstance(name, Symbol)}
            return named if len(named) == len(names) > 1 else None
        case _:
            return None


def _by_name(gold: Node, claim: Node, options: MathOptions) -> Equality | None:
    """Compare where one side names several values; None where none does."""
    left, right = _named(gold), _named(claim)
    if left is None and (right is not None or isinstance(claim, Group)):
        left = _all_equal(gold)
    if right is None and (left is not None or isinstance(gold, Group)):
        right = _all_equal(claim)
    if left is None and right is None:
        return None
    if left is not None and right is not None:
        if left.keys() != right.keys():
            return Equality(False, "values of different names")
        words = {side.word for side in (gold, claim) if isinstance(side, Group)}
        if "or" in words and words != {"or"}:
            return Equality(False, "all and any of several values")
        return every([equivalent(left[name], right[name], options) for name in left], "value by name")
    named, plain = (left or {}, claim) if left is not None else (right or {}, gold)
    names = list(named)
    if not isinstance(plain, Group) or len(plain.items) != len(names):
        return Equality(False, "named values and something else")
    if any(isinstance(side, Group) and side.word == "or" for side in (gold, claim)):
        return Equality(False, "values of which only one need hold, and values without names")
    if any(isinstance(item, RelationNode) for item in plain.items):
        return Equality(False, "values of different names")
    values = [named[name] for name in names]
    in_order = every(
        [equivalent(*pair, options) for pair in zip(values, plain.items, strict=True)],
        "values in the order of their names",
    )
    if plain.kind == "tuple" and names == sorted(names):
        return in_order
    if in_order.equal:
        return doubt("values without their names")
    return Equality(False if in_order.equal is False else None, in_order.rule)


_JOINED = "joined by and, and by or"


def _groups(gold: Node, claim: Node, options: MathOptions) -> Equality:
    words = {side.word for side in (gold, claim) if isinstance(side, Group)}
    if words >= {"and", "or"} and not _one_unknown(gold, claim):
        return doubt(_JOINED)
    for side, other in ((gold, claim), (claim, gold)):
        match side:
            case Group("set", (Group("tuple") as only,)) if isinstance(other, Group) and other.kind == "tuple":
                return equivalent(*((only, other) if side is gold else (other, only)), options)
    left = gold.items if isinstance(gold, Group) else (gold,)
    right = claim.items if isinstance(claim, Group) else (claim,)
    if DOTS in left or DOTS in right:
        return _going_on(left, right, options)
    kinds = {node.kind if isinstance(node, Group) else "value" for node in (gold, claim)}
    if kinds == {"tuple", "set"} or (kinds == {"bracket", "set"} and max(len(left), len(right)) > 1):
        return Equality(False, "different brackets")
    if kinds == {"tuple", "bracket"} and len(left) == 2 and len(right) == 2:
        if _ascends(left):
            return Equality(False, "an open and a closed interval, or a pair in different brackets")
        pair = every([equivalent(a, b, options) for a, b in zip(left, right, strict=True)], "element by element")
        return unless_different(pair, "a pair in different brackets")
    if "set" in kinds and max(len(left), len(right)) > 1:
        left, right = _distinct(left, options), _distinct(right, options)
    if len(left) != len(right):
        return Equality(False, f"{len(left)} elements and {len(right)}")
    nested = isinstance(gold, Group) and isinstance(claim, Group)
    if not nested and kinds & {"set", "bracket"} and len(left) == 1 and symbols(left[0]):
        alone = equivalent(left[0], right[0], options)  # [x] and {x} are parts of a number, too
        return alone if any(isinstance(side, RelationNode) for side in left) else unless_different(alone, "brackets")
    ordered = kinds <= {"tuple", "bracket"} or "tuple" in kinds or (options.ordered_lists and "set" not in kinds)
    if nested and sorted(map(_shape, left)) != sorted(map(_shape, right)):
        return Equality(False, "elements that are sets, and elements that are not")
    if ordered:
        return every([equivalent(a, b, options) for a, b in zip(left, right, strict=True)], "element by element")
    return _matching(left, right, options)


def _going_on(left: tuple[Node, ...], right: tuple[Node, ...], options: MathOptions) -> Equality:
    """Compare lists with dots in them, which keep their order."""
    if DOTS not in left or DOTS not in right:
        dotted, written = (left, right) if DOTS in left else (right, left)
        at = dotted.index(DOTS)
        ends = (*zip(dotted[:at], written, strict=False), *zip(dotted[:at:-1], written[::-1], strict=False))
        if at == len(dotted) - 1 or len(written) < len(dotted):
            return Equality(False, "a list that goes on, and one that ends")
        return unless_different(every([equivalent(a, b, options) for a, b in ends], "the ends"), "dots")
    if len(left) == len(right) and left.index(DOTS) == right.index(DOTS):
        return every([equivalent(a, b, options) for a, b in zip(left, right, strict=True)], "element by element")
    begun = zip(left[: left.index(DOTS)], right[: right.index(DOTS)], strict=False)
    return unless_different(every([equivalent(a, b, options) for a, b in begun], "the beginning"), "dots")


def _shape(node: Node) -> str:
    """Whether an element is a set, brackets or a single value."""
    if isinstance(node, Empty):
        return "set"
    if isinstance(node, RelationNode) and node.ops == ("=",):
        return _shape(node.sides[-1])
    if not isinstance(node, Group):
        return "value"
    return "set" if node.kind == "set" else "brackets"


def _one_unknown(gold: Node, claim: Node) -> bool:
    """Whether both sides only list values of one and the same unknown, where "and" is as good as "or"."""
    sides = [item for side in (gold, claim) if isinstance(side, Group) for item in side.items]
    names = {item.sides[0] for item in sides if isinstance(item, RelationNode) and item.ops == ("=",)}
    return len(names) == 1 and all(isinstance(item, RelationNode) for item in sides)


def _fraction(node: Node) -> Fraction | None:
    """The rational number that an element is and says no more than."""
    if any(isinstance(part, Based) or _is_more_than_a_value(part) for part in walk(node)):
        return None
    try:
        return exact(node)
    except (NotExact, Undefined, LimitError):
        return None


def _ascends(items: tuple[Node, ...]) -> bool:
    low, high = items
    if infinity(low) == -1 or infinity(high) == 1:
        return True
    return order(low, high) == -1


def _distinct(items: tuple[Node, ...], options: MathOptions) -> tuple[Node, ...]:
    """Each element once. Rational numbers are told apart by their value; only others are compared in pairs."""
    kept: list[Node] = []
    rational: dict[Fraction, Node] = {}
    for item in items:
        if (value := _fraction(item)) is not None:
            rational.setdefault(value, item)
            continue
        if len(kept) > _PAIRED:
            raise LimitError(f"more than {_PAIRED} elements that are no fractions")
        if not any(equivalent(item, other, options).equal for other in kept):
            kept.append(item)
    return (*rational.values(), *kept)


_PAIRED = 48
"""Most elements that are no rational numbers and are compared in pairs."""


def _matching(left: tuple[Node, ...], right: tuple[Node, ...], options: MathOptions) -> Equality:
    """Elements in any order; equivalence is transitive, so the first partner is as good as any."""
    rational = [Counter(value for item in side if (value := _fraction(item)) is not None) for side in (left, right)]
    if rational[0].total() == len(left) and rational[1].total() == len(right):
        return Equality(rational[0] == rational[1], "exact fractions in any order")
    if len(left) > _PAIRED:
        raise LimitError(f"more than {_PAIRED} elements that are no fractions")
    remaining = list(right)
    alone: list[Node] = []
    found: list[Equality] = []
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
    rows = [[equivalent(item, other, options) for other in right] for item in alone]
    columns = [[equivalent(item, other, options) for item in left] for other in remaining]
    if any(all(outcome.equal is False for outcome in line) for line in (*rows, *columns)):
        return Equality(False, "an element without a partner")
    undecided = [outcome for line in rows for outcome in line if outcome.equal is None]
    if all(outcome.doubtful for outcome in undecided):
        return doubt(undecided[0].rule if undecided else "elements of which several are alike")
    return Equality(None, "elements that could not be told apart")


# Single values.


def _opposite(node: Node) -> Node | None:
    """What a negative number is the opposite of."""
    match node:
        case Apply("neg", (inner,)):
            return inner
        case Number(value) if value < 0:
            return replace(node, value=-value)
    return None


def _values(gold: Node, claim: Node, options: MathOptions) -> Equality:
    if isinstance(gold, Quantity) or isinstance(claim, Quantity):
        return _quantities(gold, claim, options)
    if _is("ratio", gold) or _is("ratio", claim):
        return _ratios(gold, claim)
    if infinity(gold) or infinity(claim):
        return Equality(infinity(gold) == infinity(claim), "infinities")
    opposite, other = _opposite(gold), _opposite(claim)
    if opposite and other and isinstance(opposite, Based) != isinstance(other, Based):
        return _values(opposite, other, options)
    if isinstance(gold, Based) != isinstance(claim, Based):
        based, plain = (gold, claim) if isinstance(gold, Based) else (claim, gold)
        if isinstance(based, Based) and isinstance(plain, Number) and options.missing_unit_ok:
            if plain.decimals is None and str(plain.value) == based.digits:
                same = Equality(True, "digits, the base left out")
                return same if isinstance(gold, Based) else doubt("a base that only the answer names")
            return unless_different(same_value(gold, claim), "one number, in a base that only one side names")
    if _is("class", gold) or _is("class", claim):
        if isinstance(gold, Apply) and _is("class", gold) and isinstance(claim, Number):
            return same_value(gold.args[0], claim) if options.missing_unit_ok else Equality(None, "no modulus")
        return _congruences(gold, claim)
    if isinstance(gold, Apply) and isinstance(claim, Apply) and gold.head == claim.head == "mod":
        same = same_value(gold, claim)
        moduli = same_value(gold.args[1], claim.args[1])
        return same if moduli.equal else unless_different(same, "remainders of different moduli")
    if _is("mod", claim) and isinstance(gold, Number):
        return unless_different(same_value(gold, claim), "a modulus that only the answer names")
    if _is("rad", gold) != _is("rad", claim) and not _is("°", gold) and not _is("°", claim):
        same = same_value(gold, claim)
        return (
            same
            if _is("rad", gold) or Constant("pi") in walk(gold)
            else unless_different(same, "radians, in the answer only")
        )
    if isinstance(gold, Number) and (value := _without_scale(claim)) is not None and same_value(gold, value).equal:
        return doubt(_SCALE)
    if _is("%", gold) != _is("%", claim) and not options.percent_as_fraction:
        return Equality(False, "a percentage and a plain number")
    if _is("°", gold) != _is("°", claim) and options.missing_unit_ok:
        left = gold.args[0] if _is("°", gold) and isinstance(gold, Apply) else gold
        right = claim.args[0] if _is("°", claim) and isinstance(claim, Apply) else claim
        if not _is("rad", left) and not _is("rad", right) and same_value(left, right).equal:
            if _is("°", gold):
                return Equality(True, "degrees, left out in the answer")
            return doubt("degrees that only the answer names")
    if _is("°", gold) and _is("°", claim) and isinstance(gold, Apply) and isinstance(claim, Apply):
        return _rounded(gold.args[0], claim.args[0], options)
    return _rounded(gold, claim, options)


_SCALE = "a scale that only the answer names"


def _without_scale(node: Node) -> Node | None:
    """The 5 of "5 million"; None for anything else."""
    match node:
        case Apply("*", (Number() as value, Number(scale, None))) if scale in SCALES.values():
            return value
        case _:
            return None


def _ratios(gold: Node, claim: Node) -> Equality:
    """Ratios up to a common factor; a ratio of two is their quotient."""
    left, right = (side.args if isinstance(side, Apply) and side.head == "ratio" else None for side in (gold, claim))
    if left is not None and right is not None:
        if len(left) != len(right):
            return Equality(False, "ratios of different length")
        crossed = [(Apply("*", (left[0], b)), Apply("*", (right[0], a))) for a, b in zip(left, right, strict=True)]
        return every([same_value(a, b) for a, b in crossed], "ratios")
    terms, other = (left, claim) if left is not None else (right, gold)
    if terms is None or len(terms) != 2:
        return Equality(False, "a ratio and a value")
    return same_value(Apply("/", terms), other)


def _is(head: str, node: Node) -> bool:
    return isinstance(node, Apply) and node.head == head


def _rounded(gold: Node, claim: Node, options: MathOptions) -> Equality:
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
    return Equality(
        near <= 0, f"{'within' if near <= 0 else 'beyond'} half a unit of {options.round_to} decimal places"
    )


def _readings_of_prime(node: Node, other: Node) -> tuple[Node, ...]:
    """What 5' and 5" may mean: feet and inches, minutes and seconds of arc, or, beside a plain number, nothing."""
    if not isinstance(node, Quantity) or node.unit not in PRIMES.values():
        return (node,)
    single = node.unit == PRIMES[_MINUTE]
    bare = () if isinstance(other, Quantity) or _is("°", other) else (node.value,)
    length = lookup("foot" if single else "inch") or PLAIN
    degrees = Apply("°", (Apply("/", (node.value, Number(Fraction(60 if single else 3600)))),))
    return Quantity(node.value, length), degrees, *bare


_MINUTE = next(iter(PRIMES))


def _quantities(gold: Node, claim: Node, options: MathOptions) -> Equality:
    units = [side.unit if isinstance(side, Quantity) else PLAIN for side in (gold, claim)]
    if units[0] != units[1] and any(unit in PRIMES.values() for unit in units):
        pairs = ((a, b) for a in _readings_of_prime(gold, claim) for b in _readings_of_prime(claim, gold))
        same = any(_values(a, b, options).equal for a, b in pairs)
        return doubt("a prime behind a number: minutes, feet or nothing") if same else Equality(False, "not that many")
    if isinstance(gold, Quantity) and isinstance(claim, Quantity):
        a, b = gold.unit, claim.unit
        if a.dimensions == b.dimensions:
            if (a.factor, a.offset) == (b.factor, b.offset):
                return _rounded(gold.value, claim.value, options)
            return same_value(_in_base_units(gold), _in_base_units(claim))
        generic = "unit" in dict(a.dimensions) or "unit" in dict(b.dimensions)
        if generic and options.missing_unit_ok and _powers(a.dimensions) == _powers(b.dimensions):
            return _rounded(gold.value, claim.value, options)
        return Equality(False, f"{a.name} and {b.name} measure different things")
    unit = gold.unit if isinstance(gold, Quantity) else claim.unit if isinstance(claim, Quantity) else PLAIN
    left, right = (side.value if isinstance(side, Quantity) else side for side in (gold, claim))
    if unit.dimensions == _COUNT:
        counted = [Apply("*", (side.value, Number(unit.factor))) if isinstance(side, Quantity) else side
                   for side in (gold, claim)]  # fmt: skip
        compared = same_value(*counted)
        if compared.equal is False and isinstance(claim, Quantity) and not isinstance(gold, Quantity):
            return doubt(_SCALE) if same_value(gold, claim.value).equal else compared
        return compared
    if not options.missing_unit_ok:
        return Equality(False, f"{unit.name} on one side only")
    compared = _values(left, right, options)
    if isinstance(claim, Quantity):
        return unless_different(compared, f"the unit {unit.name}, which only the answer has")
    return replace(compared, rule=f"{compared.rule}; {unit.name} left out in the answer")


def _in_base_units(quantity: Quantity) -> Node:
    return Apply("+", (Apply("*", (quantity.value, Number(quantity.unit.factor))), Number(quantity.unit.offset)))


def _powers(dimensions: tuple[tuple[str, int], ...]) -> list[int]:
    return sorted(power for _, power in dimensions)


# Plus or minus.


def expand_signs(node: Node, *, apart: bool = False) -> Node:
    """Write "1 ± a" as the list "1 + a, 1 - a"; within sets and lists its values become elements."""
    match node:
        case Group(kind, items, word):
            flat: list[Node] = []
            for item in items:
                expanded = expand_signs(item, apart=apart)
                written = isinstance(item, Group)  # as a list of its own
                if kind in ("set", "list") and not written and isinstance(expanded, Group) and expanded.kind == "list":
                    flat.extend(expanded.items)
                else:
                    flat.append(expanded)
            if len(flat) > LIMITS.elements:
                raise LimitError(f"more than {LIMITS.elements} elements")
            return Group(kind, tuple(flat), word)
        case RelationNode((name, value), ("=",)) if _has_signs(value):
            return Group("list", tuple(RelationNode((name, side), ("=",)) for side in _signed(value, apart)))
        case RelationNode((Symbol() as name, value), ("!=",)) if _has_signs(value):
            return Group("list", tuple(RelationNode((name, side), ("!=",)) for side in _signed(value, apart)), "and")
        case RelationNode((Apply("abs", (Symbol(letter) as name,)), value), ("=",)) if letter in _REAL_UNKNOWNS:
            if symbols(value) or not isinstance(value, Number | Constant | Apply) or sign(value) != 1:
                return node
            return Group("list", tuple(RelationNode((name, v), ("=",)) for v in (value, Apply("neg", (value,)))))
        case Apply() if _has_signs(node):
            return Group("list", _signed(node, apart))
        case Quantity(value, unit) if _has_signs(value):
            return Group("list", tuple(Quantity(side, unit) for side in _signed(value, apart)))
        case _:
            return node


def _signed(node: Node, apart: bool) -> tuple[Node, ...]:
    return _each_sign(node) if apart else tuple(_with_sign(node, upper) for upper in (True, False))


_REAL_UNKNOWNS = frozenset("xyt")
"""Letters that are no vectors or complex numbers: "|x| = 3" says what "x = ±3" does."""
_SIGNS = 4
"""Most signs ± of one expression that are taken apart."""


def _has_several_signs(node: Node) -> bool:
    """Whether an expression has several signs ±; with a sign ∓ among them they belong together."""
    heads = [part.head for part in walk(node) if isinstance(part, Apply) and part.head in ("±", "∓")]
    if not 1 < len(heads) <= _SIGNS or "∓" in heads:
        return False
    if isinstance(node, Group | RelationNode):
        return any(map(_has_several_signs, children(node)))
    return True


def _each_sign(node: Node) -> tuple[Node, ...]:
    """The values of an expression whose signs ± do not depend on each other."""
    if not isinstance(node, Apply) or not _has_signs(node):
        return (node,)
    values = [Apply(node.head, args) for args in product(*map(_each_sign, node.args))]
    if node.head not in ("±", "∓"):
        return tuple(values)
    return tuple(_with_sign(value, upper) for value in values for upper in (True, False))


def _has_signs(node: Node) -> bool:
    return any(isinstance(part, Apply) and part.head in ("±", "∓") for part in walk(node))


def _with_sign(node: Node, upper: bool) -> Node:
    def chosen(part: Node) -> Node:
        if not isinstance(part, Apply) or part.head not in ("±", "∓"):
            return part
        left, right = part.args
        return Apply("+", (left, right if (part.head == "±") == upper else Apply("neg", (right,))))

    return rebuild(node, chosen)
