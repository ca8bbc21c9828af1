"""Checks without a reference: the answer is put into what the problem asks of it."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import pairwise

from espalier.verifiers.check import Constraint, Domain, NumberUse
from espalier.verifiers.check import Relation as RelationConstraint
from espalier.verifiers.math.equivalence import expand_signs
from espalier.verifiers.math.evaluate import NotExact, Undefined, exact
from espalier.verifiers.math.lexer import ParseError
from espalier.verifiers.math.limits import LimitError
from espalier.verifiers.math.numeric import order, same_value, sign
from espalier.verifiers.math.outcome import Outcome, every
from espalier.verifiers.math.parser import parse
from espalier.verifiers.math.tree import (
    Assignment,
    Apply,
    Constant,
    Empty,
    Group,
    Node,
    Number,
    Quantity,
    Relation,
    Symbol,
    children,
    rebuild,
    show,
    substitute,
    symbols,
    walk,
)


def satisfies(claim: Node, constraint: Constraint) -> Outcome:
    """Whether an answer satisfies one constraint. A constraint that cannot be read leaves it undecided."""
    try:
        match constraint:
            case NumberUse():
                return uses_numbers(claim, constraint)
            case RelationConstraint():
                return satisfies_relation(claim, constraint)
            case Domain(name):
                return in_domain(claim, name)
    except (ParseError, LimitError, Undefined) as error:
        return Outcome(None, str(error))


def uses_numbers(claim: Node, rule: NumberUse) -> Outcome:
    """Whether an expression has the target's value and uses the given numbers and operators only."""
    expression = claim.sides[0] if isinstance(claim, Relation) else claim
    operators: Counter[str] = Counter()
    numbers: Counter[Fraction] = Counter()
    for node in walk(expression):
        match node:
            case Number(value):
                numbers[abs(value)] += 1
                operators["-"] += value < 0
            case Apply("neg", _):
                operators["-"] += 1
            case Apply("+", args):
                operators["+"] += any(_is_added(arg) for arg in args[1:])
            case Apply(head, _):
                operators[head] += 1
            case _:
                return Outcome(False, f"{show(node)} is no arithmetic of the given numbers")
    forbidden = sorted(op for op, count in operators.items() if count and op not in rule.operators)
    if forbidden:
        return Outcome(False, f"the operator {forbidden[0]!r} is not allowed")
    given = Counter(exact(parse(number)[0]) for number in rule.numbers)
    if extra := numbers - given:
        return Outcome(False, f"{_listed(extra)} used more often than given")
    if rule.use_all and (unused := given - numbers):
        return Outcome(False, f"{_listed(unused)} not used")
    target = parse(rule.target)[0]
    for side in claim.sides if isinstance(claim, Relation) else (claim,):
        compared = same_value(side, target)
        if compared.equal is not True:
            return Outcome(compared.equal, f"its value is {_value(side)}, not {rule.target}")
    return Outcome(True, f"uses the given numbers and equals {rule.target}")


def _is_added(node: Node) -> bool:
    return not (isinstance(node, Apply) and node.head == "neg") and not (isinstance(node, Number) and node.value < 0)


def _listed(numbers: Counter[Fraction]) -> str:
    return ", ".join(str(number) for number in sorted(numbers.elements()))


def _value(node: Node) -> str:
    try:
        return str(exact(node))
    except (NotExact, Undefined, LimitError):
        return "another"


def satisfies_relation(claim: Node, rule: RelationConstraint) -> Outcome:
    """Whether every value that the answer gives satisfies the equations and inequalities of the rule."""
    system = _system(parse(rule.text)[0])
    system, renamed = _free_unknown(system)
    unknowns = sorted(frozenset[str]().union(*(symbols(part) for part in system)) - {"reals"})
    if not unknowns:
        return Outcome(None, "the relation has no unknown")
    if isinstance(claim, Empty):
        return Outcome(None, "the answer claims that there is no solution")
    solutions = _solutions(_rename(expand_signs(claim), renamed), unknowns)
    if solutions is None:
        return Outcome(None, f"the answer gives no values for {', '.join(unknowns)}")
    outcomes: list[Outcome] = []
    for solution in solutions:
        for part in system:
            outcome = holds(part, solution)
            if outcome.equal is False and rule.round_to is not None and len(unknowns) == 1:
                outcome = _holds_rounded(part, unknowns[0], solution, rule.round_to)
            outcomes.append(outcome)
    return every(outcomes, "substituted into the relation")


def _system(node: Node) -> tuple[Relation, ...]:
    parts = node.items if isinstance(node, Group) else (node,)
    relations = tuple(part for part in parts if isinstance(part, Relation))
    if len(relations) != len(parts) or not relations:
        raise ParseError("the constraint is no relation")
    return relations


def _free_unknown(system: tuple[Relation, ...]) -> tuple[tuple[Relation, ...], str]:
    """Where "e" or "i" is the only letter of a system it is its unknown, not the number."""
    if any(symbols(part) for part in system):
        return system, ""
    letters = {node.name for part in system for node in walk(part) if isinstance(node, Constant) and node.name in "ei"}
    if len(letters) != 1:
        return system, ""
    letter = letters.pop()
    return tuple(part for part in (_rename(node, letter) for node in system) if isinstance(part, Relation)), letter


def _rename(node: Node, letter: str) -> Node:
    if not letter:
        return node
    return rebuild(node, lambda part: Symbol(letter) if isinstance(part, Constant) and part.name == letter else part)


def _solutions(claim: Node, unknowns: list[str]) -> list[Assignment] | None:
    """The assignments that an answer gives: "5", "x = 5", "2, 3", "x = 1, y = 2", "(1, 2)"; None when it gives none."""
    if isinstance(claim, Group) and claim.kind in ("list", "set", "bracket"):
        pairs = [_assigned(item) for item in claim.items]
        names = [next(iter(pair)) for pair in pairs if pair]
        if len(unknowns) > 1 and all(pairs) and sorted(names) == unknowns:
            return [{name: value for pair in pairs if pair for name, value in pair.items()}]
        if len(unknowns) > 1 and len(claim.items) == len(unknowns) and not any(pairs):
            if not any(isinstance(item, Group) for item in claim.items):
                return [dict(zip(unknowns, claim.items, strict=True))]
        found: list[Assignment] = []
        for item in claim.items:
            solutions = _solutions(item, unknowns)
            if solutions is None:
                return None
            found.extend(solutions)
        return found or None
    if isinstance(claim, Relation):
        pair = _assigned(claim)
        if pair and set(pair) == set(unknowns):
            return [pair]
        return None
    if isinstance(claim, Group):
        if len(claim.items) == len(unknowns) and all(not symbols(item) for item in claim.items):
            return [dict(zip(unknowns, claim.items, strict=True))]
        return None
    if len(unknowns) == 1 and isinstance(claim, Number | Apply | Constant) and unknowns[0] not in symbols(claim):
        return [{unknowns[0]: claim}]
    return None


def _assigned(node: Node) -> dict[str, Node] | None:
    match node:
        case Relation((Symbol(name), *_), ops) if set(ops) <= {"=", "≈"}:
            return {name: node.sides[-1]}
        case Relation((Group("tuple", names), Group("tuple", values)), ("=",)) if len(names) == len(values):
            if all(isinstance(part, Symbol) for part in names):
                return {part.name: value for part, value in zip(names, values, strict=True) if isinstance(part, Symbol)}
    return None


def holds(relation: Relation, solution: Assignment) -> Outcome:
    """Whether a relation is true for the given values of its variables."""
    sides = [substitute(side, solution) for side in relation.sides]
    outcomes: list[Outcome] = []
    for (left, right), op in zip(pairwise(sides), relation.ops, strict=True):
        if op in ("=", "!="):
            same = same_value(left, right)
            outcomes.append(same if op == "=" or same.equal is None else Outcome(not same.equal, same.rule))
        elif op in ("<", "<=", ">", ">="):
            signed = order(left, right)
            truth = {"<": {-1}, "<=": {-1, 0}, ">": {1}, ">=": {0, 1}}[op]
            outcomes.append(Outcome(None if signed is None else signed in truth, "order"))
        else:
            outcomes.append(Outcome(None, f"the relation {op}"))
    shown = ", ".join(f"{name} = {show(value)}" for name, value in solution.items())
    return every(outcomes, f"with {shown}")


def _holds_rounded(relation: Relation, unknown: str, solution: Assignment, places: int) -> Outcome:
    """Whether an equation has a solution that rounds to the given decimal: its sides cross within half a unit."""
    try:
        value = exact(solution[unknown])
    except NotExact:
        return Outcome(False, "an exact value that does not satisfy the relation")
    if relation.ops != ("=",):
        return Outcome(False, "a rounded value in an inequality")
    half = Fraction(1, 2 * 10**places)
    gap = Apply("+", (relation.sides[0], Apply("neg", (relation.sides[1],))))
    signs = [sign(substitute(gap, {unknown: Number(value + shift)})) for shift in (-half, half)]
    if None in signs:
        return Outcome(None, "no sign near the rounded value")
    crosses = signs[0] != signs[1] or 0 in signs
    return Outcome(
        crosses, f"{show(solution[unknown])} rounds a solution to {places} places" if crosses else "no root near"
    )


def in_domain(claim: Node, name: str) -> Outcome:
    """Whether every value of the answer is a number of the named kind."""
    test = _DOMAINS.get(name)
    if test is None:
        return Outcome(None, f"unknown domain {name!r}; known are {', '.join(sorted(_DOMAINS))}")
    return every([Outcome(test(value), f"{show(value)} is {name}?") for value in _leaves(expand_signs(claim))], name)


def _leaves(node: Node) -> list[Node]:
    match node:
        case Group():
            return [leaf for item in children(node) for leaf in _leaves(item)]
        case Relation(sides, _):
            return _leaves(sides[-1])
        case Quantity(value, _):
            return [value]
        case _:
            return [node]


def _fraction(node: Node) -> Fraction | None:
    try:
        return exact(node)
    except (NotExact, Undefined, LimitError):
        return None


def _is_integer(node: Node) -> bool | None:
    value = _fraction(node)
    if value is not None:
        return value.denominator == 1
    return None if symbols(node) else same_value(node, Apply("floor", (node,))).equal


def _is_prime(node: Node) -> bool | None:
    from flint import fmpz

    value = _fraction(node)
    return None if value is None else value.denominator == 1 and value > 1 and bool(fmpz(value.numerator).is_prime())


def _parity(node: Node, remainder: int) -> bool | None:
    value = _fraction(node)
    return None if value is None else value.denominator == 1 and value.numerator % 2 == remainder


def _has_sign(node: Node, allowed: frozenset[int]) -> bool | None:
    signed = sign(node)
    return None if signed is None else signed in allowed


_DOMAINS = {
    "integer": _is_integer,
    "natural": lambda node: _both(_is_integer(node), _has_sign(node, frozenset({0, 1}))),
    "positive integer": lambda node: _both(_is_integer(node), _has_sign(node, frozenset({1}))),
    "positive": lambda node: _has_sign(node, frozenset({1})),
    "negative": lambda node: _has_sign(node, frozenset({-1})),
    "nonnegative": lambda node: _has_sign(node, frozenset({0, 1})),
    "nonzero": lambda node: _has_sign(node, frozenset({-1, 1})),
    "real": lambda node: None if symbols(node) else sign(node) is not None,
    "rational": lambda node: True if _fraction(node) is not None else None,
    "prime": _is_prime,
    "even": lambda node: _parity(node, 0),
    "odd": lambda node: _parity(node, 1),
}


def _both(first: bool | None, second: bool | None) -> bool | None:
    if first is False or second is False:
        return False
    return None if first is None or second is None else True
