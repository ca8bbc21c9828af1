"""What is refused before anything runs: bounds on the text, its tree and the numbers in it."""

from __future__ import annotations

from dataclasses import dataclass


class LimitError(ValueError):
    """A text or a number goes beyond a static limit; nothing was evaluated."""


@dataclass(frozen=True, slots=True)
class MathLimits:
    """Static bounds.

    Attributes:
        characters: Length of one answer.
        nesting: Depth of brackets of any kind.
        digits: Length of one run of digits.
        nodes: Nodes of one syntax tree.
        levels: Depth of one syntax tree.
        bits: Size of an exact number, numerator or denominator.
        exponent_bits: Size of an integer exponent that is applied exactly or by balls.
        factorial: Largest argument of a factorial or binomial that is expanded exactly.
        elements: Elements of one collection, or entries of one matrix.
    """

    characters: int = 4096
    nesting: int = 64
    digits: int = 1024
    nodes: int = 1024
    levels: int = 128
    bits: int = 1 << 16
    exponent_bits: int = 64
    factorial: int = 10_000
    elements: int = 256


LIMITS = MathLimits()


def check_text(text: str, limits: MathLimits = LIMITS) -> None:
    """Raise :class:`LimitError` when `text` is too long, too deep, or holds too long a number. Linear time."""
    if len(text) > limits.characters:
        raise LimitError(f"longer than {limits.characters} characters ({len(text)})")
    depth = run = 0
    for character in text:
        if character in "([{":
            depth += 1
            if depth > limits.nesting:
                raise LimitError(f"nested deeper than {limits.nesting}")
        elif character in ")]}":
            depth = max(0, depth - 1)
        run = run + 1 if character.isdigit() else 0
        if run > limits.digits:
            raise LimitError(f"a number of more than {limits.digits} digits")


def check_bits(value: int, limits: MathLimits = LIMITS) -> int:
    """Return `value`, or raise :class:`LimitError` when it has too many bits."""
    if value.bit_length() > limits.bits:
        raise LimitError(f"a number of more than {limits.bits} bits")
    return value
