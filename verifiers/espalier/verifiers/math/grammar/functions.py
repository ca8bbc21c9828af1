"""Numbers, and functions with their arguments."""

from __future__ import annotations

from fractions import Fraction

from espalier.verifiers.math.grammar.combine import bare, flat, literal
from espalier.verifiers.math.grammar.groups import Groups
from espalier.verifiers.math.lexer import Kind, ParseError, Token
from espalier.verifiers.math.limits import LIMITS, LimitError
from espalier.verifiers.math.tree import (
    Apply,
    Based,
    Group,
    Node,
    Number,
    RelationNode,
)
from espalier.verifiers.math.words import FUNCTIONS, INVERSES


class Functions(Groups):
    """Literals, bases, mixed numbers, and functions applied with or without brackets."""

    def number(self) -> Node:
        token = self.token
        self.at += 1
        written = literal(token)
        if token.text.isdigit():
            if self.token.text == "_":
                return self.based(token.text)
            fraction = self.mixed_part()
            if fraction is not None:
                return Number(written.value + fraction)
        return written

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
            if isinstance(value, Group | RelationNode):
                raise ParseError("a list where a number is expected")
            return value
        if token.kind is Kind.NUMBER and token.text.isdigit() and len(token.text) > 1:
            rest = token.text[1:]
            self.tokens[self.at] = Token(Kind.NUMBER, rest, Fraction(int(rest)))
            return Number(Fraction(int(token.text[0])))
        if token.kind is Kind.NUMBER:
            self.at += 1
            return literal(token)
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
            written = literal(self.token)
            self.at += 1
            return written
        return self.argument()

    def call_argument(self) -> Node:
        if self.token.text in ("(", "{", "["):
            opening = self.token.text
            self.at += 1
            closing = {"(": ")", "{": "}", "[": "]"}[opening]
            items = self.elements(closing)
            if len(items) != 1:
                raise ParseError("a function of one argument with several")
            return bare(items[0])
        value = self.signed() if self.token.text == "-" else self.power()
        while self.begins_factor() and not self._begins_function() and self.token.kind is not Kind.NUMBER:
            value = flat("*", value, self.power())
        return bare(value)

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
            radicand = bare(items[0])
        elif self.token.kind is Kind.NUMBER:
            radicand = literal(self.token)
            self.at += 1
        else:
            radicand = bare(self.argument())
        return Apply("sqrt", (radicand,)) if index is None else Apply("root", (radicand, index))

    def function_of_many(self, head: str) -> Node:
        opening = self.token.text
        if opening not in ("(", "{", "{s"):
            raise ParseError(f"{head} without its arguments")
        self.at += 1
        items = tuple(bare(item) for item in self.elements({"(": ")", "{": "}", "{s": "}s"}[opening]))
        if head in ("^", "mod", "binomial", "root") and len(items) != 2:
            raise ParseError(f"{head} takes two arguments")
        return Apply(head, items)
