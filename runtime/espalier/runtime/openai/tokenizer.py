"""A tokenizer for servers that speak text: its tokens are the bytes of UTF-8."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

END_OF_TURN = 256

_ROLES = {"user": ("<|user|>", 257), "assistant": ("<|assistant|>", 258)}
"""Tokens that begin the turns of a conversation."""

_NAMES = {token: role for role, (_, token) in _ROLES.items()}

_TOKENS = dict(_ROLES.values())

_SPECIAL = re.compile("({})".format("|".join(map(re.escape, _TOKENS))))


class ByteTokenizer:
    """The part of the `transformers` tokenizer interface that prompts and candidates need; ids 0 to 255 are bytes.

    A chat template is the server's business: one turn is rendered as its bare content, and of a conversation every turn
    begins with a token for its role, so that :meth:`messages` finds the turns again.
    """

    eos_token_id = END_OF_TURN

    def get_added_vocab(self) -> dict[str, int]:
        """The tokens of roles."""
        return dict(_TOKENS)

    def apply_chat_template(self, messages: Sequence[Mapping[str, str]], **_: Any) -> str:
        """The content of the only turn, or all turns, each behind the token of its role."""
        if len(messages) == 1:
            return messages[0]["content"]
        return "".join(_ROLES[message["role"]][0] + message["content"] for message in messages)

    def encode(self, text: str, *, split_special_tokens: bool = False, **_: Any) -> list[int]:
        """The bytes of a text; half of a surrogate pair becomes a question mark.

        Args:
            text: Any.
            split_special_tokens: What spells the token of a role is text, too.
        """
        pieces = [text] if split_special_tokens else re.split(_SPECIAL, text)
        return [token for piece in pieces for token in _encode(piece, literal=split_special_tokens)]

    def decode(self, tokens: Sequence[int], **_: Any) -> str:
        """The text of bytes; other tokens are none, and half a character becomes U+FFFD."""
        return bytes(token for token in tokens if token < END_OF_TURN).decode("utf-8", errors="replace")

    def messages(self, prompt: Sequence[int]) -> list[Any]:
        """The turns of a prompt, as a server is told them."""
        turns: list[tuple[str, list[int]]] = []
        for token in prompt:
            if (role := _NAMES.get(token)) is not None:
                turns.append((role, []))
            elif turns:
                turns[-1][1].append(token)
            else:
                turns.append(("user", [token]))
        return [{"role": role, "content": self.decode(content)} for role, content in turns]


def _encode(piece: str, *, literal: bool) -> list[int]:
    token = None if literal else _TOKENS.get(piece)
    return list(piece.encode("utf-8", errors="replace")) if token is None else [token]
