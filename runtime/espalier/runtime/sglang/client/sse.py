"""Server-sent events, as SGLang streams them: `data: JSON` blocks, closed by `data: [DONE]`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

MAX_MESSAGE = 1 << 28
"""Bytes. A message of a long response may be large; one without an end must not fill the memory."""


class BrokenStream(ValueError):
    """The bytes are no stream of JSON messages."""


async def messages(pieces: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    """The messages in a stream of bytes, up to `[DONE]` or the end of the bytes.

    Raises:
        BrokenStream: A message is not a JSON object, or too long.
    """
    rest = bytearray()
    async for piece in pieces:
        fresh = max(0, len(rest) - 1)  # a block's end may be split between two pieces
        rest += piece
        while (end := rest.find(b"\n\n", fresh)) >= 0:
            data = _data(bytes(rest[:end]))
            del rest[: end + 2]
            fresh = 0
            if data == b"[DONE]":
                return
            if data:
                yield _decode(data)
        if len(rest) > MAX_MESSAGE:
            raise BrokenStream(f"a message of more than {MAX_MESSAGE >> 20} MiB")


def _data(block: bytes) -> bytes:
    lines = [line for line in block.split(b"\n") if line and not line.startswith(b":")]  # a colon begins a comment
    if any(not line.startswith(b"data:") for line in lines):
        raise BrokenStream(f"no event: {block[:80]!r}")
    return b"\n".join(line.removeprefix(b"data:").strip() for line in lines)


def _decode(data: bytes) -> dict[str, Any]:
    try:
        message = json.loads(data)
    except ValueError as error:
        raise BrokenStream(f"no JSON: {data[:80]!r}") from error
    if not isinstance(message, dict):
        raise BrokenStream(f"no JSON object: {data[:80]!r}")
    return message
