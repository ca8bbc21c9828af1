"""What is behind a group of exceptions."""

from __future__ import annotations


def first_cause(error: BaseException) -> BaseException:
    """The first exception in a tree of exception groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
