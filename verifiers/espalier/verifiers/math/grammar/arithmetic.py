# ruff: noqa: RUF001 (mathematical signs are meant as they look)
"""Sums, products, powers and postfix signs."""

from __future__ import annotations

from fractions import Fraction

from espalier.verifiers.math.grammar.combine import bare, flat, multiplied, negative
from espalier.verifiers.math.grammar.quantities import Quantities
from espalier.verifiers.math.grammar.reading import KNOWN_WORDS
from espalier.verifiers.math.lexer import Kind, ParseError, Token
from espalier.verifiers.math.limits import LIMITS, LimitError
from espalier.verifiers.math.progressions import written_out
from espalier.verifiers.math.statements import NOT, QUANTIFIERS
from espalier.verifiers.math.tree import (
    DOTS,
    Apply,
    Group,
    Matrix,
    Node,
    Number,
    Quantity,
    Region,
    Symbol,
    symbols,
)
from espalier.verifiers.math.units import CELSIUS, FAHRENHEIT, LETTER_UNITS, PERCENTAGE_POINT, lookup
from espalier.verifiers.math.words import SCALES

_GREEK_FUNCTIONS = frozenset({"phi", "varphi", "psi", "sigma", "tau"})
_SEPARATORS = frozenset({",", ";", "and", "or", "="})


class Arithmetic(Quantities):
    """The levels of precedence, from sums down to powers."""

    def sum(self) -> Node:
        self.depth += 1
        if self.depth > LIMITS.nesting:
            raise LimitError(f"nested deeper than {LIMITS.nesting}")
        if self.accept("±", "∓"):
            total: Node = Apply("±", (Number(Fraction(0)), self.term()))
        elif self.accept("-"):
            bracketed = self.token.text == "("
            match self.term():
                case Apply("mod", (value, modulus)) if not bracketed:  # -7 mod 5 is 3
                    total = Apply("mod", (negative(value), modulus))
                case term:
                    total = negative(term)
        else:
            self.accept("+")
            total = self.term()
        while True:
            if self.accept("+"):
                total = self.continued(total) if self.token.text == "…" else flat("+", total, self.term())
            elif self.accept("-"):
                total = flat("+", total, negative(self.term()))
            elif self.accept("±"):
                total = Apply("±", (total, self.term()))
            elif self.accept("∓"):
                total = Apply("∓", (total, self.term()))
            else:
                break
        self.depth -= 1
        return self.modulo(total)

    def continued(self, begun: Node) -> Node:
        """ "1 + 2 + … + 10" behind its second sign, with its terms written out."""
        self.at += 1
        self.expect("+")
        terms = written_out(
            (*(begun.args if isinstance(begun, Apply) and begun.head == "+" else (begun,)), DOTS, self.term())
        )
        if terms is None:
            raise ParseError("a sum of which terms are left out")
        return Apply("+", terms)

    def modulo(self, value: Node) -> Node:
        """A value with the modulus that follows it, as in "3k + 1 (mod 7)"."""
        if self.token.text == "(" and self.ahead().text in ("mod", "pmod"):
            self.at += 2
            value = Apply("class", (value, self.signed()))
            self.expect(")")
        elif self.is_word("pmod"):
            self.at += 1
            value = Apply("class", (value, bare(self.argument_of_class())))
        return value

    def term(self) -> Node:
        product = self.signed()
        while True:
            if sign := self.multiplication():
                product = multiplied(sign, product, self.signed())
            elif self.accept("/"):
                product = Apply("/", (bare(product), bare(self.signed())))
            elif self.is_word("mod"):
                self.at += 1
                product = Apply("mod", (product, self.signed()))
            elif self.is_word(*SCALES):
                product = flat("*", product, Number(Fraction(SCALES[self.token.text])))
                self.at += 1
            elif self.is_word("choose") or self.token.text == r"\choose":
                self.at += 1
                product = Apply("binomial", (product, self.signed()))
            elif self.token.text == r"\angle" and self.ahead().kind is Kind.NUMBER:  # polar form
                self.at += 1
                product = flat("*", product, Apply("cis", (self.signed(),)))
            elif isinstance(product, Apply) and product.head == "compose" and self.accept("("):
                function, inner = product.args
                product = Apply("call", (function, Apply("call", (inner, *self.elements(")")))))
            elif self.begins_factor():
                behind_factorial = self.tokens[self.at - 1].text == "!"
                if self.token.kind is Kind.NUMBER and self.ahead().text != "^" and not behind_factorial:
                    raise ParseError("two numbers side by side")
                product = flat("*", product, self.power())
            else:
                return product

    def multiplication(self) -> str:
        """The sign of a product, passed over; "" where there is none."""
        for sign in ("*", "×", "·"):
            if self.accept(sign):
                return sign
        return "×" if self.is_word("times") and self.skip() else ""

    def argument_of_class(self) -> Node:
        if self.accept("{"):
            modulus = self.sum()
            self.expect("}")
            return modulus
        return self.signed()

    def signed(self) -> Node:
        minus = False
        while self.token.text in ("-", "+") and self.token.kind is Kind.OPERATOR:
            minus ^= self.token.text == "-"
            self.at += 1
        factor = self.power()
        return negative(factor) if minus else factor

    def begins_factor(self) -> bool:
        token = self.token
        match token.kind:
            case Kind.NUMBER:
                return True
            case Kind.COMMAND:
                if (
                    token.text == "mu"
                    and self.reading.letter_units
                    and self.ahead().text in ("m", "g", "s", "A", "F", "L")
                ):
                    return self.tokens[self.at - 1].kind is not Kind.NUMBER
                return not token.text.startswith((r"\end", r"\choose")) and token.text not in (*QUANTIFIERS, NOT)
            case Kind.OPERATOR:
                if token.text == "(" and self.ahead().text in ("mod", "pmod"):
                    return False
                if token.text == "[" and self.ahead().text in ("", "∪", "∩", ",", ")"):
                    return False  # it closes an interval that is open at its high end
                return token.text in ("(", "[", "{", "{s", "⌊", "⌈", "⟨") or (token.text == "|" and not self.bars)
            case Kind.WORD:
                return self._word_is_factor(token)

    def _word_is_factor(self, token: Token) -> bool:
        word = token.text
        if word in ("or", "and", "in", "mod", "pmod", "percent", "per", "choose", "times", "$", "U", "€", "£", "¢"):
            return False
        if word in SCALES or word in ("deg", "degree", "degrees", "radian", "radians", "rad", "reals"):
            return False
        if word == "min" and self.ahead().text not in ("(", "{"):
            return False  # minutes
        if word in KNOWN_WORDS:
            return True
        if len(word) == 1:
            if token.roman:
                return word in ("e", "i") or lookup(word) is None
            is_unit = self.reading.letter_units and token.spaced and word in LETTER_UNITS and self._unit_follows()
            return not is_unit
        return False

    def _unit_follows(self) -> bool:
        """Whether a number stands before and nothing but a unit follows up to the end of the item."""
        begins = next((at + 1 for at in range(self.at - 1, -1, -1) if self.tokens[at].text in _SEPARATORS), 0)
        if any(token.kind is Kind.WORD and len(token.text) == 1 for token in self.tokens[begins : self.at]):
            return False
        if self.at == 0 or self.tokens[self.at - 1].kind is not Kind.NUMBER:
            return False
        start = self.at
        found = self.unit_product() is not None and (self._item_ends() or self._quantity_begins())
        self.at = start
        return found

    def _quantity_begins(self) -> bool:
        following = self.ahead()
        return self.token.kind is Kind.NUMBER and following.kind is Kind.WORD and lookup(following.text) is not None

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
                base = Apply("^", (bare(base), bare(self.exponent())))
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
            value = negative(self.exponent())
        else:
            self.accept("+")
            value = self.postfix(self.primary())
            if self.accept("^"):
                value = Apply("^", (bare(value), bare(self.exponent())))
        self.depth -= 1
        return value

    def postfix(self, node: Node) -> Node:
        while True:
            if self.accept("!"):
                node = Apply("factorial2" if self.accept("!") else "factorial", (bare(node),))
            elif self.is_word("percent", "percentage") and self.ahead().text in ("point", "points"):
                self.at += 2
                node = Quantity(node, PERCENTAGE_POINT)
            elif self.accept("%") or (self.is_word("percent", "pct", "percentage") and self.skip()):
                node = Apply("%", (bare(node),))
            elif isinstance(node, Region) and self.accept("′"):
                node = Apply("^", (node, Symbol("c")))
            elif self.accept("‰"):
                node = Apply("%", (Apply("/", (bare(node), Number(Fraction(10)))),))
            elif self.token.text == "°" and self.composes(node):
                self.at += 1
                node = Apply("compose", (node, self.postfix(self.primary())))
            elif self.accept("°"):
                node = self.degrees(node)
            else:
                return node

    def composes(self, node: Node) -> bool:
        """Whether the circle behind a letter is the sign between two functions: another letter follows it."""
        following = self.ahead()
        letter = following.kind is Kind.WORD and len(following.text) == 1 and following.text not in "CF"
        return isinstance(node, Symbol) and (letter or following.text in _GREEK_FUNCTIONS)

    def degrees(self, node: Node) -> Node:
        """What a degree sign makes of a value: an angle, or a temperature when C or F follows."""
        if self.is_word("C", "F") and not symbols(node):
            self.at += 1
            return Quantity(node, CELSIUS if self.ahead(-1).text == "C" else FAHRENHEIT)
        if self.is_word("Celsius", "celsius", "Fahrenheit", "fahrenheit") and not symbols(node):
            self.at += 1
            return Quantity(node, CELSIUS if self.ahead(-1).text.lower() == "celsius" else FAHRENHEIT)
        return self.minutes(bare(node))

    def minutes(self, degrees: Node) -> Node:
        """Degrees with the minutes and seconds of arc that may follow them, as in 30°15'20\"."""
        if not isinstance(degrees, Number):
            return Apply("°", (degrees,))
        value = degrees.value
        for sign, parts in (("′", 60), ("″", 3600)):
            if self.token.value is not None and self.ahead().text == sign:
                value += self.token.value / parts
                self.at += 2
        return Apply("°", (degrees if value == degrees.value else Number(value),))
