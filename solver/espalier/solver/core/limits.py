"""How long texts and names may be, the same at every entrance: files, gRPC, HTTP, pages and tools."""

from __future__ import annotations

from espalier.common.errors import FieldError

MAX_TEXT = 100_000
"""Characters of a problem, with what was said before it."""

MAX_NAME = 256
"""Characters of an id and of a client's key."""


def require_text(text: str, field: str) -> None:
    """
    Raises:
        FieldError: The text of a problem is empty or too long.
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
        FieldError: They are too long together.
    """
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
        FieldError: It is too long, or empty where it must not be.
    """
    if what and not text.strip():
        raise FieldError(field, f"is empty; give {what}")
    if len(text) > MAX_NAME:
        raise FieldError(field, f"has {len(text)} characters; give at most {MAX_NAME}")
