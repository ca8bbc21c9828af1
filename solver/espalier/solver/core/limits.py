"""How long texts and names may be, the same at every entrance: files, gRPC, HTTP, pages and tools."""

from __future__ import annotations

import re
from typing import Any

from espalier.common.errors import FieldError

MAX_TEXT = 100_000
"""Characters of a problem, with what was said before it."""

MAX_NAME = 256
"""Characters of an id and of a client's key."""

_SURROGATE = re.compile("[\ud800-\udfff]")


def require_text(text: str, field: str) -> None:
    """
    Raises:
        FieldError: The text of a problem is empty, too long, or no Unicode text.
    """
    if not text.strip():
        raise FieldError(field, "is empty; give the problem to solve")
    require_length(field, text)


def require_length(field: str, *texts: str) -> None:
    """
    Args:
        field: Where they stand.
        texts: A problem, and what was said before it.

    Raises:
        FieldError: They are too long together, or no Unicode text.
    """
    for text in texts:
        require_no_surrogates(text, field)
    characters = sum(map(len, texts))
    if characters > MAX_TEXT:
        together = " together with the problem" if len(texts) > 1 else ""
        raise FieldError(field, f"has {characters} characters{together}; at most {MAX_TEXT} are read")


def require_name(text: str, field: str, *, what: str = "") -> None:
    """
    Args:
        text: An id or a key.
        field: Where it stands.
        what: What it must be; empty: there may be none.

    Raises:
        FieldError: It is too long, no Unicode text, or empty where it must not be.
    """
    require_no_surrogates(text, field)
    if what and not text.strip():
        raise FieldError(field, f"is empty; give {what}")
    if len(text) > MAX_NAME:
        raise FieldError(field, f"has {len(text)} characters; give at most {MAX_NAME}")


def require_no_surrogates(value: Any, at: str) -> None:
    """Refuse half of a surrogate pair, which is no character and cannot be sent back.

    Args:
        value: JSON.
        at: Where it stands.

    Raises:
        FieldError: A string somewhere in this value has a lone surrogate.
    """
    match value:
        case str() if _SURROGATE.search(value):
            raise FieldError(at or "body", "has half of a surrogate pair, which is no character; leave it out")
        case list():
            for number, item in enumerate(value):
                require_no_surrogates(item, f"{at}[{number}]")
        case dict():
            for name, item in value.items():
                if _SURROGATE.search(name):
                    raise FieldError(at or "body", "has a name with half of a surrogate pair; leave it out")
                require_no_surrogates(item, f"{at}.{name[:80]}" if at else name[:80])
