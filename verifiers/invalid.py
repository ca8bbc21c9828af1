"""Calls that end without an answer: a field of the request is wrong, or the verifiers are in trouble."""

from __future__ import annotations


class FieldError(ValueError):
    """A field of a request has a value that no verifier can work with.

    Verifiers raise it for the parameters that only they understand; the service answers INVALID_ARGUMENT.

    Attributes:
        field: Path of the field from the request, for example `check.program.cases[2].stdio`.
        problem: What is wrong and what to do.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class UnansweredError(RuntimeError):
    """The verifiers could not answer a call that has no verdict to say so with; the message says why."""
