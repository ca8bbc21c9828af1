"""Derivatives, integrals, sums, products and limits: nodes that sympy evaluates, or that only equal themselves."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

from espalier.verifiers.math.grammar.combine import bare
from espalier.verifiers.math.grammar.cursor import END
from espalier.verifiers.math.grammar.functions import Functions
from espalier.verifiers.math.lexer import Kind, ParseError, Token
from espalier.verifiers.math.tree import Apply, Constant, Node, Number, RelationNode, Symbol, rebuild

_D: Final = ("d", r"\partial", "∂")
_OPENING: Final = frozenset({"(", "[", "{", "{s", "⟨", "⌊", "⌈"})
_CLOSING: Final = frozenset({")", "]", "}", "}s", "⟩", "⌋", "⌉"})


class Calculus(Functions):
    """Operators with a bound variable."""

    def big_operator(self, name: str) -> Node:
        """What follows `\\sum`, `\\prod`, `\\int` or `\\lim`."""
        match name:
            case r"\sum" | r"\prod":
                return self.series(name[1:])
            case r"\int":
                return self.integral()
            case _:
                return self.limit()

    def series(self, head: str) -> Node:
        low = high = None
        while self.token.text in ("_", "^"):
            lower = self.accept("_")
            if lower:
                low = self.bound()
            elif self.accept("^"):
                high = self.exponent()
        if isinstance(low, RelationNode) and isinstance(low.sides[0], Constant):
            low = RelationNode((Symbol(low.sides[0].name), *low.sides[1:]), low.ops)
        if (
            not isinstance(low, RelationNode)
            or low.ops != ("=",)
            or not isinstance(low.sides[0], Symbol)
            or high is None
        ):
            raise ParseError(f"a {head} without its bounds")
        name = low.sides[0].name
        return Apply(head, (_indexed(_rename(self.term(), name), name), low.sides[0], low.sides[1], high))

    def bound(self) -> Node:
        if self.accept("{"):
            inside = self.relation()
            self.expect("}")
            return inside
        return self.argument()

    def limit(self) -> Node:
        if not self.accept("_") or not self.accept("{"):
            raise ParseError("a limit without its point")
        variable = self.primary()
        self.expect("⇒")
        point = self.sum()
        if not isinstance(variable, Symbol) or self.token.text != "}":
            raise ParseError("a limit from one side")
        self.at += 1
        return Apply("limit", (self.term(), variable, point))

    def integral(self) -> Node:
        ends: dict[str, Node] = {}
        while self.token.text in ("_", "^"):
            sign = self.token.text
            self.at += 1
            ends[sign] = bare(self.argument() if self.token.text != "-" else self.signed())
        stop, name, width = self.differential()
        body: Node = Number(Fraction(1))
        if stop > self.at:
            kept = self.tokens
            self.tokens = kept[:stop]
            body = self.sum()
            if self.at != stop:
                raise ParseError("an integrand that cannot be read")
            self.tokens = kept
        self.at = stop + width
        if len(ends) == 1:
            raise ParseError("an integral with one end")
        return Apply("integral", (body, Symbol(name), *((ends["_"], ends["^"]) if ends else ())))

    def differential(self) -> tuple[int, str, int]:
        """Where the "dx" of an integral stands, its variable, and how many tokens it takes."""
        depth = 0
        for index in range(self.at, len(self.tokens)):
            token = self.tokens[index]
            if token.kind is Kind.OPERATOR:
                depth += (token.text in _OPENING) - (token.text in _CLOSING)
            if depth < 0:
                break
            following = self.tokens[index + 1] if index + 1 < len(self.tokens) else END
            if depth == 0 and token.kind is Kind.WORD and token.text == "d" and _is_variable(following):
                return index, following.text, 2
            if depth == 0 and token.kind is Kind.WORD and len(token.text) == 2 and token.text[0] == "d":
                return index, token.text[1], 1
        raise ParseError("an integral without its variable")

    def derivative(self) -> Node | None:
        """`\\frac{dy}{dx}`, `\\frac{d}{dx} y` or `dy/dx` at the cursor, which stands before its first token."""
        start = self.at
        braced = self.accept(r"\frac")
        if braced and not self.accept("{"):
            self.at = start
            return None
        head = "derivative" if self.token.text == "d" else "partial"
        upper = self.order()
        if upper is None:
            self.at = start
            return None
        name = ""
        while self.token.kind in (Kind.WORD, Kind.COMMAND) and self.token.text not in ("}", "/"):
            name += self.token.text
            self.at += 1
        if not (self.accept("}") and self.accept("{") if braced else self.accept("/")):
            self.at = start
            return None
        variable, power = self.below()
        if not variable or power != upper or (braced and not self.accept("}")) or (not braced and not name):
            self.at = start
            return None
        order = Number(Fraction(upper))
        operand = Symbol(name) if name else bare(self.term())
        return Apply(head, (operand, Symbol(variable), order))

    def order(self) -> int | None:
        """The order that follows a d, 1 where none is written."""
        if not self.accept(*_D):
            return None
        if not self.accept("^"):
            return 1
        braced = self.accept("{")
        token = self.token
        self.at += 1
        if braced:
            self.accept("}")
        return int(token.text) if token.text.isdigit() and len(token.text) == 1 else None

    def below(self) -> tuple[str, int]:
        """The variable and the order in the denominator "dx^2"."""
        if not self.accept(*_D) or not _is_variable(self.token):
            return "", 0
        name = self.token.text
        self.at += 1
        if not self.accept("^"):
            return name, 1
        braced = self.accept("{")
        digits = self.token.text
        self.at += 1
        if braced:
            self.accept("}")
        return name, int(digits) if digits.isdigit() and len(digits) == 1 else 0


def _rename(node: Node, letter: str) -> Node:
    """A body in which i or e, where it is the bound variable, is no constant."""
    return rebuild(node, lambda part: Symbol(letter) if isinstance(part, Constant) and part.name == letter else part)


def _indexed(node: Node, letter: str) -> Node:
    """A body in which names with the bound letter in their index depend on it: a_k is "indexed(a, k)", by value."""

    def change(part: Node) -> Node:
        if not isinstance(part, Symbol):
            return part
        base, _, index = part.name.partition("_")
        if letter not in index:
            return part
        linear = re.fullmatch(rf"(\d*){re.escape(letter)}([-+]\d+)?", index)
        if linear is None:
            return Apply("indexed", (Symbol(base), Symbol(index), Symbol(letter)))
        factor, shift = Number(Fraction(linear[1] or 1)), Number(Fraction(linear[2] or 0))
        return Apply("indexed", (Symbol(base), Apply("+", (Apply("*", (factor, Symbol(letter))), shift))))

    return rebuild(node, change)


def _is_variable(token: Token) -> bool:
    return (token.kind is Kind.WORD and len(token.text) == 1) or token.kind is Kind.COMMAND
