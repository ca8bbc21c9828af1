"""OpenAI's chat completions as requests and replies of the solver. Pure functions on JSON values.

The answer is the message; the winning candidate's response rides in `reasoning_content`, where reasoning models put
theirs; everything else that a result says rides in `metadata`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from espalier.common.errors import FieldError
from espalier.solver.core.events import AnswerJudged, CandidateFinished, CandidateStarted, RoundFinished, SolveEvent
from espalier.solver.core.problem import Problem
from espalier.solver.core.proto import encode_event, encode_result, to_json
from espalier.solver.core.result import Result
from espalier.solver.core.settings import MAX_TEXT, ServerLimits, Settings, SolvePlan
from espalier.verifiers.check import Check
from espalier.verifiers.check_text import CheckError, check_from_json, parse_check

COUNTS = {
    "k": "k",
    "rounds": "rounds",
    "tokens": "max_tokens",
    "seed": "seed",
    "generated_tests": "generated_tests",
}
"""Fields that are whole numbers, and the settings that they are."""

AMOUNTS = {"seconds": "seconds", "temperature": "temperature"}
"""Fields that are any numbers."""

OWN_TOKENS = ("max_completion_tokens", "max_tokens")
"""New tokens of one candidate, by OpenAI's names for it."""

FIELD_OF = {"max_tokens": "tokens", "candidate_tokens": OWN_TOKENS[0]}
"""Settings that have another name in a request."""

IGNORED = frozenset(
    {"metadata", "parallel_tool_calls", "prompt_cache_key", "safety_identifier", "service_tier", "store", "user"}
)
"""Fields that do not change what an answer means."""

NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "top_p": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logprobs": (False,),
    "stop": ([],),
    "tools": ([],),
    "response_format": ({"type": "text"},),
}
"""Fields that the solver has no use for, with the values that ask for nothing."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A request as the solver understands it.

    Attributes:
        problem: The problem.
        settings: What it says about the solve.
        stream: Whether events are wanted as they happen.
        usage: Whether a stream ends with a chunk of usage.
    """

    problem: Problem
    settings: Settings
    stream: bool
    usage: bool


def read_request(body: Any, models: Sequence[str]) -> ChatRequest:
    """Read the body of a request.

    Args:
        body: JSON.
        models: Names that the model goes by.

    Raises:
        UnknownModelError: The request wants another model.
        FieldError: A field is wrong, or asks for what the solver does not do.
    """
    if not isinstance(body, dict):
        raise FieldError("body", "is not a JSON object")
    fields = {name: value for name, value in body.items() if value is not None}
    model = fields.pop("model", None)
    if model is not None and not isinstance(model, str):
        raise FieldError("model", f"is {_kind(model)}, not a string; there is: {', '.join(models)}")
    if model is None:
        raise FieldError("model", f"is missing; there is: {', '.join(models)}")
    if model not in models:
        raise UnknownModelError(model)
    text = _problem_text(fields.pop("messages", None))
    check = _check(fields.pop("check", None))
    stream = _typed(fields, "stream", bool, "true or false") or False
    options = _typed(fields, "stream_options", dict, "an object") or {}
    settings = _settings(fields)
    _require_nothing_else(fields)
    return ChatRequest(Problem("", text, check), settings, stream, bool(options.get("include_usage")))


class UnknownModelError(Exception):
    """The model is not served here."""

    def __init__(self, model: str) -> None:
        super().__init__(f"the model {model[:80]!r} does not exist here")


def plan_of(request: ChatRequest, limits: ServerLimits) -> SolvePlan:
    """How to solve what was asked for.

    Raises:
        FieldError: A setting makes no sense or asks for too much; the error speaks of the request's own field.
    """
    try:
        return limits.plan(request.settings)
    except FieldError as error:
        raise FieldError(FIELD_OF.get(error.field, error.field), error.problem) from None


def _problem_text(messages: Any) -> str:
    """One problem: system messages, if any, then one user message."""
    if messages is not None and not isinstance(messages, list):
        raise FieldError("messages", f"is {_kind(messages)}, not a list; give the problem as one user message")
    if not messages:
        raise FieldError("messages", "is empty; give the problem as one user message")
    texts: list[str] = []
    for number, message in enumerate(messages):
        at = f"messages[{number}]"
        if not isinstance(message, dict):
            raise FieldError(at, "is not an object")
        last = number == len(messages) - 1
        allowed = ("user",) if last else ("system", "developer")
        if message.get("role") not in allowed:
            raise FieldError(
                f"{at}.role",
                "a solve takes one problem: system messages, if any, then one user message; put what was said before "
                "into that message",
            )
        texts.append(_text(message.get("content"), f"{at}.content"))
    if not texts[-1].strip():
        raise FieldError(f"messages[{len(messages) - 1}].content", "is empty; give the problem to solve")
    joined = "\n\n".join(text for text in texts if text.strip())
    if len(joined) > MAX_TEXT:
        raise FieldError("messages", f"hold {len(joined)} characters; at most {MAX_TEXT} are read")
    return joined


def _kind(value: Any) -> str:
    """What a JSON value is, in words."""
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "a string", list: "a list"}
    return kinds.get(type(value), "an object")


def _text(content: Any, at: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise FieldError(at, "is neither text nor a list of parts")
    parts: list[str] = []
    for number, part in enumerate(content):
        text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
        if not isinstance(text, str):
            raise FieldError(f"{at}[{number}]", "is no text; only text can be solved")
        parts.append(text)
    return "".join(parts)


def _check(value: Any) -> Check | None:
    if value is None:
        return None
    try:
        return parse_check(value) if isinstance(value, str) else check_from_json(value)
    except CheckError as error:
        raise FieldError("check", str(error)) from None


def _settings(fields: dict[str, Any]) -> Settings:
    """The settings among the fields, which are taken out."""
    values: dict[str, Any] = {"policy": _typed(fields, "policy", str, "a string")}
    for name, setting in COUNTS.items():
        values[setting] = _count(fields, name)
    for name, setting in AMOUNTS.items():
        values[setting] = _typed(fields, name, (int, float), "a number")
    own = [_count(fields, name) for name in OWN_TOKENS]
    values["candidate_tokens"] = next((value for value in own if value is not None), None)
    return Settings(**values)


def _count(fields: dict[str, Any], name: str) -> int | None:
    value: int | None = _typed(fields, name, int, "a whole number")
    if value is not None and value < 0:
        raise FieldError(name, f"is {value}; give a whole number")
    return value


def _typed(fields: dict[str, Any], name: str, kind: Any, wanted: str) -> Any:
    value = fields.pop(name, None)
    if value is None or (isinstance(value, kind) and (kind is bool or not isinstance(value, bool))):
        return value
    raise FieldError(name, f"is not {wanted}")


def _require_nothing_else(fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        if name in IGNORED or value in NEUTRAL.get(name, ()):
            continue
        if name in NEUTRAL:
            raise FieldError(name, "is not something that a solve can do; leave it out")
        raise FieldError(name[:80], "is no field of a request")


# Replies.


def completion(solve_id: str, model: str, created: int, result: Result) -> dict[str, Any]:
    """A chat completion."""
    message = {"role": "assistant", **_message(result)}
    choice = {"index": 0, "message": message, "finish_reason": _finish_reason(result), "logprobs": None}
    return {
        **_head(solve_id, model, created, "chat.completion"),
        "choices": [choice],
        "usage": usage(result),
        "metadata": _metadata(solve_id, result),
    }


def chunk(
    solve_id: str, model: str, created: int, delta: Mapping[str, Any], metadata: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A chunk of a streamed completion on its way."""
    choice = {"index": 0, "delta": dict(delta), "finish_reason": None, "logprobs": None}
    reply = {**_head(solve_id, model, created, "chat.completion.chunk"), "choices": [choice]}
    return reply if metadata is None else {**reply, "metadata": dict(metadata)}


def last_chunks(solve_id: str, model: str, created: int, result: Result, *, with_usage: bool) -> list[dict[str, Any]]:
    """The chunks that end a stream: the answer, why it ended with all that is known, and what it cost."""
    answer = chunk(solve_id, model, created, _message(result))
    end = chunk(solve_id, model, created, {}, _metadata(solve_id, result))
    end["choices"][0]["finish_reason"] = _finish_reason(result)
    chunks = [answer, end]
    if with_usage:
        head = _head(solve_id, model, created, "chat.completion.chunk")
        chunks.append({**head, "choices": [], "usage": usage(result)})
    return chunks


def progress(solve_id: str, event: SolveEvent, seconds: float) -> dict[str, Any] | None:
    """What a stream says of an event on the way to the answer, in the JSON form of the contract; None: nothing."""
    if not isinstance(event, CandidateStarted | AnswerJudged | CandidateFinished | RoundFinished):
        return None
    message = encode_event(solve_id, event, seconds, deltas=False)
    return None if message is None else to_json(message)


def usage(result: Result) -> dict[str, Any]:
    """Tokens of all candidates."""
    total = result.spent.total
    return {
        "prompt_tokens": total.prompt_tokens,
        "completion_tokens": total.new_tokens,
        "total_tokens": total.prompt_tokens + total.new_tokens,
    }


def _head(solve_id: str, model: str, created: int, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{solve_id}", "object": kind, "created": created, "model": model}


def _message(result: Result) -> dict[str, Any]:
    selection = result.selection
    if selection.answer is None:
        return {"content": None, "refusal": f"UNSOLVED: {selection.reason}"}
    winner = next(entry.candidate for entry in result.judged if entry.candidate.spec.index == selection.candidate)
    return {"content": selection.answer, "reasoning_content": winner.text}


def _finish_reason(result: Result) -> str:
    return "length" if result.selection.answer is None else "stop"


def _metadata(solve_id: str, result: Result) -> dict[str, Any]:
    return to_json(encode_result(solve_id, result))
