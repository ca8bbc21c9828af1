"""A tokenizer for servers that speak text: its tokens are the bytes of UTF-8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

END_OF_TURN = 256


class ByteTokenizer:
    """The part of the `transformers` tokenizer interface that prompts and candidates need; ids 0 to 255 are bytes.

    A chat template is the server's business, so a turn is rendered as its bare content.
    """

    eos_token_id = END_OF_TURN

    def get_added_vocab(self) -> dict[str, int]:
        """No text is a special token."""
        return {}

    def apply_chat_template(self, messages: Sequence[Mapping[str, str]], **_: Any) -> str:
        """The content of the last turn."""
        return messages[-1]["content"]

    def encode(self, text: str, **_: Any) -> list[int]:
        """The bytes of a text; half of a surrogate pair becomes a question mark."""
        return list(text.encode("utf-8", errors="replace"))

    def decode(self, tokens: Sequence[int], **_: Any) -> str:
        """The text of bytes; the end of turn is none, and half a character becomes U+FFFD."""
        return bytes(token for token in tokens if token != END_OF_TURN).decode("utf-8", errors="replace")
