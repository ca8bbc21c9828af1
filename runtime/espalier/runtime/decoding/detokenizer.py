"""From tokens that arrive a few at a time to text that never shows half a character."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_HALF = "\N{REPLACEMENT CHARACTER}"
_MOST_HELD = 3
"""A character has at most four bytes, so no more tokens than this can wait for its last one."""


class Detokeniser:
    """The text of one branch, as far as its tokens are known.

    A character may be made of several tokens, and some tokenizers let the text of a token depend on the one before it.
    So each piece is decoded together with the piece before, and waits while its last character is incomplete: the
    pieces together are the decoded whole, and each costs the length of two pieces.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._before: list[int] = []
        self._waiting: list[int] = []

    def feed(self, tokens: Sequence[int]) -> str:
        """Take in new tokens; the text that they complete."""
        tokens = [*self._waiting, *tokens]
        known = self._decode(self._before)
        ready, text = self._whole(tokens)
        self._waiting = tokens[len(ready) :]
        if ready:
            self._before = ready
        return text[len(known) :]

    def _whole(self, tokens: list[int]) -> tuple[list[int], str]:
        """As many of the tokens as end in a whole character, and their text with the piece before; all if none do."""
        for held in range(min(_MOST_HELD, len(tokens)) + 1):
            ready = tokens[: len(tokens) - held]
            text = self._decode([*self._before, *ready])
            if not text.endswith(_HALF):
                return ready, text
        return tokens, self._decode([*self._before, *tokens])

    def _decode(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=False)) if tokens else ""
