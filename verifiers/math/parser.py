# ruff: noqa: RUF001 (mathematical signs are meant as they look)
"""Tokens to trees: a recursive-descent parser for answers in LaTeX and in plain text.

An answer may be ambiguous ("100,200" is one number or two); `parse` returns every reading, the likeliest first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from espalier.verifiers.math.lexer import Kind, ParseError, Token, tokenize
from espalier.verifiers.math.limits import LIMITS, LimitError
from espalier.verifiers.math.tree import (
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
    Quantity,
    Region,
    Relation,
    Symbol,
    Text,
    symbols,
    walk,
)
from espalier.verifiers.math.units import LETTER_UNITS, PLAIN, Unit, lookup, noun
from espalier.verifiers.math.words import EMPTY, FUNCTIONS, GREEK, INVERSES, MANY_ARGUMENTS, NUMERALS, PHRASES, SCALES

RELATIONS: Final = frozenset({"=", "≈", "≡", "!=", "<", "<=", ">", ">=", "∈"})
DECORATIONS: Final = frozenset({r"\vec", r"\hat", r"\bar", r"\tilde", r"\overline", r"\overrightarrow", r"\widehat"})
SEPARATING_WORDS: Final = frozenset({"or", "and"})
_KNOWN_WORDS: Final = (
    frozenset({"pi", "oo", "inf", "infinity", "reals", "mod", "in", "U", "percent", "per", "times", "deg", "degree"})
    | {"degrees", "radian", "radians", "rad", "or", "and", "sqrt", "$", "choose", "infty"}
    | GREEK
    | FUNCTIONS.keys()
    | MANY_ARGUMENTS.keys()
)


_OPTIONS: Final = frozenset("ABCDEFGHIJ")
_GLUED: Final = re.compile(r"(?:arc)?(?:sin|cos|tan|cot)|sqrt|ln|log|exp|pi|[a-z](?=sin|cos|tan|ln|log|sqrt|pi|$)")


@dataclass(frozen=True, slots=True)
class Reading:
    """How ambiguous notation is read.

    Attributes:
        split_commas: "100,200" is two numbers.
        letter_units: "5 m" is five metres, not 5·m.
        decimal_logarithm: "log" without a base is base 10, not e.
    """

    split_commas: bool = False
    letter_units: bool = True
    decimal_logarithm: bool = False


def parse(text: str) -> tuple[Node, ...]:
    """Read an answer.

    Args:
        text: LaTeX or plain text, without the sentence around it.

    Returns:
        Its readings, the likeliest first; at least one.

    Raises:
        LimitError: It goes beyond the static limits.
        ParseError: The grammar does not know it.
    """
    tokens = tokenize(text)
    readings = [Reading()]
    if any(token.commas for token in tokens):
        readings.append(Reading(split_commas=True))
    if any(token.kind is Kind.WORD and token.text in LETTER_UNITS and token.spaced for token in tokens):
        readings.append(Reading(letter_units=False))
    if any(token.text in ("log", r"\log") for token in tokens):
        readings.append(Reading(decimal_logarithm=True))
    trees: list[Node] = []
    fault: ParseError | None = None
    for reading in readings:
        try:
            tree = parse_as(text, reading)
        except ParseError as error:
            fault = fault or error
        else:
            if tree not in trees:
                trees.append(tree)
    if not trees:
        raise fault or ParseError("no reading")
    return tuple(trees)


def parse_as(text: str, reading: Reading) -> Node:
    """Read an answer in one way; raises as :func:`parse`."""
    tokens = tokenize(text, split_commas=reading.split_commas)
    while tokens and tokens[-1].text in (",", ";", ":"):
        tokens.pop()
    if not tokens:
        raise ParseError("empty")
    tree = _phrase(tokens) or _choice(tokens, reading) or _Parser(_letters(tokens), reading).answer()
    if sum(1 for _ in walk(tree)) > LIMITS.nodes:
        raise LimitError(f"more than {LIMITS.nodes} nodes")
    return tree


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
    if any(_is_name(word) and not _is_letters(word) for word in words):
        return Text(" ".join(word if len(word) == 1 else word.lower() for word in words))
    return None


def _is_name(word: str) -> bool:
    return len(word) > 1 and word not in _KNOWN_WORDS


def _letters(tokens: list[Token]) -> list[Token]:
    """The tokens with short words split into letters ("xy" is x·y) and functions split from letters ("xsin")."""
    split: list[Token] = []
    for token in tokens:
        if token.kind is not Kind.WORD or token.roman or not _is_name(token.text):
            split.append(token)
            continue
        parts = list(token.text) if _is_letters(token.text) else _GLUED.findall(token.text)
        if "".join(parts) != token.text:
            parts = [token.text]
        for index, part in enumerate(parts):
            split.append(Token(Kind.WORD, part, spaced=token.spaced and index == 0))
    return split


def _is_letters(word: str) -> bool:
    """Whether a short word is a product of variables ("xy") rather than a word of a language."""
    return len(word) <= 3 and word.islower() and not set(word) & set("eiou") and lookup(word) is None


def _choice(tokens: list[Token], reading: Reading) -> Node | None:
    """An option of a multiple-choice question: (B), "B)", "B.", with or without its content."""
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
    if not rest[0].spaced or rest[0].text in ("+", "*", "/", "^", "∪", "∩", "=", ",", "and", "or"):
        return None
    if any(
        a.text == "(" and c.text == ")" and b.text in _OPTIONS
        for a, b, c in zip(rest, rest[1:], rest[2:], strict=False)
    ):
        return None
    try:
        content = _phrase(rest) or _Parser(_letters(rest), reading).answer()
    except ParseError:
        content = None
    return Choice(letter.text, content)


_END = Token(Kind.OPERATOR, "")


class _Parser:
    def __init__(self, tokens: list[Token], reading: Reading) -> None:
        self.tokens = tokens
        self.reading = reading
        self.at = 0
        self.bars = 0
        self.depth = 0

    # Cursor.

    @property
    def token(self) -> Token:
        return self.tokens[self.at] if self.at < len(self.tokens) else _END

    def ahead(self, offset: int = 1) -> Token:
        return self.tokens[self.at + offset] if self.at + offset < len(self.tokens) else _END

    def accept(self, *texts: str) -> bool:
        token = self.token
        if token.kind is not Kind.NUMBER and token.text in texts:
            self.at += 1
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise ParseError(f"expected {text!r}, found {self.token.text or 'the end'!r}")

    def is_word(self, *words: str) -> bool:
        return self.token.kind is Kind.WORD and self.token.text in words

    # The answer as a whole.

    def answer(self) -> Node:
        tree = self.items()
        if self.at < len(self.tokens):
            raise ParseError(f"cannot read on at {self.token.text!r}")
        return tree

    def items(self) -> Node:
        """A list of relations, separated by commas, semicolons, "and" or "or"."""
        items = [self.relation()]
        separators: list[str] = []
        while self.token.text in (",", ";") or self.is_word(*SEPARATING_WORDS):
            separators.append(self.token.text)
            self.at += 1
            while self.is_word(*SEPARATING_WORDS) or self.token.text == ",":
                separators[-1] = self.token.text
                self.at += 1
            if self.at == len(self.tokens):
                break
            items.append(self.relation())
            if len(items) > LIMITS.elements:
                raise LimitError(f"more than {LIMITS.elements} elements")
        if len(items) == 1:
            return items[0]
        if all(_is_condition(item) for item in items):
            if set(separators) == {"or"}:
                return Region("union", tuple(items))
            if set(separators) == {"and"}:
                return Region("intersection", tuple(items))
        return Group("list", tuple(items))

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
        return Relation(tuple(sides), tuple(ops)) if ops else sides[0]

    def region(self) -> Node:
        left = self.quantity()
        while True:
            if self.accept("∪") or (self.is_word("U") and self.ahead().text in ("(", "[", "{", "{s") and self.skip()):
                left = Region("union", (left, self.quantity()))
            elif self.accept("∩"):
                left = Region("intersection", (left, self.quantity()))
            elif self.accept("∖"):
                left = Region("difference", (left, self.quantity()))
            else:
                return left

    def skip(self) -> bool:
        self.at += 1
        return True

    # Quantities.

    def quantity(self) -> Node:
        if self.token.kind is Kind.WORD and self.token.text in ("$", "€", "£"):
            unit = lookup(self.token.text)
            self.at += 1
            value = self.sum()
            extra = self.unit()
            return Quantity(value, unit or extra or PLAIN)
        value = self.sum()
        if self.token.text == ":" and not self.bars:
            return self.ratio(value)
        if isinstance(value, Number | Based | Constant | Apply | Symbol | Quantity):
            unit = self.unit()
            if unit is not None:
                if unit.dimensions == (("radian", 1),):
                    return value
                if unit.dimensions == (("degree", 1),):
                    return Apply("°", (value,))
                return Quantity(value, unit)
        return value

    def ratio(self, first: Node) -> Node:
        """ "a : b" and "a : b : c"; with two digits after a colon without spaces it is a time of day."""
        terms = [first]
        tight = not self.token.spaced
        while self.accept(":"):
            if tight and self.token.kind is Kind.NUMBER and len(self.token.text) == 2 and isinstance(first, Number):
                minutes = self.token.text
                self.at += 1
                return Text(f"{first.value}:{minutes}{' '.join(['', *self._noun_words()])}".lower())
            terms.append(self.sum())
        return Apply("ratio", tuple(terms))

    def unit(self) -> Unit | None:
        """A unit up to the end of the item, or None with the cursor where it was."""
        start = self.at
        unit = self._unit_product()
        if unit is None or not self._item_ends():
            self.at = start
            words = self._noun_words()
            if words and self._item_ends():
                return noun(" ".join(words))
            self.at = start
            return None
        return unit

    def _item_ends(self) -> bool:
        token = self.token
        return token.text in ("", ",", ";", ")", "]", "}", "}s", "∪", "⇒") or (
            token.kind is not Kind.NUMBER and (token.text in RELATIONS or token.text in SEPARATING_WORDS)
        )

    def _noun_words(self) -> list[str]:
        words: list[str] = []
        while self.token.kind is Kind.WORD and self.token.text not in SEPARATING_WORDS and len(words) < 6:
            words.append(self.token.text)
            self.at += 1
        return words if any(len(word) > 2 for word in words) else []

    def _unit_product(self) -> Unit | None:
        unit: Unit | None = None
        sign = 1
        while True:
            factor = self._unit_factor()
            if factor is None:
                return unit
            unit = (unit or PLAIN).times(factor.power(sign))
            if self.token.text == "/" or self.is_word("per"):
                self.at += 1
                sign = -1
            elif self.token.text == "*":
                self.at += 1

    def _unit_factor(self) -> Unit | None:
        power = 1
        start = self.at
        if self.is_word("square", "sq"):
            power, self.at = 2, self.at + 1
        elif self.is_word("cubic", "cu"):
            power, self.at = 3, self.at + 1
        token = self.token
        if token.kind is not Kind.WORD:
            self.at = start
            return None
        found = lookup(token.text) if len(token.text) > 1 or token.roman or self.reading.letter_units else None
        if found is None:
            self.at = start
            return None
        self.at += 1
        if self.token.text == "^":
            self.at += 1
            braced = self.accept("{")
            negative = self.accept("-")
            exponent = self.token
            if exponent.value is None or exponent.value.denominator != 1 or not 0 < exponent.value <= 6:
                self.at = start
                return None
            self.at += 1
            power *= -int(exponent.value) if negative else int(exponent.value)
            if braced:
                self.expect("}")
        return found.power(power)

    # Arithmetic.

    def sum(self) -> Node:
        self.depth += 1
        if self.depth > LIMITS.nesting:
            raise LimitError(f"nested deeper than {LIMITS.nesting}")
        if self.accept("±", "∓"):
            total: Node = Apply("±", (Number(Fraction(0)), self.term()))
        elif self.accept("-"):
            total = _negative(self.term())
        else:
            self.accept("+")
            total = self.term()
        while True:
            if self.accept("+"):
                total = _flat("+", total, self.term())
            elif self.accept("-"):
                total = _flat("+", total, _negative(self.term()))
            elif self.accept("±"):
                total = Apply("±", (total, self.term()))
            elif self.accept("∓"):
                total = Apply("∓", (total, self.term()))
            else:
                break
        self.depth -= 1
        return total

    def term(self) -> Node:
        product = self.signed()
        while True:
            if self.accept("*") or (self.is_word("times") and self.skip()):
                product = _flat("*", product, self.signed())
            elif self.accept("/"):
                product = Apply("/", (_bare(product), _bare(self.signed())))
            elif self.is_word("mod"):
                self.at += 1
                product = Apply("mod", (product, self.signed()))
            elif self.token.text == "(" and self.ahead().text == "mod":
                self.at += 2
                product = Apply("mod", (product, self.signed()))
                self.expect(")")
            elif self.is_word(*SCALES):
                product = _flat("*", product, Number(Fraction(SCALES[self.token.text])))
                self.at += 1
            elif self.is_word("choose"):
                self.at += 1
                product = Apply("binomial", (product, self.signed()))
            elif self.begins_factor():
                if self.token.kind is Kind.NUMBER and self.ahead().text != "^":
                    raise ParseError("two numbers side by side")
                product = _flat("*", product, self.power())
            else:
                return product

    def signed(self) -> Node:
        negative = False
        while self.token.text in ("-", "+") and self.token.kind is Kind.OPERATOR:
            negative ^= self.token.text == "-"
            self.at += 1
        factor = self.power()
        return _negative(factor) if negative else factor

    def begins_factor(self) -> bool:
        token = self.token
        match token.kind:
            case Kind.NUMBER:
                return True
            case Kind.COMMAND:
                return not token.text.startswith(r"\end")
            case Kind.OPERATOR:
                return token.text in ("(", "[", "{", "{s", "⌊", "⌈", "⟨") or (token.text == "|" and not self.bars)
            case Kind.WORD:
                return self._word_is_factor(token)

    def _word_is_factor(self, token: Token) -> bool:
        word = token.text
        if word in ("or", "and", "in", "mod", "percent", "per", "choose", "times", "$", "U", "€", "£", "¢"):
            return False
        if word in SCALES or word in ("deg", "degree", "degrees", "radian", "radians", "rad", "reals"):
            return False
        if word in _KNOWN_WORDS:
            return True
        if len(word) == 1:
            if token.roman:
                return word in ("e", "i") or lookup(word) is None
            is_unit = self.reading.letter_units and token.spaced and word in LETTER_UNITS and self._unit_follows()
            return not is_unit
        return False

    def _unit_follows(self) -> bool:
        """Whether a number stands before and nothing but a unit follows up to the end of the item."""
        if any(token.kind is Kind.WORD and len(token.text) == 1 for token in self.tokens[: self.at]):
            return False
        if self.at == 0 or self.tokens[self.at - 1].kind is not Kind.NUMBER:
            return False
        start = self.at
        found = self._unit_product() is not None and self._item_ends()
        self.at = start
        return found

    def power(self) -> Node:
        base = self.postfix(self.primary())
        while self.token.text == "^" and self.token.kind is Kind.OPERATOR:
            self.at += 1
            if self.accept("°"):
                base = self.degrees(base)
            elif self.token.text == "{" and self.ahead().text == "°" and self.ahead(2).text == "}":
                self.at += 3
                base = self.degrees(base)
            elif isinstance(base, Group | Matrix) and (self.accept("T", r"\top", r"\intercal") or self._braced_t()):
                base = Apply("transpose", (base,))
            else:
                base = Apply("^", (_bare(base), _bare(self.exponent())))
            base = self.postfix(base)
        return base

    def _braced_t(self) -> bool:
        if self.token.text == "{" and self.ahead().text in ("T", r"\top") and self.ahead(2).text == "}":
            self.at += 3
            return True
        return False

    def exponent(self) -> Node:
        self.depth += 1
        if self.depth > LIMITS.nesting:
            raise LimitError(f"nested deeper than {LIMITS.nesting}")
        if self.token.text == "{":
            self.at += 1
            value = self.sum()
            self.expect("}")
        elif self.accept("-"):
            value = _negative(self.exponent())
        else:
            self.accept("+")
            value = self.postfix(self.primary())
            if self.accept("^"):
                value = Apply("^", (_bare(value), _bare(self.exponent())))
        self.depth -= 1
        return value

    def postfix(self, node: Node) -> Node:
        while True:
            if self.accept("!"):
                node = Apply("factorial2" if self.accept("!") else "factorial", (_bare(node),))
            elif self.accept("%") or (self.is_word("percent") and self.skip()):
                node = Apply("%", (_bare(node),))
            elif self.accept("°"):
                node = self.degrees(node)
            else:
                return node

    def degrees(self, node: Node) -> Node:
        """What a degree sign makes of a value: an angle, or a temperature when C or F follows."""
        if self.is_word("C", "F") and not symbols(node):
            self.at += 1
            return Quantity(node, noun("degrees C" if self.ahead(-1).text == "C" else "degrees F"))
        return Apply("°", (_bare(node),))

    # Primaries.

    def primary(self) -> Node:
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
                if isinstance(inner, Group) and len(inner.items) == 1 and not (whole and self.at == len(self.tokens)):
                    return inner.items[0]
                return inner
            case "∅":
                return Empty()
            case "|":
                self.bars += 1
                inside = self.sum()
                self.expect("|")
                self.bars -= 1
                return Apply("abs", (_bare(inside),))
            case "⌊":
                inside = self.sum()
                self.expect("⌋")
                return Apply("floor", (_bare(inside),))
            case "⌈":
                inside = self.sum()
                self.expect("⌉")
                return Apply("ceil", (_bare(inside),))
            case "oo":
                return Constant("oo")
            case _:
                raise ParseError(f"unexpected {token.text or 'end'!r}")

    def elements(self, closing: str) -> tuple[Node, ...]:
        bars, self.bars = self.bars, 0
        items = [self.relation()]
        while self.accept(",", ";"):
            if self.token.text == closing:
                break
            items.append(self.relation())
            if len(items) > LIMITS.elements:
                raise LimitError(f"more than {LIMITS.elements} elements")
        self.expect(closing)
        self.bars = bars
        return tuple(items)

    def group(self, kind: str) -> Node:
        """What follows an opening "(" or "[": a tuple, a bracket, an interval, or a grouped expression."""
        bars, self.bars = self.bars, 0
        own, other = (")", "]") if kind == "tuple" else ("]", ")")
        if self.accept(own):
            return Group("tuple" if kind == "tuple" else "bracket", ())
        items = [self.relation()]
        while self.accept(",", ";"):
            if self.token.text == own:
                break
            items.append(self.relation())
            if len(items) > LIMITS.elements:
                raise LimitError(f"more than {LIMITS.elements} elements")
        self.bars = bars
        if self.accept(other):
            if len(items) != 2:
                raise ParseError("brackets that do not match")
            return Interval(items[0], items[1], kind == "tuple", kind != "tuple")
        self.expect(own)
        if kind == "tuple":
            return items[0] if len(items) == 1 else Group("tuple", tuple(items))
        if items and all(isinstance(item, Group) and item.kind == "bracket" for item in items):
            rows = tuple(item.items for item in items if isinstance(item, Group))
            if len(rows) > 1 and len({len(row) for row in rows}) == 1:
                return Matrix(rows)
        return Group("bracket", tuple(items))

    def braces(self, closing: str) -> Node:
        """What follows an opening brace: a set, a set with a condition, or nothing."""
        bars, self.bars = self.bars, 1
        if self.accept(closing):
            self.bars = bars
            return Empty()
        items = [self.relation()]
        if self.accept("|", ":"):
            self.bars = 0
            condition = self.items()
            self.expect(closing)
            self.bars = bars
            if not isinstance(condition, Relation | Region):
                raise ParseError("a set with a condition that is no relation")
            return condition
        while self.accept(",", ";"):
            if self.token.text in (closing, "…"):
                break
            items.append(self.relation())
            if len(items) > LIMITS.elements:
                raise LimitError(f"more than {LIMITS.elements} elements")
        self.bars = bars
        self.expect(closing)
        return Group("set", tuple(items))

    def number(self) -> Node:
        token = self.token
        self.at += 1
        literal = _literal(token)
        if token.text.isdigit():
            if self.token.text == "_":
                return self.based(token.text)
            fraction = self.mixed_part()
            if fraction is not None:
                return Number(literal.value + fraction)
        return literal

    def mixed_part(self) -> Fraction | None:
        """The proper fraction of a mixed number, when one follows an integer."""
        first, second, third = self.token, self.ahead(), self.ahead(2)
        if first.kind is Kind.NUMBER and first.text == "½" and first.value is not None and first.value < 1:
            self.at += 1
            return first.value
        if (
            first.kind is Kind.NUMBER
            and first.spaced
            and first.text.isdigit()
            and second.text == "/"
            and third.kind is Kind.NUMBER
            and third.text.isdigit()
        ):
            over, under = int(first.text), int(third.text)
            if over < under:
                self.at += 3
                return Fraction(over, under)
        if first.text == r"\frac":
            start = self.at
            self.at += 1
            over_node, under_node = self.argument(), self.argument()
            if (
                isinstance(over_node, Number)
                and isinstance(under_node, Number)
                and over_node.decimals is None
                and under_node.decimals is None
                and 0 < over_node.value < under_node.value
            ):
                return over_node.value / under_node.value
            self.at = start
        return None

    def based(self, digits: str) -> Node:
        """A number with a subscript: the base it is written in."""
        self.at += 1
        braced = self.accept("{")
        base = self.token
        self.at += 1
        if braced:
            self.expect("}")
        if base.value is None or base.value.denominator != 1 or not 2 <= base.value <= 36:
            raise ParseError("a subscript that is no base")
        if any(int(digit) >= base.value for digit in digits):
            raise ParseError(f"digits {digits} outside of base {base.value}")
        return Based(digits, int(base.value))

    def command(self) -> Node:
        token = self.token
        name = token.text
        self.at += 1
        if name == r"\frac":
            over = self.argument()
            return Apply("/", (over, self.argument()))
        if name == r"\binom":
            over = self.argument()
            return Apply("binomial", (over, self.argument()))
        if name.startswith(r"\begin:"):
            return self.environment(name.removeprefix(r"\begin:"))
        if name in DECORATIONS:
            inner = self.argument()
            if symbols(inner):
                return Symbol(f"{name[1:]} {''.join(sorted(symbols(inner)))}")
            return Apply("conj", (inner,)) if name in (r"\overline", r"\bar") else inner
        if name in FUNCTIONS:
            return self.function(FUNCTIONS[name])
        if name.startswith("\\") and name[1:] in MANY_ARGUMENTS:
            return self.function_of_many(MANY_ARGUMENTS[name[1:]])
        if name in GREEK:
            return self.subscripted(name)
        raise ParseError(f"unknown command {name}")

    def argument(self) -> Node:
        """The argument of a command: a group, or one digit, letter or command."""
        token = self.token
        if token.text == "{" and token.kind is Kind.OPERATOR:
            self.at += 1
            self.depth += 1
            bars, self.bars = self.bars, 0
            if self.depth > LIMITS.nesting:
                raise LimitError(f"nested deeper than {LIMITS.nesting}")
            value = self.items()
            self.expect("}")
            self.bars = bars
            self.depth -= 1
            if isinstance(value, Group | Relation):
                raise ParseError("a list where a number is expected")
            return value
        if token.kind is Kind.NUMBER and token.text.isdigit() and len(token.text) > 1:
            rest = token.text[1:]
            self.tokens[self.at] = Token(Kind.NUMBER, rest, Fraction(int(rest)))
            return Number(Fraction(int(token.text[0])))
        if token.kind is Kind.NUMBER:
            self.at += 1
            return _literal(token)
        return self.primary()

    def function(self, head: str) -> Node:
        if head == "sqrt":
            return self.root()
        exponent: Node | None = None
        base: Node | None = None
        if head == "log" and self.accept("_"):
            base = self.argument_number()
        if self.accept("^"):
            exponent = self.exponent()
        if head == "log" and base is None and self.accept("_"):
            base = self.argument_number()
        argument = self.call_argument()
        if exponent == Number(Fraction(-1)) and head in INVERSES:
            head, exponent = INVERSES[head], None
        if head == "log":
            value: Node = Apply("log", (argument, base)) if base is not None else self.logarithm(argument)
        else:
            value = Apply(head, (argument,))
        return value if exponent is None else Apply("^", (value, exponent))

    def logarithm(self, argument: Node) -> Node:
        return Apply("log10" if self.reading.decimal_logarithm else "ln", (argument,))

    def argument_number(self) -> Node:
        """The base of a logarithm: a group, or a whole number or letter."""
        if self.token.kind is Kind.NUMBER:
            literal = _literal(self.token)
            self.at += 1
            return literal
        return self.argument()

    def call_argument(self) -> Node:
        if self.token.text in ("(", "{", "["):
            opening = self.token.text
            self.at += 1
            closing = {"(": ")", "{": "}", "[": "]"}[opening]
            items = self.elements(closing)
            if len(items) != 1:
                raise ParseError("a function of one argument with several")
            return _bare(items[0])
        value = self.signed() if self.token.text == "-" else self.power()
        while self.begins_factor() and not self._begins_function() and self.token.kind is not Kind.NUMBER:
            value = _flat("*", value, self.power())
        return _bare(value)

    def _begins_function(self) -> bool:
        return self.token.text in FUNCTIONS and self.token.text != "sqrt" and self.token.kind is not Kind.NUMBER

    def root(self) -> Node:
        index: Node | None = None
        if self.token.text == "[":
            self.at += 1
            index = self.sum()
            self.expect("]")
        if self.token.text == "(":
            self.at += 1
            items = self.elements(")")
            if len(items) != 1:
                raise ParseError("a root of several numbers")
            radicand = _bare(items[0])
        elif self.token.kind is Kind.NUMBER:
            radicand = _literal(self.token)
            self.at += 1
        else:
            radicand = _bare(self.argument())
        return Apply("sqrt", (radicand,)) if index is None else Apply("root", (radicand, index))

    def function_of_many(self, head: str) -> Node:
        opening = self.token.text
        if opening not in ("(", "{", "{s"):
            raise ParseError(f"{head} without its arguments")
        self.at += 1
        items = tuple(_bare(item) for item in self.elements({"(": ")", "{": "}", "{s": "}s"}[opening]))
        if head in ("^", "mod", "binomial", "root") and len(items) != 2:
            raise ParseError(f"{head} takes two arguments")
        return Apply(head, items)

    def word(self) -> Node:
        token = self.token
        word = token.text
        self.at += 1
        if word == "pi":
            return Constant("pi")
        if word in ("oo", "inf", "infinity", "infty"):
            return Constant("oo")
        if word in ("e", "i"):
            if self.token.text == "_":
                return self.subscripted(word)
            return Constant("e" if word == "e" else "i")
        if word == "reals":
            return Symbol("reals")
        if word in MANY_ARGUMENTS and (len(word) > 3 or self.token.text == "("):
            return self.function_of_many(MANY_ARGUMENTS[word])
        if word in FUNCTIONS:
            return self.function(FUNCTIONS[word])
        if word in GREEK:
            return self.subscripted(word)
        if word == "C" and self.token.text == "(" and self.ahead().kind is Kind.NUMBER and self.ahead(2).text == ",":
            return self.function_of_many("binomial")
        if len(word) == 1:
            return self.subscripted(word)
        if word.isupper() and len(word) <= 3:  # a segment, an angle, a triangle
            return self.subscripted(word)
        if word == "answer":
            return Symbol(word)
        raise ParseError(f"unknown word {word!r}")

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

    def environment(self, name: str) -> Node:
        if name not in (
            "pmatrix",
            "bmatrix",
            "matrix",
            "vmatrix",
            "Bmatrix",
            "smallmatrix",
            "array",
            "cases",
            "aligned",
        ):
            raise ParseError(f"unknown environment {name}")
        rows: list[tuple[Node, ...]] = []
        row: list[Node] = []
        end = rf"\end:{name}"
        bars, self.bars = self.bars, 0
        while self.token.text != end:
            if self.token is _END:
                raise ParseError(f"an unclosed {name}")
            row.append(_bare(self.relation()))
            if self.accept("&"):
                continue
            rows.append(tuple(row))
            row = []
            if not self.accept("\\\\"):
                break
        self.expect(end)
        self.bars = bars
        if not rows or len({len(entries) for entries in rows}) != 1:
            raise ParseError("rows of unequal length")
        if len(rows) * len(rows[0]) > LIMITS.elements:
            raise LimitError(f"more than {LIMITS.elements} entries")
        if name in ("cases", "aligned"):
            if len(rows[0]) != 1:
                raise ParseError(f"{name} with several columns")
            return Group("list", tuple(entries[0] for entries in rows))
        matrix = Matrix(tuple(rows))
        return Apply("det", (matrix,)) if name == "vmatrix" else matrix


def _literal(token: Token) -> Number:
    if token.value is None:
        raise ParseError(f"expected a number, found {token.text!r}")
    decimals = len(token.text.partition(".")[2].partition("e")[0]) if "." in token.text else None
    return Number(token.value, decimals)


def _bare(node: Node) -> Node:
    """Square brackets around one expression only group it."""
    if isinstance(node, Group) and node.kind == "bracket" and len(node.items) == 1:
        return node.items[0]
    return node


def _negative(node: Node) -> Node:
    node = _bare(node)
    if isinstance(node, Number):
        return Number(-node.value, node.decimals)
    return Apply("neg", (node,))


def _flat(head: str, left: Node, right: Node) -> Node:
    left, right = _bare(left), _bare(right)
    if isinstance(left, Apply) and left.head == head:
        return Apply(head, (*left.args, right))
    return Apply(head, (left, right))


def _is_condition(node: Node) -> bool:
    return isinstance(node, Relation) and any(op not in ("=", "≈", "≡") for op in node.ops)
