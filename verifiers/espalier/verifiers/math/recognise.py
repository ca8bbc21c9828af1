# ruff: noqa: RUF001 (mathematical signs are meant as they look)
"""Problem text to constraints: what an answer must satisfy when the problem itself says so. None unless sure."""

from __future__ import annotations

import re
from fractions import Fraction

from espalier.verifiers.check import Constraint, ConstraintCheck, Domain, NumberUse, Relation
from espalier.verifiers.math.constraints import ANSWER
from espalier.verifiers.math.evaluate import NotExact, Undefined, exact
from espalier.verifiers.math.lexer import ParseError
from espalier.verifiers.math.limits import LimitError
from espalier.verifiers.math.parser import parse
from espalier.verifiers.math.tree import Constant, Group, Node, RelationNode, symbols, walk

CHARACTERS = 2000

_LIST = r"-?\d+(?:(?:\s*,\s*(?:and\s+)?|\s+and\s+|\s+)-?\d+)+"
_BETWEEN = r"[^.\d]{0,60}?"
_MAKE = r"(?:make|makes|obtain|get|reach|form|equals?|equal to|calculate|gives?|value of|value is|total)"
_GAMES = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        rf"\b(?:using|use|with)\b(?P<how>[^\d.]{{0,40}}?)(?P<numbers>{_LIST})"
        rf"(?P<more>{_BETWEEN}\b{_MAKE}\s+(?:exactly\s+)?(?P<target>-?\d+)\b.*)",
        rf"\b(?:make|obtain|get|reach|form|calculate)\s+(?P<target>-?\d+)\s+(?:using|from|with|out of)\b"
        rf"(?P<how>[^\d.]{{0,40}}?)(?P<numbers>{_LIST})(?P<more>.*)",
    )
)
_OPERATORS = re.compile(r"operators?(?: are)?:?\s+((?:[-+*/×÷]\s*(?:,|and)?\s*)+)", re.IGNORECASE)
_AT_MOST = re.compile(r"at most once|no more than once|some or all|not (?:have|need) to use all|some of", re.IGNORECASE)
_ALL = re.compile(r"\ball\b|\beach\b|exactly once|every number", re.IGNORECASE)

_COUNTING = re.compile(
    r"how many|number of ways|probability|possible to|can you|largest|smallest|different", re.IGNORECASE
)

_VARIABLE = r"\$?(?P<name>[A-Za-z])\$?"
_STATED = r"(?P<relation>[^\n]+?(?=$|\n|\s+for \$?[A-Za-z]\$?\s*$|,?\s+(?:what is|find|then what is|determine)))"
_EQUATIONS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"^(?:please\s+)?solve(?: the \w+(?: \w+)?)?(?: equation)? for (?:the )?(?:real )?{_VARIABLE}"
        rf"\s*[:,]\s*{_STATED}",
        rf"^find the (?:real )?value(?:\(s\)|s)? of {_VARIABLE} in the equation\s*:?\s*{_STATED}",
        rf"^determine the (?:real )?value(?:\(s\)|s)? of {_VARIABLE} that satisf(?:y|ies)\s*:?\s*{_STATED}",
        rf"^find (?:all |the |every )?(?:real )?(?:values? of |number |numbers )?{_VARIABLE}"
        rf" (?:such that|so that|if|when|that satisf(?:y|ies)|satisfying|for which)\s*:?\s*{_STATED}",
        rf"^(?:please\s+)?solve(?: the equation| the inequality)?\s*:?\s*{_STATED}\s+for {_VARIABLE}\s*$",
        rf"^(?:if|given(?: that)?)\s+{_STATED},?\s+(?:what is|find|then what is|determine)"
        rf"(?: the value of)? {_VARIABLE}\s*$",
        rf"^what is(?: the value of)? {_VARIABLE} (?:if|when)\s+{_STATED}",
        rf"^(?:please\s+)?solve(?: the equations?| the inequality| the system)?\s*:?\s*{_STATED}",
    )
)
_ROUND = re.compile(r"round[^.\n]{0,60}?\b(\d{1,2}|one|two|three|four|five|six) decimal", re.IGNORECASE)
_WORDS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}

_DIVISORS = re.compile(
    rf"^(?:please\s+)?(?:find|what is|what's|compute|calculate|determine)\s+(?:the\s+)?"
    r"(?P<kind>gcd|gcf|hcf|greatest common (?:divisor|factor)|highest common factor|lcm|l(?:ea|owe)st common multiple)"
    rf"(?:\s*\((?:gcd|lcm|gcf|hcf)\))?\s+of(?: these numbers| the numbers)?\s*:?\s*(?P<numbers>{_LIST})\s*(?:[.?]|$)",
    re.IGNORECASE,
)
_BITS = re.compile(r"^how many 1 bits are there in the binary representation of the number (\d{1,30})\?", re.IGNORECASE)
_FACTORS = re.compile(r"^find the prime factorization of (\d{1,30})\b", re.IGNORECASE)
_SIMPLIFY = re.compile(
    r"^simplify the fraction \$?(?P<fraction>[^$]+?)\$? (?:to its lowest terms|to lowest terms)", re.IGNORECASE
)
_ARITHMETIC = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"^state the final answer to the following arithmetic problem:\s*(?P<expression>[^\n]+?)\s*=?$",
        r"^solve the following multiplication:\s*(?P<expression>[^\n]+?)\s*(?:\. give only the result[^\n]*)?$",
        r"^(?:add|subtract|multiply|divide) the complex numbers:\s*(?P<expression>[^\n]+)$",
        r"^(?:calculate|compute|evaluate|what is|what's|how much is)(?: the value of)?:?\s+"
        r"(?P<expression>[^\n]+?)\s*=?$",
        r"^(?P<expression>[^\n]+?)\s*=$",
    )
)
_NUMERIC = re.compile(r"(?=.*\d)[-+*/^×÷·−()\d\s.,!%\\{}a-z]+", re.IGNORECASE)
_INEXACT = re.compile(r"significant|round|approximat|nearest|decimal place|estimate", re.IGNORECASE)


def recognise(problem: str) -> ConstraintCheck | None:
    """The constraints that a problem states, when its wording leaves no doubt.

    Recognised are number games ("make 24 from 4 7 8 8"), equations and inequalities to solve, greatest common divisors
    and least common multiples, fractions to reduce, prime factorisations, bit counts, and plain arithmetic.
    """
    text = problem.strip()
    if not text or len(text) > CHARACTERS:
        return None
    for rule in (_game, _divisors, _fixed, _equation, _arithmetic):
        constraints = rule(text)
        if constraints:
            return ConstraintCheck(constraints)
    return None


def _numbers(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"-?\d+", text))


def _game(text: str) -> tuple[Constraint, ...] | None:
    if _COUNTING.search(text):
        return None
    found = next((match for game in _GAMES if (match := game.search(text))), None)
    if found is None:
        return None
    numbers = _numbers(found["numbers"])
    around = found["how"] + " " + found["more"] + " " + text[: found.start()]
    if not 2 <= len(numbers) <= 12:
        return None
    operators = _OPERATORS.search(text)
    allowed = (
        tuple(dict.fromkeys(re.findall(r"[-+*/]", operators[1].replace("×", "*").replace("÷", "/"))))
        if operators
        else ()
    )
    use_all = _ALL.search(found["how"] + found["more"]) is not None or not _AT_MOST.search(around)
    if allowed:
        return (NumberUse(numbers, found["target"], use_all, allowed),)
    return (NumberUse(numbers, found["target"], use_all),)


def _divisors(text: str) -> tuple[Constraint, ...] | None:
    found = _DIVISORS.search(text)
    if found is None:
        return None
    head = "lcm" if found["kind"].lower()[0] == "l" else "gcd"
    return _is_value(f"{head}({', '.join(_numbers(found['numbers']))})")


def _is_value(expression: str) -> tuple[Constraint, ...]:
    return (Relation(f"{ANSWER} = {expression}"), Domain("evaluated"))


def _fixed(text: str) -> tuple[Constraint, ...] | None:
    if bits := _BITS.search(text):
        return _is_value(str(int(bits[1]).bit_count()))
    if factors := _FACTORS.search(text):
        return (Relation(f"{ANSWER} = {factors[1]}"), Domain("prime factors"))
    if fraction := _SIMPLIFY.search(text):
        return (Relation(f"{ANSWER} = {fraction['fraction']}"), Domain("lowest terms"))
    return None


def _equation(text: str) -> tuple[Constraint, ...] | None:
    for pattern in _EQUATIONS:
        found = pattern.search(text.rstrip("?. "))
        if found is None:
            continue
        relation = found["relation"].strip().rstrip(".?").strip()
        name = found.groupdict().get("name")
        if not _states(relation, name):
            continue
        places = _ROUND.search(text)
        rounded = (int(_WORDS.get(places[1].lower(), 0)) or int(places[1])) if places else None
        domain: tuple[Constraint, ...] = (Domain("real"),) if re.search(r"\breal\b", text, re.IGNORECASE) else ()
        return (Relation(relation, all_solutions=True, round_to=rounded), *domain)
    return None


def _states(text: str, name: str | None) -> bool:
    """Whether a text is nothing but equations or inequalities in the named unknown, or in one to three letters."""
    tree = _parsed(text)
    parts = tree.items if isinstance(tree, Group) else (tree,)
    if not parts or not all(isinstance(part, RelationNode) for part in parts):
        return False
    found = frozenset[str]().union(*(symbols(part) for part in parts if part is not None))
    if name is None:
        return 1 <= len(found) <= 3
    letters = {node.name for part in parts if part for node in walk(part) if isinstance(node, Constant)}
    return found == {name} or (not found and letters == {name})


def _parsed(text: str) -> Node | None:
    try:
        readings = parse(text)
    except (ParseError, LimitError):
        return None
    return readings[0] if len(readings) == 1 else None


def _arithmetic(text: str) -> tuple[Constraint, ...] | None:
    if _INEXACT.search(text):
        return None
    stripped = text.rstrip(" ?.")
    for pattern in _ARITHMETIC:
        found = pattern.search(stripped)
        if found is None:
            continue
        expression = found["expression"].strip().rstrip(".?= ").strip("$").strip()
        tree = _parsed(expression) if _NUMERIC.fullmatch(expression) else None
        if tree is None or symbols(tree):
            return None
        return _is_value(expression) if _is_rational(tree) or _is_complex(tree) else None
    return None


def _is_rational(tree: Node) -> bool:
    try:
        return isinstance(exact(tree), Fraction)
    except (NotExact, Undefined, LimitError):
        return False


def _is_complex(tree: Node) -> bool:
    """Whether the imaginary unit is all that keeps a tree from being rational."""
    return any(node == Constant("i") for node in walk(tree)) and not any(
        isinstance(node, Constant) and node.name != "i" for node in walk(tree)
    )
