"""OpenAI's completions, the older protocol of a prompt and a text, as requests and replies of the solver."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from espalier.common.errors import FieldError
from espalier.solver.core.limits import require_text
from espalier.solver.core.problem import Problem
from espalier.solver.core.result import Result
from espalier.solver.service.fields import RequestFields, SolveCall
from espalier.solver.service.replies import (
    DONE,
    Head,
    ReplyStream,
    finish_reason,
    metadata_of,
    sse,
    usage,
    with_metadata,
)

NEUTRAL: Mapping[str, tuple[Any, ...]] = {"echo": (False,), "suffix": ("",)}


class Completions:
    """`/v1/completions`. See :class:`espalier.solver.service.replies.Dialect`.

    The text is the answer; without one it is empty, and the metadata say why.
    """

    path = "/v1/completions"

    def read(self, body: Any, models: Sequence[str]) -> SolveCall:
        """Read the body of a request."""
        fields = RequestFields(body)
        fields.require_model(models)
        problem = Problem("", _prompt(fields.take("prompt")), fields.check())
        stream, with_usage = fields.streaming()
        choices, best_of = fields.choices(), fields.count("best_of")
        settings = fields.settings(("max_tokens",), stop=fields.stop(), **_candidates(fields.count("k"), best_of))
        fields.require_nothing_else(NEUTRAL)
        names = {"max_tokens": "tokens", "candidate_tokens": "max_tokens"}
        if best_of is not None:
            names["k"] = "best_of"
        return SolveCall(problem, settings, choices, stream, with_usage, names)

    def reply(self, head: Head, call: SolveCall, results: Sequence[Result]) -> dict[str, Any]:
        """A completion."""
        choices = [_choice(number, _text(result), finish_reason(result)) for number, result in enumerate(results)]
        return {**_head(head), **with_metadata(choices, head, results), "usage": usage(results)}

    def stream(self, head: Head, call: SolveCall) -> ReplyStream:
        """A streamed completion."""
        return _CompletionStream(head, call)


class _CompletionStream:
    """Chunks: progress as metadata, the answer, and what it cost. There is no place for the response."""

    def __init__(self, head: Head, call: SolveCall) -> None:
        self._head = head
        self._call = call

    def begin(self) -> Iterator[str]:
        for choice in range(self._call.choices):
            yield self._chunk(_choice(choice, ""))

    def progress(self, choice: int, event: Mapping[str, Any]) -> Iterator[str]:
        yield self._chunk(_choice(choice, ""), metadata=event)

    def response(self, choice: int, text: str) -> Iterator[str]:
        yield from ()

    def solved(self, choice: int, result: Result) -> Iterator[str]:
        told = metadata_of(self._head.solve_ids[choice], result)
        yield self._chunk(_choice(choice, _text(result), finish_reason(result)), metadata=told)

    def end(self, results: Sequence[Result]) -> Iterator[str]:
        if self._call.usage:
            yield sse({**_head(self._head), "choices": [], "usage": usage(results)})
        yield DONE

    def failed(self, error: Mapping[str, Any]) -> Iterator[str]:
        yield sse(error)

    def _chunk(self, choice: dict[str, Any], **more: Any) -> str:
        return sse({**_head(self._head), "choices": [choice], **more})


def _prompt(value: Any) -> str:
    """
    Raises:
        FieldError: It is not one text.
    """
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        value = value[0]
    if not isinstance(value, str):
        raise FieldError("prompt", "is not one string; give one problem as text, without token ids")
    require_text(value, "prompt")
    return value


def _candidates(k: int | None, best_of: int | None) -> dict[str, int]:
    """OpenAI's `best_of` is what k is: the server makes so many, and returns the best."""
    if k is not None and best_of is not None and k != best_of:
        raise FieldError("best_of", f"is {best_of}, and k is {k}: they are the same; give one of them")
    value = best_of if k is None else k
    return {} if value is None else {"k": value}


def _text(result: Result) -> str:
    return result.selection.answer or ""


def _choice(number: int, text: str, finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": number, "text": text, "finish_reason": finish_reason, "logprobs": None}


def _head(head: Head) -> dict[str, Any]:
    return {
        "id": f"cmpl-{head.solve_ids[0]}",
        "object": "text_completion",
        "created": head.created,
        "model": head.model,
    }
