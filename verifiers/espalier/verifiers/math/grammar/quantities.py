# ruff: noqa: RUF001 (mathematical signs are meant as they look)
"""Values with units, and ratios."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from espalier.verifiers.math.grammar.cursor import Cursor
from espalier.verifiers.math.lexer import Kind, ParseError, Token
from espalier.verifiers.math.statements import INCLUSIONS, REVERSED
from espalier.verifiers.math.tree import (
    Apply,
    Based,
    Constant,
    Node,
    Number,
    Quantity,
    Symbol,
    Text,
)
from espalier.verifiers.math.units import CELSIUS, FAHRENHEIT, PLAIN, PRIMES, Unit, lookup, noun

RELATIONS: Final = frozenset({"=", "≈", "≡", "!=", "<", "<=", ">", ">=", "∈", *INCLUSIONS, *REVERSED})
CURRENCIES: Final = frozenset({"$", "€", "£"})
CHANGING_WORDS: Final = frozenset(
    [
        "is",
        "isn",
        "are",
        "aren",
        "was",
        "wasn",
        "were",
        "be",
        "being",
        "not",
        "no",
        "nor",
        "none",
        "never",
        "without",
        "minus",
        "plus",
        "times",
        "over",
        "divided",
        "by",
        "squared",
        "cubed",
        "factorial",
        "negative",
        "positive",
        "half",
        "halves",
        "third",
        "thirds",
        "quarter",
        "quarters",
        "fourth",
        "fourths",
        "fifth",
        "fifths",
        "sixth",
        "sixths",
        "seventh",
        "eighth",
        "ninth",
        "tenth",
        "tenths",
        "hundredth",
        "hundredths",
        "thousandth",
        "thousandths",
        "percent",
        "percentage",
        "point",
        "decimal",
        "recurring",
        "repeating",
        "repeated",
        "below",
        "above",
        "under",
        "maybe",
        "perhaps",
        "possibly",
        "probably",
        "likely",
        "wrong",
        "incorrect",
        "false",
        "guess",
        "think",
        "if",
        "unless",
        "except",
        "excluding",
        "but",
        "than",
        "more",
        "less",
        "fewer",
        "least",
        "most",
        "about",
        "approximately",
        "approx",
        "around",
        "roughly",
        "nearly",
        "almost",
        "between",
        "choose",
        "mod",
        "modulo",
        "base",
        "binary",
        "hexadecimal",
        "octal",
        "power",
        "exponent",
        "root",
        "double",
        "twice",
        "triple",
        "thrice",
        "infinity",
        "to",
        "from",
        "otherwise",
        "instead",
        "either",
        "neither",
        "only",
        "true",
        "right",
        "correct",
        "sure",
        "unsure",
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "hundred",
        "thousand",
        "million",
        "billion",
        "trillion",
    ]
)
"""Words that change a value, deny it or doubt it: behind a number they name no unit."""

SEPARATING_WORDS: Final = frozenset({"or", "and"})


class Quantities(Cursor):
    """Units after a value, currencies before one."""

    def quantity(self) -> Node:
        if self.token.kind is Kind.WORD and self.token.text in CURRENCIES:
            return self.money()
        value = self.sum()
        if self.token.text == ":" and not self.bars:
            return self.ratio(value)
        if self.is_word("to") and isinstance(value, Number) and self.ahead().kind is Kind.NUMBER:
            self.at += 1
            return Apply("ratio", (value, self.sum()))
        if self.token.text in PRIMES and self.token.kind is Kind.OPERATOR and isinstance(value, Number):
            self.at += 1
            return Quantity(value, PRIMES[self.ahead(-1).text])
        if isinstance(value, Number | Based | Constant | Apply | Symbol | Quantity):
            if self.token.kind is Kind.WORD and self.token.text in CURRENCIES and isinstance(value, Number):
                unit = lookup(self.token.text)
                self.at += 1
                return Quantity(value, (unit or PLAIN).times(self.rate()))
            compound = self.compound(value)
            if compound is not None:
                return compound
            unit = self.unit()
            if unit is not None:
                if unit.dimensions == (("radian", 1),):
                    return Apply("rad", (value,))
                if unit.dimensions == (("degree", 1),):
                    return Apply("°", (value,))
                return Quantity(value, unit)
        return value

    def money(self) -> Node:
        """A currency, a value, and what it is paid for: "$20 per hour"."""
        unit = lookup(self.token.text) or PLAIN
        self.at += 1
        start = self.at
        try:
            value = self.sum()
        except ParseError:
            self.at = start
            value = self.power()  # "20/hour" is no quotient of two numbers
        own = None if self.is_word("per", "a", "an") else self.unit()
        if own is not None and own.dimensions == unit.dimensions:
            return Quantity(value, unit)
        return Quantity(value, unit.times(own if own is not None else self.rate()))

    def rate(self) -> Unit:
        """What follows "per" or "/" behind an amount; nothing is a unit, too."""
        if not (self.accept("/") or (self.is_word("per", "a", "an") and self.skip())):
            return PLAIN
        unit = self.unit_product()
        if unit is None or not self._item_ends():
            words = self._noun_words()
            if not words:
                raise ParseError("an amount per something that is not named")
            unit = noun(" ".join(words))
        return unit.power(-1)

    def compound(self, first: Node) -> Node | None:
        """ "3 hours 20 minutes" and "2 ft 3 in": quantities of one kind that add up; None with the cursor back."""
        start = self.at
        unit = self.unit_product()
        parts: list[Node] = [first]
        total: list[Node] = []
        if isinstance(first, Number) and unit is not None and not unit.offset:
            total = [Apply("*", (first, Number(unit.factor)))]
            while self.token.kind is Kind.NUMBER or (self.is_word("and") and self.ahead().kind is Kind.NUMBER):
                if self.is_word("and"):
                    self.at += 1
                value = Number(self.token.value or Fraction(0))
                self.at += 1
                following = self.unit_product()
                if following is None or following.dimensions != unit.dimensions:
                    break
                parts.append(value)
                total.append(Apply("*", (value, Number(following.factor))))
            if len(parts) > 1 and self._item_ends() and self.token.kind is not Kind.NUMBER:
                return Quantity(Apply("+", tuple(total)), Unit(unit.name, Fraction(1), unit.dimensions))
        self.at = start
        return None

    def ratio(self, first: Node) -> Node:
        """ "a : b" and "a : b : c"; with two digits after a colon without spaces it is a time of day."""
        terms = [first]
        tight = not self.token.spaced
        while self.accept(":"):
            if tight and self.token.kind is Kind.NUMBER and len(self.token.text) == 2 and isinstance(first, Number):
                minutes = self.token.text
                self.at += 1
                if not self._item_ends():
                    raise ParseError("words behind a time of day")
                return Text(f"{first.value}:{minutes}")
            terms.append(self.sum())
        return Apply("ratio", tuple(terms))

    def unit(self) -> Unit | None:
        """A unit up to the end of the item, or None with the cursor where it was."""
        start = self.at
        unit = self.unit_product()
        if unit is None or not self._item_ends():
            self.at = start
            words = self._noun_words()
            if words and self._item_ends():
                kind = " ".join(words).lower()
                if kind in ("degrees celsius", "degree celsius"):
                    return CELSIUS
                return FAHRENHEIT if kind in ("degrees fahrenheit", "degree fahrenheit") else noun(kind)
            self.at = start
            return None
        return unit

    def _item_ends(self) -> bool:
        token = self.token
        return token.text in ("", ",", ";", ")", "]", "}", "}s", "∪", "⇒") or (
            token.kind is not Kind.NUMBER and (token.text in RELATIONS or token.text in SEPARATING_WORDS)
        )

    def _noun_words(self) -> list[str]:
        """The words of a counted thing; none where one of them changes or denies the value."""
        words: list[str] = []
        start = self.at
        while self.token.kind is Kind.WORD and self.token.text not in SEPARATING_WORDS and len(words) < 6:
            words.append(self.token.text)
            self.at += 1
        if not any(len(word) > 2 for word in words) or any(word.lower() in CHANGING_WORDS for word in words):
            self.at = start
            return []
        return words

    def unit_product(self) -> Unit | None:
        """Units with their powers between signs of multiplication and division; None with no unit at the cursor."""
        unit: Unit | None = None
        sign = 1
        while True:
            factor = self._unit_factor()
            if factor is None:
                return unit
            unit = (unit or PLAIN).times(factor.power(sign))
            if self.token.text == "/" or self.is_word("per"):
                start, words = self.at, self.ahead()
                self.at += 1
                sign = -1
                if self._unit_factor() is None:  # "miles per gallon" has a unit here, "apples per box" has none
                    self.at = start
                    return unit if words.kind is not Kind.WORD else None
                self.at = start + 1
            elif self.token.text in ("*", "·", "×"):
                self.at += 1

    def _unit_factor(self) -> Unit | None:
        power = 1
        start = self.at
        if self.is_word("square", "sq"):
            power, self.at = 2, self.at + 1
        elif self.is_word("cubic", "cu"):
            power, self.at = 3, self.at + 1
        token = self.token
        if token.text == "mu" and self.ahead().kind is Kind.WORD and len(self.ahead().text) == 1:
            self.at += 1
            token = Token(Kind.WORD, "mu" + self.token.text)
        if token.text == "in" and self.ahead().text in ("", "^", ",", ";", ")"):
            token = Token(Kind.WORD, "inch")
        if token.kind is not Kind.WORD:
            self.at = start
            return None
        found = lookup(token.text) if len(token.text) > 1 or token.roman or self.reading.letter_units else None
        if found is None:
            self.at = start
            return None
        self.at += 1
        if self.is_word("squared", "cubed"):
            power *= 2 if self.token.text == "squared" else 3
            self.at += 1
        elif self.token.text == "^":
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
