"""What the replies of OpenAI's endpoints have in common, whole and streamed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, Protocol

from espalier.solver.core.events import AnswerJudged, CandidateFinished, CandidateStarted, RoundFinished, SolveEvent
from espalier.solver.core.json_form import to_json
from espalier.solver.core.proto import encode_event, encode_result
from espalier.solver.core.result import Result
from espalier.solver.service.fields import SolveCall

MAX_PIECE = 1024
"""Characters of a piece of a streamed response: some readers of streams bound their lines."""

DONE = "data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Head:
    """What every object of a reply begins with.

    Attributes:
        solve_ids: Of the choices; the first one names the reply.
        model: As the server calls it.
        created: Unix time.
    """

    solve_ids: tuple[str, ...]
    model: str
    created: int


class ReplyStream(Protocol):
    """Makes the server-sent events of one reply, in the order in which these methods are called."""

    def begin(self) -> Iterator[str]:
        """The solve has begun."""
        ...

    def progress(self, choice: int, event: Mapping[str, Any]) -> Iterator[str]:
        """Something happened on the way, in the JSON form of the contract."""
        ...

    def response(self, choice: int, text: str) -> Iterator[str]:
        """A piece of the winning candidate's response."""
        ...

    def solved(self, choice: int, result: Result) -> Iterator[str]:
        """A choice is there: all of the response has been told."""
        ...

    def end(self, results: Sequence[Result]) -> Iterator[str]:
        """All choices are there."""
        ...

    def failed(self, error: Mapping[str, Any]) -> Iterator[str]:
        """The solve failed; `error` has OpenAI's shape."""
        ...


class Dialect(Protocol):
    """One of OpenAI's endpoints. Pure functions on JSON values."""

    path: str

    def read(self, body: Any, models: Sequence[str]) -> SolveCall:
        """Read the body of a request.

        Args:
            body: JSON.
            models: Names that the model goes by.

        Raises:
            UnknownModelError: The request wants another model.
            FieldError: A field is wrong, or asks for what the solver does not do.
        """
        ...

    def reply(self, head: Head, call: SolveCall, results: Sequence[Result]) -> dict[str, Any]:
        """A whole reply, with a result for each choice."""
        ...

    def stream(self, head: Head, call: SolveCall) -> ReplyStream:
        """A streamed reply."""
        ...


def progress_of(solve_id: str, event: SolveEvent, seconds: float) -> dict[str, Any] | None:
    """What a stream says of an event on the way to the answer, in the JSON form of the contract; None: nothing."""
    if not isinstance(event, CandidateStarted | AnswerJudged | CandidateFinished | RoundFinished):
        return None
    message = encode_event(solve_id, event, seconds, deltas=False)
    return None if message is None else to_json(message)


def response_of(result: Result) -> str:
    """The winning candidate's whole response; empty where there is none."""
    chosen = result.selection.candidate
    return next((one.candidate.text for one in result.judged if one.candidate.spec.index == chosen), "")


def pieces(text: str) -> list[str]:
    """A text in pieces of a line, long lines in several."""
    return re.findall(rf"[^\n]{{1,{MAX_PIECE}}}\n?|\n", text)


def refusal_of(result: Result) -> str:
    """Why there is no answer, for people."""
    return f"UNSOLVED: {result.selection.reason}"


def finish_reason(result: Result) -> str:
    """OpenAI's word for the end: a solve without an answer has spent its budget."""
    return "length" if result.selection.answer is None else "stop"


def metadata_of(solve_id: str, result: Result) -> dict[str, Any]:
    """The result in the JSON form of the contract."""
    return to_json(encode_result(solve_id, result))


def usage(results: Sequence[Result]) -> dict[str, Any]:
    """Tokens of all candidates of all choices."""
    total = reduce(add, (result.spent.total for result in results))
    return {
        "prompt_tokens": total.prompt_tokens,
        "completion_tokens": total.new_tokens,
        "total_tokens": total.prompt_tokens + total.new_tokens,
    }


def with_metadata(choices: Sequence[dict[str, Any]], head: Head, results: Sequence[Result]) -> dict[str, Any]:
    """The fields `choices` and `metadata`: of several choices each has its own, a single one leaves it to the reply."""
    told = [metadata_of(solve_id, result) for solve_id, result in zip(head.solve_ids, results, strict=True)]
    if len(choices) == 1:
        return {"choices": list(choices), "metadata": told[0]}
    return {"choices": [{**choice, "metadata": one} for choice, one in zip(choices, told, strict=True)]}


def sse(value: Mapping[str, Any]) -> str:
    """A server-sent event. One that has a type is named after it."""
    name = f"event: {value['type']}\n" if "type" in value else ""
    return f"{name}data: {json.dumps(value, ensure_ascii=False)}\n\n"
