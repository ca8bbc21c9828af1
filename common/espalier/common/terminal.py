"""Text of others on a terminal."""

from __future__ import annotations

import re

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Text that a terminal shows and does not obey: control characters and marks of direction become U+FFFD."""
    return _UNPRINTABLE.sub("\ufffd", text)
