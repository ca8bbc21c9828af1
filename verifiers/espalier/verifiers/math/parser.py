# ruff: noqa: RUF001 (mathematical signs are meant as they look)
"""Tokens to trees: a recursive-descent parser for answers in LaTeX and in plain text.

An answer may be ambiguous ("100,200" is one number or two); `parse` returns every reading, the likeliest first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Final, Literal

from espalier.verifiers.math.grammar.arithmetic import Arithmetic
from espalier.verifiers.math.grammar.calculus import Calculus
from espalier.verifiers.math.grammar.calendar import calendar, numeric_date
from espalier.verifiers.math.grammar.combine import bare
from espalier.verifiers.math.grammar.numerals import based_number, numeral
from espalier.verifiers.math.grammar.permutations import permutation
from espalier.verifiers.math.grammar.quantities import RELATIONS, SEPARATING_WORDS
from espalier.verifiers.math.grammar.reading import Reading, is_letters, is_name, split_letters
from espalier.verifiers.math.lexer import Kind, ParseError, Token, tokenize
from espalier.verifiers.math.limits import LIMITS, LimitError
from espalier.verifiers.math.statements import NOT, QUANTIFIERS, REVERSED
from espalier.verifiers.math.tree import (
    Apply,
    Choice,
    Constant,
    Empty,
    Group,
    Interval,
    Node,
    Number,
    Quantity,
    Region,
    RelationNode,
    Symbol,
    Text,
    children,
    show,
    symbols,
)
from espalier.verifiers.math.units import LETTER_UNITS
from espalier.verifiers.math.words import EMPTY, EXCEPTIONS, FUNCTIONS, GREEK, MANY_ARGUMENTS, NUMERALS, PHRASES, SHAPES

DECORATIONS: Final = frozenset(
    {r"\vec", r"\hat", r"\bar", r"\tilde", r"\overline", r"\overrightarrow", r"\widehat", r"\bold"}
)
BIG_OPERATORS: Final = frozenset({r"\sum", r"\prod", r"\int", r"\lim"})
_CALLABLE: Final = (
    frozenset("fghpquvwyABDFGHLMPQRSTUVW")
    | {"phi", "varphi", "psi", "Phi", "Psi", "sigma", "tau"}
    | {"zeta", "eta", "mu", "omega", "Omega"}
)
_SetOperation = Literal["union", "intersection", "difference"]
_PROBABILITIES: Final = frozenset("Pp")
_RELATED: Final = frozenset({"∥", "⟂", "≅", "∼"})
_OPTION_WORDS: Final = frozenset({"option", "choice"})
_OPTIONS: Final = frozenset("ABCDEFGHIJ")


@dataclass(frozen=True, slots=True)
class Readings:
    """What an answer may say.

    Attributes:
        sure: Ways to read it that count; the likeliest first.
        unsure: Ways that would make it equal to answers which differ from each other ("100,200" as a list, "log" as
            the decimal logarithm): an equality in one of them is doubt.
    """

    sure: tuple[Node, ...]
    unsure: tuple[Node, ...] = ()


def parse(text: str) -> tuple[Node, ...]:
    """Every reading of an answer, as :func:`readings` finds them: the likeliest first, at least one."""
    found = readings(text)
    return found.sure + found.unsure


def readings(text: str) -> Readings:
    """Read an answer.

    Args:
        text: LaTeX or plain text, without the sentence around it.

    Raises:
        LimitError: It goes beyond the static limits.
        ParseError: The grammar does not know it.
    """
    based, only_based = based_number(text) or (None, False)
    if based is not None and only_based:
        return Readings((based,))
    cycles, only_cycles = permutation(text) or (None, False)
    if cycles is not None and only_cycles:
        return Readings((cycles,))
    date, only_date = numeric_date(text) or (None, False)
    for words in (calendar(text), numeral(text), date if only_date else None):
        if words is not None:
            return Readings((words,))
    text = _plainer(text)
    tokens = tokenize(text)
    sure = [Reading()]
    unsure: list[Reading] = []
    if any(token.commas for token in tokens):
        unsure.append(Reading(split_commas=True))
    if any(token.kind is Kind.WORD and token.text in LETTER_UNITS and token.spaced for token in tokens):
        sure.append(Reading(letter_units=False))
    if any(a.text in ("C", "A") and b.text == "_" for a, b in pairwise(tokens)) and "^" in text:
        sure.append(Reading(indexed_choices=True))
    if any(token.text in ("log", r"\log") for token in tokens):
        unsure.append(Reading(decimal_logarithm=True))
    trees: list[Node] = []
    doubtful: list[Node] = []
    fault: ParseError | None = None
    for reading in (*sure, *unsure):
        try:
            tree = _tree(tokenize(text, split_commas=True) if reading.split_commas else list(tokens), reading)
        except ParseError as error:
            fault = fault or error
        else:
            if tree not in trees and tree not in doubtful:
                (trees if reading in sure or not trees else doubtful).append(tree)
    if date is not None:
        trees.append(date)
    if (unit := unit_alone(tokens)) is not None:
        spelled = any(token.kind is Kind.WORD and (token.roman or len(token.text) > 1) for token in tokens)
        (trees if not trees or spelled else doubtful).append(unit)
    for other in (based, cycles):
        if other is not None:
            (doubtful if trees else trees).append(other)
    if not trees:
        raise fault or ParseError("no reading")
    return Readings(tuple(trees), tuple(doubtful))


_DOUBLED: Final = re.compile(r"\\\\(?=[A-Za-z]{2})")
_CHOOSING: Final = re.compile(r"(?:\{\})?[\^_]\s*\{?(\w{1,3})\}?\s*([CP])\s*_\s*\{?(\w{1,3})\}?")


_LEFT_BRACE: Final = re.compile(
    r"\\left\s*\\\{\s*\\begin\{array\}(?:\{[^{}]*\})?(.*?)\\end\{array\}\s*\\right\s*\.", re.DOTALL
)
_SPACES: Final = r"(?:[\s$~,]|\\[,;: ]|\\q?quad\b){0,6}"
_FOR_INTEGERS: Final = re.compile(
    rf"{_SPACES}(?:\\(?:text|mbox)\s*\{{[\s,]*)?\(?(?:"
    rf"(?:where|with|for|and)\s+{_SPACES}\}}?{_SPACES}(?P<k>[jklmn])\b{_SPACES}(?:\\(?:text|mbox)\s*\{{)?\s*(?:is|being)\s+(?:an|any)\s+integer"
    rf"|(?:for|where|with)\s+(?:any|all|every|some|an|each)\s+integers?\s+{_SPACES}\}}?{_SPACES}(?P<name>[jklmn])\b"
    rf")\)?\}}?[\s$.]*$"
)
_EVERYWHERE: Final = re.compile(
    rf"^(?P<defined>[\s$]*(?:[A-Za-z]\s?(?:\\left)?\(\s?(?P<x>[a-z])\s?(?:\\right)?\)|[a-z]_\{{?(?P<n>[jkmn])\}}?)\s?=.{{1,400}}?)"
    rf"{_SPACES}(?:\\(?:text|mbox)\s*\{{[\s,]*)?\(?(?:(?:for|where)\s+(?:all|every|any|each)|\\forall|∀){_SPACES}\}}?{_SPACES}"
    rf"(?:(?:real(?:\s+numbers?)?|(?P<whole>(?:positive\s+)?integers?|natural\s+numbers?))\s*\}}?{_SPACES})?(?P<name>[a-z])(?:{_SPACES}\\?(?:in|∈)\s*"
    rf"(?:\\mathbb\s*\{{?R\}}?|ℝ|(?P<natural>\\mathbb\s*\{{?[NZ]\}}?(?:\^\{{?\+\}}?)?|ℕ))|{_SPACES}(?:\\geq?(?![a-z])|≥|>=)\s?(?P<first>1))?\)?\}}?[\s$.]*$",
    re.DOTALL,
)
"""A definition, and behind it that it holds everywhere: for all real x, of a sequence for all natural n."""
_APPROXIMATE: Final = re.compile(r"^\$?\s*(?:\\approx(?![A-Za-z])|≈)\s*(?=-?\d*\.\d+\s*\$?$)")
"""Before a decimal number, which says as much itself."""


_FULL_STOP: Final = re.compile(r"(?<=[A-Za-z])\.(?=\s*\}[\s$]*$)")
"""Behind the last word of upright text."""


def _plainer(text: str) -> str:
    """The text without Markdown emphasis and doubled backslashes, and with "^{10}C_3" as a binomial."""
    text = text.strip().replace("{:}", ":").replace("℃", "°C").replace("℉", "°F")
    if text.startswith("**") and text.endswith("**") and len(text) > 4:
        text = text[2:-2]
    if r"\begin" not in text and r"\\" in text:
        text = _DOUBLED.sub(r"\\", text)
    if r"\begin" in text:
        text = _LEFT_BRACE.sub(lambda match: rf"\begin{{cases}}{match[1]}\end{{cases}}", text)
    if "all" in text or "∀" in text or " for " in text or "where" in text:
        text = _EVERYWHERE.sub(_definition, text)
    if "integer" in text:
        text = _FOR_INTEGERS.sub(lambda match: rf", {match['k'] or match['name']} \in \mathbb{{Z}}", text)
    text = _FULL_STOP.sub("", _APPROXIMATE.sub("", text))
    return _CHOOSING.sub(lambda match: _chosen(*match.groups()), text)


def _definition(match: re.Match[str]) -> str:
    """The definition without "for all real x", where that is its argument, and of the kind that such a one has."""
    argument = match["x"] or match["n"]
    counted = argument in "jkmn"
    said = match["whole"] or match["natural"] or match["first"]
    return match["defined"] if match["name"] == argument and (counted or not said) else match[0]


def _chosen(upper: str, kind: str, lower: str) -> str:
    return rf"\binom{{{upper}}}{{{lower}}}" if kind == "C" else rf"\frac{{{upper}!}}{{({upper}-{lower})!}}"


def unit_alone(tokens: list[Token]) -> Node | None:
    """A unit without a number, as in "J" or "kg m/s^2"; None for anything else."""
    if not tokens or not all(token.kind is Kind.WORD or token.text in _UNIT_SIGNS for token in tokens):
        return None
    grammar = Grammar(tokens, Reading())
    unit = grammar.unit_product()
    return Quantity(Symbol(UNIT), unit) if unit is not None and grammar.at == len(tokens) else None


_UNIT_SIGNS: Final = frozenset("*·×/^{}-123456")
"""Signs and exponents of units."""


UNIT: Final = "§unit"
"""Stands for the number of a unit without one."""


def _tree(tokens: list[Token], reading: Reading) -> Node:
    while tokens and tokens[-1].text in (",", ";", ":"):
        tokens.pop()
    if not tokens:
        raise ParseError("empty")
    try:
        tree = (
            _exception(tokens, reading)
            or _phrase(tokens)
            or _choice(tokens, reading)
            or Grammar(split_letters(tokens), reading).answer()
        )
    except RecursionError as error:
        raise LimitError("nested too deeply") from error
    check_size(tree)
    return tree


def check_size(tree: Node) -> None:
    """Raise :class:`LimitError` for a tree of too many nodes or levels."""
    level: tuple[Node, ...] = (tree,)
    nodes = levels = 0
    while level:
        nodes += len(level)
        levels += 1
        if nodes > LIMITS.nodes or levels > LIMITS.levels:
            raise LimitError(f"more than {LIMITS.nodes} nodes or {LIMITS.levels} levels")
        level = tuple(part for node in level for part in children(node))


def _phrase(tokens: list[Token]) -> Node | None:
    """An answer of words only: a name, or a phrase with a meaning."""
    if tokens[0].kind is not Kind.WORD or not all(token.kind is Kind.WORD or token.text in "-,&" for token in tokens):
        return None
    words = [token.text for token in tokens if token.kind is Kind.WORD]
    phrase = " ".join(words).lower()
    if phrase in EMPTY:
        return Empty()
    if phrase in PHRASES:
        return Symbol("reals") if PHRASES[phrase] == "reals" else Text(PHRASES[phrase])
    if phrase in NUMERALS:
        return Number(Fraction(NUMERALS[phrase]))
    if phrase in ("infinity", "inf", "oo", "infty"):
        return Constant("oo")
    if any(is_name(word) and not is_letters(word) for word in words):
        if words[0].lower() in _OPTION_WORDS and words[1:] and words[1] in _OPTIONS and len(words) == 2:
            return Choice(words[1])
        if words[0].lower() in ("a", "an", "the") and len(words) > 1 and len(words[1]) > 1:
            words = words[1:]
        return Text(" ".join(word if len(word) == 1 else word.lower() for word in words))
    return None


def _exception(tokens: list[Token], reading: Reading) -> Node | None:
    """ "All real numbers except 2": the real numbers without what follows."""
    words = [token.text.lower() for token in tokens[:6]]
    at = next((index for index, word in enumerate(words) if word in EXCEPTIONS), 0)
    if not at or PHRASES.get(" ".join(words[:at])) != "reals":
        return None
    rest = tokens[at + 1 :]
    excluded = (_phrase(rest) if rest else None) or Grammar(split_letters(rest), reading).answer()
    if isinstance(excluded, Group) and excluded.kind == "list":
        excluded = Group("set", excluded.items)
    return Region("difference", (Symbol("reals"), excluded))


def _choice(tokens: list[Token], reading: Reading) -> Node | None:
    """An option of a multiple-choice question: (B), "B)", "B.", with or without its content."""
    if tokens[0].text.lower() in _OPTION_WORDS and len(tokens) > 1:
        tokens = tokens[1:]
    texts = [token.text for token in tokens[:3]]
    if texts[:1] == ["("] and texts[2:] == [")"]:
        letter, rest = tokens[1], tokens[3:]
    elif len(tokens) > 1 and texts[1] in (")", ":"):
        letter, rest = tokens[0], tokens[2:]
    else:
        return None
    if letter.kind is not Kind.WORD or letter.text not in _OPTIONS:
        return None
    if not rest:
        return Choice(letter.text)
    if not rest[0].spaced or rest[0].text in ("+", "*", "×", "·", "/", "^", "∪", "∩", "=", ",", "and", "or"):
        return None
    if any(
        a.text == "(" and c.text == ")" and b.text in _OPTIONS
        for a, b, c in zip(rest, rest[1:], rest[2:], strict=False)
    ):
        return None
    try:
        content = _phrase(rest) or Grammar(split_letters(rest), reading).answer()
    except ParseError:
        content = None
    return Choice(letter.text, content)


class Grammar(Arithmetic, Calculus):
    """The whole: lists of relations between sets or quantities, and the primaries of these."""

    def answer(self) -> Node:
        tree = self.items()
        if self.at < len(self.tokens):
            raise ParseError(f"cannot read on at {self.token.text!r}")
        return tree

    def items(self) -> Node:
        """A list of relations, separated by commas, semicolons, "and" or "or"."""
        items = [self.element()]
        separators: list[str] = []  # commas add nothing to "and" and "or"
        while self.token.text in (",", ";") or self.is_word(*SEPARATING_WORDS):
            separators.append(self.token.text)
            self.at += 1
            while self.is_word(*SEPARATING_WORDS) or self.token.text == ",":
                separators[-1] = self.token.text
                self.at += 1
            if self.at == len(self.tokens):
                break
            items.append(self.element())
            if len(items) > LIMITS.elements:
                raise LimitError(f"more than {LIMITS.elements} elements")
        if len(items) == 1:
            return items[0]
        if all(_is_condition(item) for item in items):
            if set(separators) == {"or"}:
                return Region("union", tuple(items))
            if set(separators) <= {"and", ","} and "and" in separators:
                return Region("intersection", tuple(items))
            if set(separators) <= {"or", ","} and "or" in separators:
                return Region("union", tuple(items))
        if len({*separators} & {",", ";", "or"}) > 1 and all(isinstance(item, RelationNode) for item in items):
            return _alternatives(items, separators)
        words = set(separators) & {"and", "or"}
        return Group("list", tuple(items), words.pop() if len(words) == 1 else "")

    def relation(self) -> Node:
        sides = [self.region()]
        ops: list[str] = []
        while True:
            op = self.token.text
            if self.token.kind is Kind.WORD and op == "in" and self.ahead().text in ("(", "[", "{", "{s", "reals"):
                op = "∈"
            if self.token.kind is Kind.NUMBER or op not in RELATIONS:
                break
            self.at += 1
            ops.append(op)
            sides.append(self.region())
        if REVERSED.keys() & ops:
            if not REVERSED.keys() >= {*ops}:
                raise ParseError("inclusions in both directions")
            return RelationNode(tuple(reversed(sides)), tuple(REVERSED[op] for op in reversed(ops)))
        return RelationNode(tuple(sides), tuple(ops)) if ops else sides[0]

    def element(self) -> Node:
        if self.token.text in QUANTIFIERS:
            return self.quantified()
        if self.accept(NOT):
            return Apply("not", (self.element(),))
        return super().element()

    def quantified(self) -> Node:
        """ "∀ x, y ∈ S: …": a quantifier, the names that it binds, where they are from, and what is said of them."""
        head = QUANTIFIERS[self.token.text]
        self.at += 1
        if head == "exists" and self.accept("!"):
            head = "exists_one"
        names: list[Node] = []
        while self.token.text in GREEK or (self.token.kind is Kind.WORD and len(self.token.text) == 1):
            names.append(self.subscripted(self.tokens[self.skip() and self.at - 1].text))
            if self.token.text != "," or self.ahead(2).text not in (",", *RELATIONS):
                break
            self.at += 1
        if not names or self.levels > LIMITS.levels:
            raise ParseError("a quantifier without a name")
        domains: list[Node] = []
        if self.token.text in RELATIONS:
            op = self.token.text
            self.at += 1
            bars, self.bars = self.bars, 1  # a bar or a colon ends it
            domain = self.region()
            self.bars = bars
            domains = [RelationNode((name, domain), (op,)) for name in names]
        if not self.accept(",", ":", ".", "|") and self.is_word("such", "with"):
            self.at += 1 + self.is_word("such")
        self.levels += 1
        said = self.element()
        self.levels -= 1
        return Apply(head, (Group("list", tuple(names)), Group("list", tuple(domains)), said))

    def region(self) -> Node:
        left = self.quantity()
        joined = ""
        while True:
            if self.accept("∪") or (self.is_word("U") and self.ahead().text in ("(", "[", "{", "{s") and self.skip()):
                op: _SetOperation = "union"
            elif self.accept("∩"):
                op = "intersection"
            elif self.accept("∖"):
                op = "difference"
            else:
                return left
            if {joined, op} == {"union", "intersection"}:
                raise ParseError("unions and intersections without brackets")
            joined = op
            left = Region(op, (left, self.quantity()))

    def primary(self) -> Node:
        self.levels += 1
        if self.levels > LIMITS.levels:
            raise LimitError(f"more than {LIMITS.levels} levels")
        node = self._primary()
        self.levels -= 1
        return node

    def _primary(self) -> Node:
        token = self.token
        if token.kind is Kind.NUMBER:
            return self.number()
        if token.kind is Kind.COMMAND:
            return self.command()
        if token.kind is Kind.WORD:
            return self.word()
        self.at += 1
        match token.text:
            case "(":
                return self.group("tuple")
            case "[":
                return self.group("bracket")
            case "⟨":
                return Group("tuple", self.elements("⟩"))
            case "{s":
                return self.braces("}s")
            case "{" if self.token.text.isdigit() and self.ahead().text == "}" and self.ahead(2).text == "_":
                digits = self.token.text
                self.at += 2
                return self.based(digits)
            case "{":
                whole = self.at == 1
                inner = self.braces("}")
                if not isinstance(inner, Group) or len(inner.items) != 1:
                    return inner
                alone = whole and self.at == len(self.tokens)  # then it may be a set that lost its backslashes
                return inner if alone and not symbols(inner.items[0]) else inner.items[0]
            case "∅":
                return Empty()
            case "]" if self.at < len(self.tokens):
                return self.reversed_interval()
            case "|" if (ket := self.ket()) is not None:
                return ket
            case "|":
                self.bars += 1
                inside = self.sum()
                self.expect("|")
                self.bars -= 1
                return Apply("abs", (bare(inside),))
            case "⌊":
                inside = self.sum()
                self.expect("⌋")
                return Apply("floor", (bare(inside),))
            case "⌈":
                inside = self.sum()
                self.expect("⌉")
                return Apply("ceil", (bare(inside),))
            case "oo":
                return Constant("oo")
            case _:
                raise ParseError(f"unexpected {token.text or 'end'!r}")

    def command(self) -> Node:
        token = self.token
        name = token.text
        self.at += 1
        if name in (r"\ket", r"\bra") and self.accept("{"):
            return Symbol(f"{name[1:]} {self.joined('}')}")
        if name in BIG_OPERATORS:
            return self.big_operator(name)
        if name == r"\frac":
            self.at -= 1
            if (derivative := self.derivative()) is not None:
                return derivative
            self.at += 1
            over = self.argument()
            return Apply("/", (over, self.argument()))
        if name == r"\binom":
            over = self.argument()
            return Apply("binomial", (over, self.argument()))
        if name.startswith(r"\begin:"):
            return self.environment(name.removeprefix(r"\begin:"))
        if name in DECORATIONS:
            inner = self.argument()
            if name in (r"\overline", r"\bar") and inner in (Symbol("z"), Symbol("w"), Symbol("z_1"), Symbol("z_2")):
                return Apply("conj", (inner,))
            name = {r"\overrightarrow": r"\vec"}.get(name, name)
            if isinstance(inner, Region) and name in (r"\overline", r"\bar"):
                return Apply("^", (inner, Symbol("c")))
            if symbols(inner) or (isinstance(inner, Constant) and name not in (r"\overline", r"\bar")):
                return Symbol(f"{name[1:]} {show(inner)}")
            if name in (r"\hat", r"\widehat", r"\tilde"):
                raise ParseError(f"{name} on a number")
            return Apply("conj", (inner,)) if name in (r"\overline", r"\bar") else inner
        if name in FUNCTIONS:
            return self.function(FUNCTIONS[name])
        if name.startswith("\\") and name[1:] in MANY_ARGUMENTS:
            return self.function_of_many(MANY_ARGUMENTS[name[1:]])
        if name in GREEK:
            return self.named(name)
        if name[1:] in SHAPES:
            return self.shape(name[1:])
        raise ParseError(f"unknown command {name}")

    def word(self) -> Node:
        token = self.token
        word = token.text
        self.at += 1
        if word == "d" and self.token.kind is Kind.WORD and self.ahead().text == "/":
            self.at -= 1
            if (derivative := self.derivative()) is not None:
                return derivative
            self.at += 1
        if word == "m" and self.token.text == r"\angle":  # the measure of an angle
            return self.command()
        if word == "pi":
            return Constant("pi")
        if word in ("oo", "inf", "infinity", "infty"):
            return Constant("oo")
        if word in ("e", "i"):
            if self.token.text == "_":
                return self.subscripted(word)
            return Constant("e" if word == "e" else "i")
        if word == "reals":
            return self.reals()
        if word in MANY_ARGUMENTS and (len(word) > 3 or self.token.text == "("):
            return self.function_of_many(MANY_ARGUMENTS[word])
        if word in FUNCTIONS:
            return self.function(FUNCTIONS[word])
        if word in GREEK:
            return self.named(word)
        if word == "C" and self.token.text == "(" and self.ahead().kind is Kind.NUMBER and self.ahead(2).text == ",":
            return self.function_of_many("binomial")
        if len(word) == 1:
            return self.named(word)
        if word.isupper() and len(word) <= 3:  # a segment, an angle, a triangle
            return self.subscripted(word)
        if word == "answer":
            return Symbol(word)
        raise ParseError(f"unknown word {word!r}")

    def reals(self) -> Node:
        """The real numbers, or those of one sign where a sign stands above or a condition below."""
        for written, part in _PARTS_OF_REALS:
            if tuple(self.ahead(place).text for place in range(len(written))) == written:
                after = self.ahead(len(written))
                if written[1] == "{" or after.kind is Kind.OPERATOR:
                    self.at += len(written)
                    return part
        return Symbol("reals")

    def ket(self) -> Node | None:
        """ "0⟩" behind a bar, as a name; None with the cursor where it was."""
        start = self.at
        for _ in range(8):
            if self.token.text == "⟩":
                self.at += 1
                return Symbol(f"ket {''.join(token.text for token in self.tokens[start : self.at - 1])}")
            if self.token.text in ("|", ""):
                break
            self.at += 1
        self.at = start
        return None

    def joined(self, closing: str) -> str:
        """The texts of the tokens up to a closing bracket."""
        start = self.at
        while self.token.text not in (closing, ""):
            self.at += 1
        texts = "".join(token.text for token in self.tokens[start : self.at])
        self.expect(closing)
        return texts

    def shape(self, name: str) -> Node:
        """The letters of a figure: one name, "triangle ABC"."""
        letters = ""
        while self.token.kind is Kind.WORD and (
            self.token.text.isupper() or (not letters and len(self.token.text) == 1)
        ):
            letters += self.token.text
            self.at += 1
        if not letters and self.token.text.isdigit():
            letters = self.token.text
            self.at += 1
        if not letters:
            raise ParseError(f"a {name} without letters")
        same = {"measuredangle": "angle", "sphericalangle": "angle", "Box": "square"}.get(name, name)
        if len(letters) == 3 and (same == "triangle" or (same == "angle" and letters[0] > letters[2])):
            letters = "".join(sorted(letters)) if same == "triangle" else letters[::-1]
        return Symbol(f"{same} {letters}")

    def named(self, name: str) -> Node:
        """A letter with its index and primes; with arguments where it can name a function."""
        if name in ("C", "A") and self.reading.indexed_choices and (chosen := self.choice_of(name)) is not None:
            return chosen
        symbol = self.subscripted(name)
        primes = ""
        while self.accept("′"):
            primes += "′"
        if self.token.text == "^" and self.ahead().text == "′":  # f^\\prime
            self.at += 2
            primes += "′"
        if not isinstance(symbol, Symbol):
            return symbol
        symbol = Symbol(symbol.name + primes)
        if self.token.text == "[" and not self.token.spaced and name.isupper():  # an expected value, a polynomial ring
            self.at += 1
            return Apply("call", (symbol, *self.arguments("]")))
        if name not in _CALLABLE and not primes:
            return symbol
        if self.token.text == "(" and not self.token.spaced:
            self.at += 1
            return Apply("call", (symbol, *(self.arguments(")") if name in _PROBABILITIES else self.elements(")"))))
        start = self.at
        if self.accept("^"):
            of_order = self.token.text == "{" and self.ahead().text == "("
            power = self.exponent()
            if self.token.text == "(" and not self.token.spaced and name in "fgh":
                self.at += 1
                times = f"({show(power)})" if of_order else show(power)
                if of_order and isinstance(power, Number) and power.value in range(1, 10):
                    return Apply("call", (Symbol(symbol.name + "′" * int(power.value)), *self.elements(")")))
                return Apply("call", (Symbol(f"{symbol.name}^{times}"), *self.elements(")")))
            self.at = start
        return symbol

    def choice_of(self, name: str) -> Node | None:
        """C_n^k and A_n^k; None with the cursor where it was."""
        start = self.at
        if self.accept("_"):
            upper = bare(self.argument_number())
            if self.accept("^"):
                lower = self.exponent()
                chosen = Apply("binomial", (upper, lower))
                return chosen if name == "C" else Apply("*", (chosen, Apply("factorial", (lower,))))
        self.at = start
        return None

    def subscripted(self, name: str) -> Node:
        if not self.accept("_"):
            return Symbol(name)
        if self.accept("{"):
            parts: list[str] = []
            while self.token.text not in ("}", ""):
                parts.append(self.token.text)
                self.at += 1
            self.expect("}")
            return Symbol(f"{name}_{''.join(parts)}")
        index = self.token.text
        self.at += 1
        return Symbol(f"{name}_{index}")


_ZERO, _INFINITY = Number(Fraction(0)), Constant("oo")
_POSITIVE = Interval(_ZERO, _INFINITY, True, True)
_NONZERO = Region("difference", (Symbol("reals"), Group("set", (_ZERO,))))
_PARTS_OF_REALS: Final[tuple[tuple[tuple[str, ...], Node], ...]] = (
    (("^", "+"), _POSITIVE),
    (("^", "{", "+", "}"), _POSITIVE),
    (("^", "*"), _NONZERO),
    (("^", "{", "*", "}"), _NONZERO),
    (("^", "{", "×", "}"), _NONZERO),
    (("_", "{", "!=", "0", "}"), _NONZERO),
    (("_", "{", ">", "0", "}"), _POSITIVE),
    (("_", "{", ">=", "0", "}"), Interval(_ZERO, _INFINITY, False, True)),
    (("_", "{", "<", "0", "}"), Interval(Apply("neg", (_INFINITY,)), _ZERO, True, True)),
    (("_", "{", "<=", "0", "}"), Interval(Apply("neg", (_INFINITY,)), _ZERO, True, False)),
)


def _alternatives(items: list[Node], separators: list[str]) -> Node:
    """ "x=1, y=2; x=3, y=4" and the same with "or": several lists, each of values that belong together."""
    groups: list[list[Node]] = [[items[0]]]
    for separator, item in zip(separators, items[1:], strict=False):
        if separator in (";", "or"):
            groups.append([item])
        else:
            groups[-1].append(item)
    lists = (Group("list", tuple(group)) if len(group) > 1 else group[0] for group in groups)
    return Group("list", tuple(lists), "or" if "or" in separators else "")


def _is_condition(node: Node) -> bool:
    return isinstance(node, RelationNode) and any(op not in ("=", "≈", "≡") for op in node.ops)
