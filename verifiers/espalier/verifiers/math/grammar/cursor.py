"""A cursor over tokens, and what the parts of the grammar expect of each other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final

from espalier.verifiers.math.grammar.reading import Reading
from espalier.verifiers.math.lexer import Kind, ParseError, Token
from espalier.verifiers.math.tree import Node

END: Final = Token(Kind.OPERATOR, "")


class Cursor(ABC):
    """A position in the tokens; `bars` counts open absolute values, `depth` open sums, `levels` open primaries."""

    def __init__(self, tokens: list[Token], reading: Reading) -> None:
        self.tokens = tokens
        self.reading = reading
        self.at = 0
        self.bars = 0
        self.depth = 0
        self.levels = 0

    @property
    def token(self) -> Token:
        tokens, at = self.tokens, self.at
        return tokens[at] if at < len(tokens) else END

    def ahead(self, offset: int = 1) -> Token:
        return self.tokens[self.at + offset] if self.at + offset < len(self.tokens) else END

    def accept(self, *texts: str) -> bool:
        at = self.at
        if at < len(self.tokens):  # not `token`: this is the most frequent question of all
            token = self.tokens[at]
            if token.text in texts and token.kind is not Kind.NUMBER:
                self.at = at + 1
                return True
        return False

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise ParseError(f"expected {text!r}, found {self.token.text or 'the end'!r}")

    def is_word(self, *words: str) -> bool:
        token = self.token
        return token.kind is Kind.WORD and token.text in words

    def skip(self) -> bool:
        self.at += 1
        return True

    @abstractmethod
    def items(self) -> Node:
        """Relations between commas, semicolons, "and" and "or"."""

    @abstractmethod
    def relation(self) -> Node:
        """Sides between signs of equality and order."""

    @abstractmethod
    def term(self) -> Node:
        """Factors between signs of multiplication and division."""

    @abstractmethod
    def sum(self) -> Node:
        """Terms between plus and minus."""

    @abstractmethod
    def signed(self) -> Node:
        """A factor with its signs."""

    @abstractmethod
    def power(self) -> Node:
        """A primary with its exponents and postfix signs."""

    @abstractmethod
    def exponent(self) -> Node:
        """What follows "^"."""

    @abstractmethod
    def begins_factor(self) -> bool:
        """Whether the next token begins a factor of an implicit product."""

    @abstractmethod
    def primary(self) -> Node:
        """A number, a letter, a function with its argument, or anything in brackets."""

    @abstractmethod
    def elements(self, closing: str) -> tuple[Node, ...]:
        """What stands between an opening bracket, which is passed, and the closing one."""
