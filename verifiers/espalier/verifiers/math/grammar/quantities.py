# ruff: noqa: RUF001 (mathematical signs are meant as they look)
"""Values with units, and ratios."""

from __future__ import annotations

from typing import Final

from espalier.verifiers.math.grammar.cursor import Cursor
from espalier.verifiers.math.lexer import Kind
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
from espalier.verifiers.math.units import PLAIN, Unit, lookup, noun

RELATIONS: Final = frozenset({"=", "≈", "≡", "!=", "<", "<=", ">", ">=", "∈"})
SEPARATING_WORDS: Final = frozenset({"or", "and"})


class Quantities(Cursor):
    """Units after a value, currencies before one."""

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
