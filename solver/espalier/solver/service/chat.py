"""OpenAI's chat completions as requests and replies of the solver. Pure functions on JSON values.

The answer is the message; the winning candidate's response rides in `reasoning_content`, where reasoning models put
theirs; everything else that a result says rides in `metadata`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from espalier.common.errors import FieldError
from espalier.solver.core.problem import Problem
from espalier.solver.core.result import Result
from espalier.solver.service.fields import RequestFields, SolveCall, conversation, kind_of
from espalier.solver.service.replies import (
    DONE,
    Head,
    ReplyStream,
    finish_reason,
    metadata_of,
    refusal_of,
    response_of,
    sse,
    usage,
    with_metadata,
)

OWN_TOKENS = ("max_completion_tokens", "max_tokens")
"""New tokens of one candidate, by OpenAI's names for it."""

NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "reasoning_effort": (),
    "verbosity": ("medium",),
}


class Chat:
    """`/v1/chat/completions`. See :class:`espalier.solver.service.replies.Dialect`."""

    path = "/v1/chat/completions"

    def read(self, body: Any, models: Sequence[str]) -> SolveCall:
        """Read the body of a request."""
        fields = RequestFields(body)
        fields.require_model(models)
        messages = fields.take("messages")
        if messages is not None and not isinstance(messages, list):
            raise FieldError("messages", f"is {kind_of(messages)}, not a list; give the problem as a user message")
        if not messages:
            raise FieldError("messages", "is empty; give the problem as a user message")
        context, text = conversation(messages, "messages")
        problem = Problem("", text, fields.check(), context=context)
        stream, with_usage = fields.streaming()
        settings = fields.settings(OWN_TOKENS, stop=fields.stop())
        choices = fields.choices()
        fields.require_nothing_else(NEUTRAL)
        names = {"max_tokens": "tokens", "candidate_tokens": OWN_TOKENS[0]}
        return SolveCall(problem, settings, choices, stream, with_usage, names)

    def reply(self, head: Head, call: SolveCall, results: Sequence[Result]) -> dict[str, Any]:
        """A chat completion."""
        choices = [
            {
                "index": number,
                "message": {"role": "assistant", **_message(result)},
                "finish_reason": finish_reason(result),
                "logprobs": None,
            }
            for number, result in enumerate(results)
        ]
        return {**_head(head, "chat.completion"), **with_metadata(choices, head, results), "usage": usage(results)}

    def stream(self, head: Head, call: SolveCall) -> ReplyStream:
        """A streamed chat completion."""
        return _ChatStream(head, call)


class _ChatStream:
    """Chunks: the role, progress as metadata, the response as reasoning, the answer, and what it cost."""

    def __init__(self, head: Head, call: SolveCall) -> None:
        self._head = head
        self._call = call

    def begin(self) -> Iterator[str]:
        for choice in range(self._call.choices):
            yield self._chunk(choice, {"role": "assistant", "content": ""})

    def progress(self, choice: int, event: Mapping[str, Any]) -> Iterator[str]:
        yield self._chunk(choice, {}, metadata=event)

    def response(self, choice: int, text: str) -> Iterator[str]:
        yield self._chunk(choice, {"reasoning_content": text})

    def solved(self, choice: int, result: Result) -> Iterator[str]:
        yield self._chunk(choice, _answer(result))
        told = metadata_of(self._head.solve_ids[choice], result)
        yield self._chunk(choice, {}, finish_reason=finish_reason(result), metadata=told)

    def end(self, results: Sequence[Result]) -> Iterator[str]:
        if self._call.usage:
            yield sse({**_head(self._head, "chat.completion.chunk"), "choices": [], "usage": usage(results)})
        yield DONE

    def failed(self, error: Mapping[str, Any]) -> Iterator[str]:
        yield sse(error)

    def _chunk(
        self,
        choice: int,
        delta: Mapping[str, Any],
        finish_reason: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        told = {"index": choice, "delta": dict(delta), "finish_reason": finish_reason, "logprobs": None}
        more = {} if metadata is None else {"metadata": dict(metadata)}
        return sse({**_head(self._head, "chat.completion.chunk"), "choices": [told], **more})


def _head(head: Head, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{head.solve_ids[0]}", "object": kind, "created": head.created, "model": head.model}


def _message(result: Result) -> dict[str, Any]:
    response = response_of(result)
    return {**_answer(result), **({"reasoning_content": response} if response else {})}


def _answer(result: Result) -> dict[str, Any]:
    if result.selection.answer is None:
        return {"content": None, "refusal": refusal_of(result)}
    return {"content": result.selection.answer}
