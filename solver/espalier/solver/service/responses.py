"""OpenAI's responses as requests and replies of the solver. Nothing is stored: a conversation is sent whole each time.

The answer is the message, the winning candidate's response the reasoning before it, and `result` the rest: `metadata`
are strings in this protocol, and the caller's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from espalier.common.errors import FieldError
from espalier.solver.core.problem import Problem
from espalier.solver.core.result import Result
from espalier.solver.service.fields import RequestFields, SolveCall, conversation, kind_of
from espalier.solver.service.replies import Head, ReplyStream, metadata_of, refusal_of, response_of, sse, usage

NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "background": (False,),
    "context_management": ([],),
    "conversation": (),
    "include": ([],),
    "max_tool_calls": (),
    "moderation": (),
    "previous_response_id": (),
    "prompt": (),
    "reasoning": ({},),
    "text": ({}, {"format": {"type": "text"}}),
    "truncation": ("disabled",),
}


class Responses:
    """`/v1/responses`. See :class:`espalier.solver.service.replies.Dialect`."""

    path = "/v1/responses"

    def read(self, body: Any, models: Sequence[str]) -> SolveCall:
        """Read the body of a request."""
        fields = RequestFields(body)
        fields.require_model(models)
        instructions = fields.typed("instructions", str, "a string")
        context, text = conversation(_messages(fields.take("input")), "input", instructions or "")
        problem = Problem("", text, fields.check(), context=context)
        stream, _ = fields.streaming()
        settings = fields.settings(("max_output_tokens",))
        fields.require_nothing_else(NEUTRAL)
        names = {"max_tokens": "tokens", "candidate_tokens": "max_output_tokens"}
        return SolveCall(problem, settings, stream=stream, names=names)

    def reply(self, head: Head, call: SolveCall, results: Sequence[Result]) -> dict[str, Any]:
        """A response."""
        (result,) = results
        return _response(head, call, result, response_of(result))

    def stream(self, head: Head, call: SolveCall) -> ReplyStream:
        """A streamed response."""
        return _ResponseStream(head, call)


class _ResponseStream:
    """Events: the response in progress, its reasoning, its message, and the whole of it."""

    def __init__(self, head: Head, call: SolveCall) -> None:
        self._head = head
        self._call = call
        self._sent = 0
        self._response = ""

    def begin(self) -> Iterator[str]:
        snapshot = _in_progress(self._head, self._call)
        yield self._event("response.created", response=snapshot)
        yield self._event("response.in_progress", response=snapshot)

    def progress(self, choice: int, event: Mapping[str, Any]) -> Iterator[str]:
        yield self._event("response.in_progress", response=_in_progress(self._head, self._call), event=dict(event))

    def response(self, choice: int, text: str) -> Iterator[str]:
        if not self._response:
            yield self._event("response.output_item.added", output_index=0, item=_reasoning(self._head, None))
        self._response += text
        yield self._event("response.reasoning_text.delta", **self._place(0), delta=text)

    def solved(self, choice: int, result: Result) -> Iterator[str]:
        response = _response(self._head, self._call, result, self._response)
        if self._response:
            yield self._event("response.reasoning_text.done", **self._place(0), text=self._response)
            item = _reasoning(self._head, self._response)
            yield self._event("response.output_item.done", output_index=0, item=item)
        number = int(bool(self._response))
        message = response["output"][-1]
        (part,) = message["content"]
        empty = {**part, _text_of(part): ""}
        place = self._place(number)
        started = {**message, "status": "in_progress", "content": []}
        yield self._event("response.output_item.added", output_index=number, item=started)
        yield self._event("response.content_part.added", **place, part=empty)
        yield from self._said(part, place)
        yield self._event("response.content_part.done", **place, part=part)
        yield self._event("response.output_item.done", output_index=number, item=message)
        yield self._event(f"response.{response['status']}", response=response)

    def end(self, results: Sequence[Result]) -> Iterator[str]:
        yield from ()

    def failed(self, error: Mapping[str, Any]) -> Iterator[str]:
        said = error["error"]
        about = {name: said[name] for name in ("code", "message", "param")}
        yield self._event("error", **about, error=said)

    def _said(self, part: Mapping[str, Any], place: Mapping[str, Any]) -> Iterator[str]:
        text = part[_text_of(part)]
        if part["type"] == "refusal":
            yield self._event("response.refusal.delta", **place, delta=text)
            yield self._event("response.refusal.done", **place, refusal=text)
        else:
            yield self._event("response.output_text.delta", **place, delta=text, logprobs=[])
            yield self._event("response.output_text.done", **place, text=text, logprobs=[])

    def _place(self, number: int) -> dict[str, Any]:
        item = _message_id(self._head) if number == int(bool(self._response)) else _reasoning_id(self._head)
        return {"item_id": item, "output_index": number, "content_index": 0}

    def _event(self, kind: str, **more: Any) -> str:
        event = sse({"type": kind, "sequence_number": self._sent, **more})
        self._sent += 1
        return event


def _messages(value: Any) -> list[Any]:
    """The input as messages. What a response gave as reasoning may be sent back with it, and is not read again.

    Raises:
        FieldError: It is empty, or an item is no message.
    """
    if isinstance(value, str):
        value = [{"role": "user", "content": value}]
    if value is not None and not isinstance(value, list):
        raise FieldError("input", f"is {kind_of(value)}, neither a string nor a list of messages")
    if not value:
        raise FieldError("input", "is empty; give the problem to solve")
    for number, item in enumerate(value):
        kind = item.get("type", "message") if isinstance(item, dict) else "message"
        if kind not in ("message", "reasoning"):
            raise FieldError(f"input[{number}].type", f"is {str(kind)[:80]!r}; a solve reads messages alone")
    messages = [item for item in value if not (isinstance(item, dict) and item.get("type") == "reasoning")]
    if not messages:
        raise FieldError("input", "has no message; give the problem to solve")
    return messages


def _in_progress(head: Head, call: SolveCall) -> dict[str, Any]:
    return {
        "id": f"resp_{head.solve_ids[0]}",
        "object": "response",
        "created_at": head.created,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": call.settings.candidate_tokens,
        "model": head.model,
        "output": [],
        "parallel_tool_calls": False,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "temperature": call.settings.temperature,
        "text": {"format": {"type": "text"}},
        "tool_choice": "none",
        "tools": [],
        "top_p": 1,
        "truncation": "disabled",
        "usage": None,
        "metadata": {},
    }


def _response(head: Head, call: SolveCall, result: Result, reasoning: str) -> dict[str, Any]:
    unsolved = result.selection.answer is None
    status = "incomplete" if unsolved else "completed"
    if unsolved:
        part: dict[str, Any] = {"type": "refusal", "refusal": refusal_of(result)}
    else:
        part = {"type": "output_text", "text": result.selection.answer, "annotations": [], "logprobs": []}
    message = {
        "id": _message_id(head),
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [part],
    }
    return {
        **_in_progress(head, call),
        "status": status,
        "incomplete_details": {"reason": "max_output_tokens"} if unsolved else None,
        "output": [*([_reasoning(head, reasoning)] if reasoning else []), message],
        "usage": _usage(result),
        "result": metadata_of(head.solve_ids[0], result),
    }


def _usage(result: Result) -> dict[str, Any]:
    """All new tokens are reasoning: the answer is read from them, not written after them."""
    counted = usage([result])
    return {
        "input_tokens": counted["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": counted["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": counted["completion_tokens"]},
        "total_tokens": counted["total_tokens"],
    }


def _reasoning(head: Head, text: str | None) -> dict[str, Any]:
    content = [] if text is None else [{"type": "reasoning_text", "text": text}]
    status = "in_progress" if text is None else "completed"
    return {"id": _reasoning_id(head), "type": "reasoning", "status": status, "summary": [], "content": content}


def _text_of(part: Mapping[str, Any]) -> str:
    """The field of a part of a message that holds its text."""
    return "refusal" if part["type"] == "refusal" else "text"


def _message_id(head: Head) -> str:
    return f"msg_{head.solve_ids[0]}"


def _reasoning_id(head: Head) -> str:
    return f"rs_{head.solve_ids[0]}"
