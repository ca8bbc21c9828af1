"""Checks without a reference: the answer is put into what the problem asks of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

from flint import fmpz

from espalier.verifiers.check import Constraint, Domain, NumberUse, Relation
from espalier.verifiers.math.equivalence import expand_signs, normal
from espalier.verifiers.math.evaluate import NotExact, Undefined, ball, exact
from espalier.verifiers.math.lexer import ParseError
from espalier.verifiers.math.limits import LimitError
from espalier.verifiers.math.numeric import minus, order, same_value, sign
from espalier.verifiers.math.outcome import Equality, every
from espalier.verifiers.math.parser import parse
from espalier.verifiers.math.polynomial import quotient, real_roots, squarefree
from espalier.verifiers.math.relations import is_inequality, solved_value
from espalier.verifiers.math.sets import same_set
from espalier.verifiers.math.tree import (
    Apply,
    Assignment,
    Constant,
    Empty,
    Group,
    Interval,
    Matrix,
    Node,
    Number,
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

ANSWER = "answer"
"""The unknown of a relation that says what the answer as a whole is."""


def satisfies(claim: Node, constraint: Constraint) -> Equality:
    """Whether an answer satisfies one constraint. A constraint that cannot be read leaves it undecided."""
    try:
        match constraint:
            case NumberUse():
                return uses_numbers(claim, constraint)
            case Relation():
                return satisfies_relation(claim, constraint)
            case Domain(name):
                return in_domain(claim, name)
    except (ParseError, LimitError, Undefined, NotExact) as error:
        return Equality(None, str(error))


def fault_of(constraint: Constraint) -> str:
    """Why no answer could ever satisfy a constraint: it cannot be read. Empty when it can."""
    try:
        match constraint:
            case NumberUse(numbers, target):
                for what, text in (*(("the number", number) for number in numbers), ("the target", target)):
                    if symbols(parse(text)[0]):
                        return f"{what} {text[:80]!r} is no number"
                for number in numbers:
                    exact(parse(number)[0])
            case Relation(text):
                system, _ = _free_unknown(_system(parse(text)[0]))
                if not any(symbols(part) for part in system):
                    return f"the relation {text[:80]!r} has no unknown"
            case Domain(name) if name not in _DOMAINS:
                return _unknown_domain(name)
    except (ParseError, LimitError, Undefined, NotExact) as error:
        return f"cannot be read: {error}"
    return ""


def uses_numbers(claim: Node, rule: NumberUse) -> Equality:
    """Whether an expression has the target's value and uses the given numbers and operators only."""
    expression = claim.sides[0] if isinstance(claim, RelationNode) else claim
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
                return Equality(False, f"{show(node)} is no arithmetic of the given numbers")
    forbidden = sorted(op for op, count in operators.items() if count and op not in rule.operators)
    if forbidden:
        return Equality(False, f"the operator {forbidden[0]!r} is not allowed")
    given = Counter(exact(parse(number)[0]) for number in rule.numbers)
    if extra := numbers - given:
        return Equality(False, f"{_listed(extra)} used more often than given")
    if rule.use_all and (unused := given - numbers):
        return Equality(False, f"{_listed(unused)} not used")
    target = parse(rule.target)[0]
    for side in claim.sides if isinstance(claim, RelationNode) else (claim,):
        compared = same_value(side, target)
        if compared.equal is not True:
            return Equality(compared.equal, f"its value is {_value(side)}, not {rule.target}")
    return Equality(True, f"uses the given numbers and equals {rule.target}")


def _is_added(node: Node) -> bool:
    return not (isinstance(node, Apply) and node.head == "neg") and not (isinstance(node, Number) and node.value < 0)


def _listed(numbers: Counter[Fraction]) -> str:
    return ", ".join(str(number) for number in sorted(numbers.elements()))


def _value(node: Node) -> str:
    """A value for people: exact where it is rational and short, else about 10 digits of it."""
    try:
        return show(Number(exact(node)))[:100]
    except (NotExact, Undefined, LimitError):
        pass
    try:
        return f"about {ball(node, 64).str(10, radius=False)}"
    except (Undefined, LimitError, ZeroDivisionError):
        return show(node)[:100]


def satisfies_relation(claim: Node, rule: Relation) -> Equality:
    """Whether every value that the answer gives satisfies the equations and inequalities of the rule."""
    system, renamed = _free_unknown(_system(parse(rule.text)[0]))
    unknowns = sorted(frozenset[str]().union(*(symbols(part) for part in system)) - {"reals"})
    if not unknowns:
        return Equality(None, "the relation has no unknown")
    claim = _rename(normal(claim), renamed)
    if len(system) == len(unknowns) == 1:
        if is_inequality(system[0]) and (region := same_set(system[0], claim)).equal is not None:
            return region
        if isinstance(claim, Empty):
            return _complete(system[0], unknowns[0], [])
    solutions = _solutions(claim, unknowns)
    if solutions is None:
        known = _known_wrong(claim, system, unknowns, rule)
        return Equality(False if known else None, f"the answer gives no values for {', '.join(unknowns)}")
    if any(node == Constant("oo") for solution in solutions for value in solution.values() for node in walk(value)):
        return Equality(False, "infinity is no number")
    outcomes: list[Equality] = []
    for solution in solutions:
        for part in system:
            outcomes.append(_holds(part, solution, rule))
    if rule.all_solutions and len(unknowns) == 1 and all(outcome.equal for outcome in outcomes):
        if is_inequality(system[0]) or len(system) > 1:
            return Equality(None, "values that satisfy the relation; whether they are all is not known")
        outcomes.append(_complete(system[0], unknowns[0], [solution[unknowns[0]] for solution in solutions]))
    return every(outcomes, "substituted into the relation")


def _known_wrong(claim: Node, system: tuple[RelationNode, ...], unknowns: list[str], rule: Relation) -> bool:
    """Whether an answer that gives no values in a form that is known is wrong all the same.

    Without a verdict a response is not trained on, so that no answer may choose it: it takes values that are right.
    """
    if isinstance(claim, Text):
        return True
    if len(unknowns) > 1:  # one value is too few
        return isinstance(claim, Number | Constant | Apply | Quantity) or len(_assigned(claim) or unknowns) < len(
            unknowns
        )
    if any(isinstance(node, Interval) or (isinstance(node, RelationNode) and _is_range(node)) for node in walk(claim)):
        return all(part.ops == ("=",) and _has_few_solutions(part, unknowns[0]) for part in system)
    values = [leaf for leaf in _entries(claim) if isinstance(leaf, Number | Constant | Apply) and not symbols(leaf)]
    return any(_holds(part, {unknowns[0]: value}, rule).equal is False for value in values for part in system)


def _is_range(relation: RelationNode) -> bool:
    return bool({*relation.ops} & {*_ORDERS, "!="})


def _entries(claim: Node) -> list[Node]:
    """The leaves of an answer, those of matrices and unions, too."""
    found: list[Node] = []
    for leaf in _leaves(claim):
        parts = children(leaf) if isinstance(leaf, Matrix | Region) else ()
        found += [entry for part in parts for entry in _entries(part)] or [leaf]
    return found


def _has_few_solutions(relation: RelationNode, unknown: str) -> bool:
    """Whether an equation is known to have finitely many solutions."""
    try:
        over, _ = quotient(minus(*relation.sides), unknown)
    except (NotExact, LimitError, Undefined, TypeError):
        return False
    return bool(over.degree() >= 0)


def _complete(relation: RelationNode, unknown: str, values: list[Node]) -> Equality:
    """Whether values that satisfy an equation are all of its real solutions (all complex ones, if one is)."""
    distinct: list[Node] = []
    for value in values:
        if not any(same_value(value, other).equal for other in distinct):
            distinct.append(value)
    try:
        over, under = quotient(minus(*relation.sides), unknown)
    except (NotExact, LimitError, Undefined, TypeError):
        return Equality(None, "whether these are all solutions is not known")
    if over.degree() < 0:
        return Equality(None, "every number is a solution")
    common = squarefree(over // over.gcd(under))
    real = all(sign(value) is not None for value in distinct)
    expected = len(real_roots(common)) if real else max(common.degree(), 0)
    return Equality(len(distinct) == expected, f"{len(distinct)} of {expected} solutions")


def _system(node: Node) -> tuple[RelationNode, ...]:
    parts = node.items if isinstance(node, Group) else (node,)
    relations = tuple(part for part in parts if isinstance(part, RelationNode))
    if len(relations) != len(parts) or not relations:
        raise ParseError("the constraint is no relation")
    return relations


def _free_unknown(system: tuple[RelationNode, ...]) -> tuple[tuple[RelationNode, ...], str]:
    """Where "e" or "i" is the only letter of a system it is its unknown, not the number."""
    if any(symbols(part) for part in system):
        return system, ""
    letters = {node.name for part in system for node in walk(part) if isinstance(node, Constant) and node.name in "ei"}
    if len(letters) != 1:
        return system, ""
    letter = letters.pop()
    return tuple(part for part in (_rename(node, letter) for node in system) if isinstance(part, RelationNode)), letter


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
        bare = not any(pairs) and not any(isinstance(item, Group) for item in claim.items)
        if len(unknowns) > 1 and len(claim.items) == len(unknowns) and bare:
            return [dict(zip(unknowns, claim.items, strict=True))]
        found: list[Assignment] = []
        for item in claim.items:
            solutions = _solutions(item, unknowns)
            if solutions is None:
                return None
            found.extend(solutions)
        return found or None
    if isinstance(claim, RelationNode):
        pair = _assigned(claim)
        if pair and set(pair) == set(unknowns):
            return [pair]
        value = solved_value(claim)
        return [{ANSWER: value}] if unknowns == [ANSWER] and value is not None else None
    if isinstance(claim, Group):
        if len(claim.items) == len(unknowns) and all(not symbols(item) for item in claim.items):
            return [dict(zip(unknowns, claim.items, strict=True))]
        return None
    if isinstance(claim, Quantity) and unknowns == [ANSWER]:
        return [{ANSWER: claim.value}]
    if len(unknowns) == 1 and isinstance(claim, Number | Apply | Constant) and unknowns[0] not in symbols(claim):
        return [{unknowns[0]: claim}]
    return None


def _assigned(node: Node) -> dict[str, Node] | None:
    match node:
        case RelationNode((Symbol(name), *_), ops) if set(ops) <= {"=", "≈"}:
            return {name: node.sides[-1]}
        case RelationNode((Group("tuple", names), Group("tuple", values)), ("=",)) if len(names) == len(values):
            if all(isinstance(part, Symbol) for part in names):
                return {part.name: value for part, value in zip(names, values, strict=True) if isinstance(part, Symbol)}
    return None


_ORDERS = {"<": {-1}, "<=": {-1, 0}, ">": {1}, ">=": {0, 1}}


def holds(relation: RelationNode, solution: Assignment) -> Equality:
    """Whether a relation is true for the given values of its variables."""
    sides = [substitute(side, solution) for side in relation.sides]
    outcomes: list[Equality] = []
    for (left, right), op in zip(pairwise(sides), relation.ops, strict=True):
        truth = _compare(left, op, right)
        rule = f"{_value(left)} {op} {_value(right)} is {str(truth.equal).lower()}"
        outcomes.append(Equality(truth.equal, truth.rule if truth.equal is None else rule))
    shown = ", ".join(f"{name} = {show(value)}" for name, value in solution.items())
    return every(outcomes, f"with {shown}")


def _compare(left: Node, op: str, right: Node) -> Equality:
    if op in ("=", "!="):
        same = same_value(left, right)
        return same if op == "=" or same.equal is None else Equality(not same.equal, same.rule)
    if op in _ORDERS:
        signed = order(left, right)
        return Equality(None if signed is None else signed in _ORDERS[op], "order")
    return Equality(None, f"the relation {op}")


def _holds(relation: RelationNode, solution: Assignment, rule: Relation) -> Equality:
    """Whether a relation is true for the given values, which the rule may let be rounded."""
    outcome = holds(relation, solution)
    if outcome.equal is False and rule.round_to is not None and len(solution) == 1:
        ((unknown, _),) = solution.items()
        return _holds_rounded(relation, unknown, solution, rule.round_to)
    return outcome


def _holds_rounded(relation: RelationNode, unknown: str, solution: Assignment, places: int) -> Equality:
    """Whether an equation has a solution that rounds to the given decimal: its sides cross within half a unit."""
    try:
        value = exact(solution[unknown])
    except NotExact:
        return Equality(False, "an exact value that does not satisfy the relation")
    if relation.ops != ("=",):
        return Equality(False, "a rounded value in an inequality")
    half = Fraction(1, 2 * 10**places)
    gap = Apply("+", (relation.sides[0], Apply("neg", (relation.sides[1],))))
    signs = [sign(substitute(gap, {unknown: Number(value + shift)})) for shift in (-half, half)]
    if None in signs:
        return Equality(None, "no sign near the rounded value")
    crosses = signs[0] != signs[1] or 0 in signs
    return Equality(
        crosses, f"{show(solution[unknown])} rounds a solution to {places} places" if crosses else "no root near"
    )


def in_domain(claim: Node, name: str) -> Equality:
    """Whether every value of the answer is a number of the named kind."""
    test = _DOMAINS.get(name)
    if test is None:
        return Equality(None, _unknown_domain(name))
    return every([Equality(test(value), f"{show(value)} is {name}?") for value in _leaves(expand_signs(claim))], name)


def _unknown_domain(name: str) -> str:
    return f"unknown domain {name[:80]!r}; known are {', '.join(sorted(_DOMAINS))}"


def _leaves(node: Node) -> list[Node]:
    match node:
        case Group():
            return [leaf for item in children(node) for leaf in _leaves(item)]
        case RelationNode(sides, _):
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
    value = _fraction(node)
    return None if value is None else value.denominator == 1 and value > 1 and bool(fmpz(value.numerator).is_prime())


def _parity(node: Node, remainder: int) -> bool | None:
    value = _fraction(node)
    return None if value is None else value.denominator == 1 and value.numerator % 2 == remainder


def _has_sign(node: Node, allowed: frozenset[int]) -> bool | None:
    signed = sign(node)
    return None if signed is None else signed in allowed


def _is_arithmetic(node: Node) -> bool:
    """Whether a node leaves a calculation with rational numbers to the reader; a fraction of two integers does not."""
    if not isinstance(node, Apply) or node.head in ("neg", "sqrt", "root", "cbrt", "%", "°"):
        return False
    if node.head == "/" and all(_is_literal(arg) for arg in node.args):
        return False
    return sum(_fraction(arg) is not None for arg in node.args) > 1 or node.head in (
        "gcd",
        "lcm",
        "factorial",
        "binomial",
    )


def _is_literal(node: Node) -> bool:
    return isinstance(node, Number) and node.decimals is None


def _in_lowest_terms(node: Node) -> bool:
    match node:
        case Apply("neg", (inner,)):
            return _in_lowest_terms(inner)
        case Apply("/", (Number(over, None), Number(under, None))):
            return under > 1 and math.gcd(over.numerator, under.numerator) == 1
        case Number(_, None):
            return True
        case _:
            return False


def _factors(node: Node) -> tuple[Node, ...]:
    return node.args if isinstance(node, Apply) and node.head == "*" else (node,)


def _is_prime_power(node: Node) -> bool:
    match node:
        case Number():
            return bool(_is_prime(node))
        case Apply("^", (Number() as base, Number(exponent, None))):
            return bool(_is_prime(base)) and exponent > 0
        case _:
            return False


_DOMAINS: dict[str, Callable[[Node], bool | None]] = {
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
    "evaluated": lambda node: not any(_is_arithmetic(part) for part in walk(node)),
    "lowest terms": _in_lowest_terms,
    "prime factors": lambda node: all(_is_prime_power(part) for part in _factors(node)),
}


def _both(first: bool | None, second: bool | None) -> bool | None:
    if first is False or second is False:
        return False
    return None if first is None or second is None else True
