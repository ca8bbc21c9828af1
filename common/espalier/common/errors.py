"""Errors that all packages share.

Exception
├── UnavailableError      a part that this work needs cannot be used now
│   └── UnansweredError   the verifiers could not answer a call that has no verdict to say so with
└── ValueError
    └── FieldError        a field of a request, a file or a command line is wrong
"""

from __future__ import annotations


class UnavailableError(Exception):
    """A part that this work needs failed or cannot be reached; says nothing about the input."""


class UnansweredError(UnavailableError, RuntimeError):
    """The verifiers could not answer a call that has no verdict to say so with; the message says why."""


class ListenError(UnavailableError, OSError):
    """An address cannot be listened on; the message names it."""


class FieldError(ValueError):
    """A field has a value that cannot be worked with. The services answer INVALID_ARGUMENT and name it.

    Attributes:
        field: Path of the field from the request, for example `check.program.cases[2].stdio`.
        problem: What is wrong and what to do.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


def first_cause(error: BaseException) -> BaseException:
    """The first exception in a tree of exception groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
