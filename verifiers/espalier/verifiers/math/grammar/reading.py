"""How ambiguous notation is read, and which words are names."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from espalier.verifiers.math.lexer import Kind, Token
from espalier.verifiers.math.units import lookup
from espalier.verifiers.math.words import FUNCTIONS, GREEK, MANY_ARGUMENTS

KNOWN_WORDS: Final = (
    frozenset(
        {"pi", "oo", "inf", "infinity", "reals", "mod", "pmod", "in", "U", "percent", "per", "times", "deg", "degree"}
    )
    | {"degrees", "radian", "radians", "rad", "or", "and", "sqrt", "$", "choose", "infty"}
    | GREEK
    | FUNCTIONS.keys()
    | MANY_ARGUMENTS.keys()
)


_GLUED: Final = re.compile(r"(?:arc)?(?:sin|cos|tan|cot)|sqrt|ln|log|exp|pi|[a-z](?=sin|cos|tan|ln|log|sqrt|pi|$)")


@dataclass(frozen=True, slots=True)
class Reading:
    """How ambiguous notation is read.

    Attributes:
        split_commas: "100,200" is two numbers.
        letter_units: "5 m" is five metres, not 5·m.
        indexed_choices: C_n^k is a binomial coefficient, not a power of C_n.
        decimal_logarithm: "log" without a base is base 10, not e.
    """

    split_commas: bool = False
    letter_units: bool = True
    decimal_logarithm: bool = False
    indexed_choices: bool = False


def is_name(word: str) -> bool:
    """Whether a word of several letters has no fixed meaning in mathematics."""
    return len(word) > 1 and word not in KNOWN_WORDS


def is_letters(word: str) -> bool:
    """Whether a short word is a product of variables ("xy") rather than a word of a language."""
    return len(word) <= 3 and word.islower() and not set(word) & set("eiou") and lookup(word) is None


_CONSTANTS: Final = frozenset("ei")


def split_letters(tokens: list[Token]) -> list[Token]:
    """The tokens with short words split into letters ("xy" is x·y) and functions split from letters ("xsin")."""
    split: list[Token] = []
    for place, token in enumerate(tokens):
        before_power = tokens[place + 1].text == "^" if place + 1 < len(tokens) else False
        if before_power and len(token.text) == 2 and token.text[0].isupper() and token.text[1] == "e":
            split += [replace(token, text=token.text[0]), Token(Kind.WORD, "e")]  # Ce^x
            continue
        if token.kind is not Kind.WORD or token.roman or not is_name(token.text):
            split.append(token)
            continue
        touches = before_power or (split and not token.spaced)
        if touches and len(token.text) == 2 and len(_CONSTANTS & set(token.text)) == 1 and token.text.islower():
            split += [replace(token, text=token.text[0]), Token(Kind.WORD, token.text[1])]  # e^{ix}, e^xe^y
            continue
        parts = list(token.text) if is_letters(token.text) else _GLUED.findall(token.text)
        if "".join(parts) != token.text:
            parts = [token.text]
        for index, part in enumerate(parts):
            split.append(Token(Kind.WORD, part, spaced=token.spaced and index == 0))
    return split
