"""What a request of OpenAI's endpoints says: its fields, taken one by one, with what is wrong about them by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from espalier.common.errors import FieldError
from espalier.common.seeds import derive_seed
from espalier.runtime.prompt import ChatMessage
from espalier.solver.core.limits import require_length
from espalier.solver.core.problem import Problem
from espalier.solver.core.settings import ServerLimits, Settings, SolvePlan
from espalier.verifiers.check import Check
from espalier.verifiers.check_text import CheckError, check_from_json, parse_check

COUNTS = {
    "k": "k",
    "rounds": "rounds",
    "tokens": "max_tokens",
    "seed": "seed",
    "generated_tests": "generated_tests",
    "rejoins": "rejoins",
    "comparisons": "comparisons",
}
"""Fields that are whole numbers, and the settings that they are."""

AMOUNTS = {"certainty": "certainty", "seconds": "seconds", "temperature": "temperature"}
"""Fields that are any numbers."""

MAX_CHOICES = 16
"""Solves of one request."""

IGNORED = frozenset(
    {
        "metadata",
        "parallel_tool_calls",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
    }
)
"""Fields that do not change what an answer means."""

NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "top_p": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
}
"""Fields of every endpoint that the solver has no use for, with the values that ask for nothing."""


class UnknownModelError(Exception):
    """The model is not served here."""

    def __init__(self, model: str) -> None:
        super().__init__(f"the model {model[:80]!r} does not exist here")


@dataclass(frozen=True, slots=True)
class SolveCall:
    """A request as the solver understands it.

    Attributes:
        problem: The problem, with what was said before it.
        settings: What it says about the solve.
        choices: Solves that are asked for, each with a seed of its own.
        stream: Whether events are wanted as they happen.
        usage: Whether a stream ends with a chunk of usage.
        names: Settings that have another name in this request.
    """

    problem: Problem
    settings: Settings
    choices: int = 1
    stream: bool = False
    usage: bool = False
    names: Mapping[str, str] = field(default_factory=dict)


def plan_of(call: SolveCall, limits: ServerLimits) -> SolvePlan:
    """How to solve what was asked for.

    Raises:
        FieldError: A setting makes no sense or asks for too much; the error speaks of the request's own field.
    """
    try:
        return limits.plan(call.settings)
    except FieldError as error:
        raise FieldError(call.names.get(error.field, error.field), error.problem) from None


def plans_of(call: SolveCall, limits: ServerLimits) -> list[SolvePlan]:
    """How to solve each choice; the first one is what a request of one choice gets.

    Raises:
        FieldError: As :func:`plan_of`.
    """
    plan = plan_of(call, limits)
    more = (derive_seed(plan.seed, "choice", number) for number in range(1, call.choices))
    return [plan, *(replace(plan, seed=seed) for seed in more)]


class RequestFields:
    """The fields of a request that are not null. Each is taken once; what is left in the end is refused.

    Args:
        body: JSON.

    Raises:
        FieldError: The body is no object.
    """

    def __init__(self, body: Any) -> None:
        if not isinstance(body, dict):
            raise FieldError("body", "is not a JSON object")
        self._left = {name: value for name, value in body.items() if value is not None}

    def take(self, name: str) -> Any:
        """A field of any type; None where it is absent."""
        return self._left.pop(name, None)

    def typed(self, name: str, kind: Any, wanted: str) -> Any:
        """A field of a type; None where it is absent.

        Raises:
            FieldError: It has another type.
        """
        value = self.take(name)
        if value is None or (isinstance(value, kind) and (kind is bool or not isinstance(value, bool))):
            return value
        raise FieldError(name, f"is not {wanted}")

    def count(self, name: str) -> int | None:
        """A whole number."""
        value: int | None = self.typed(name, int, "a whole number")
        if value is not None and value < 0:
            raise FieldError(name, f"is {value}; give a whole number")
        return value

    def require_model(self, models: Sequence[str]) -> None:
        """
        Args:
            models: Names that the model goes by.

        Raises:
            UnknownModelError: The request wants another model.
            FieldError: It names none.
        """
        model = self.take("model")
        if model is not None and not isinstance(model, str):
            raise FieldError("model", f"is {kind_of(model)}, not a string; there is: {', '.join(models)}")
        if model is None:
            raise FieldError("model", f"is missing; there is: {', '.join(models)}")
        if model not in models:
            raise UnknownModelError(model)

    def check(self) -> Check | None:
        """How an answer is judged."""
        value = self.take("check")
        if value is None:
            return None
        try:
            return parse_check(value) if isinstance(value, str) else check_from_json(value)
        except CheckError as error:
            raise FieldError("check", str(error)) from None

    def choices(self) -> int:
        """The number of solves."""
        value = self.count("n")
        if value is not None and not 1 <= value <= MAX_CHOICES:
            raise FieldError("n", f"is {value}; give 1 to {MAX_CHOICES}")
        return value or 1

    def stop(self) -> tuple[str, ...]:
        """Texts that end a response."""
        value = self.take("stop")
        texts = [] if value is None else [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise FieldError("stop", "is neither a string nor a list of strings")
        return tuple(texts)

    def settings(self, own_tokens: Sequence[str], **known: Any) -> Settings:
        """The settings among the fields.

        Args:
            own_tokens: Fields for the new tokens of one candidate.
            known: Settings that were read already.
        """
        values: dict[str, Any] = {"policy": self.typed("policy", str, "a string")}
        for name, setting in COUNTS.items():
            values[setting] = self.count(name)
        for name, setting in AMOUNTS.items():
            values[setting] = self.typed(name, (int, float), "a number")
        ways = self.typed("ways", list, "a list of names")
        if ways is not None and not all(isinstance(name, str) for name in ways):
            raise FieldError("ways", "is not a list of names")
        values["ways"] = None if ways is None else tuple(ways)
        own = [self.count(name) for name in own_tokens]
        values["candidate_tokens"] = next((value for value in own if value is not None), None)
        return Settings(**values | known)

    def streaming(self) -> tuple[bool, bool]:
        """Whether events are wanted as they happen, and whether a chunk of usage at their end."""
        stream = self.typed("stream", bool, "true or false") or False
        options = self.typed("stream_options", dict, "an object") or {}
        return stream, bool(options.get("include_usage"))

    @property
    def left(self) -> Sequence[str]:
        """Names of those that were not taken."""
        return tuple(self._left)

    def require_nothing_else(self, neutral: Mapping[str, tuple[Any, ...]]) -> None:
        """Refuse what is left, unless it asks for nothing.

        Args:
            neutral: RequestFields of the endpoint that the solver has no use for, with the values that ask for nothing.

        Raises:
            FieldError: Names the field.
        """
        known = {**NEUTRAL, **neutral}
        for name, value in self._left.items():
            if name in IGNORED or value in known.get(name, ()):
                continue
            if name in known:
                raise FieldError(name, "is not something that a solve can do; leave it out")
            raise FieldError(name[:80], "is no field of a request")


def conversation(messages: Sequence[Any], at: str, instructions: str = "") -> tuple[tuple[ChatMessage, ...], str]:
    """Earlier turns, and the problem: the last turn of the user, with what systems and developers say before it.

    Args:
        messages: JSON objects with `role` and `content`.
        at: Name of the field.
        instructions: What the system says before all of them.

    Raises:
        FieldError: They are too long together; a message has another role, is no text, or calls tools; or the last one
            is not the user's.
    """
    context: list[ChatMessage] = []
    texts = [instructions]
    for number, message in enumerate(messages):
        here = f"{at}[{number}]"
        if not isinstance(message, dict):
            raise FieldError(here, "is not an object")
        role, text = message.get("role"), _said(message, here)
        if number == len(messages) - 1 and role != "user":
            raise FieldError(f"{here}.role", "is not user; the last message is the problem to solve")
        if role in ("system", "developer") or number == len(messages) - 1:
            texts.append(text)
        elif role in ("user", "assistant"):
            context.append(ChatMessage(role, text))
        else:
            raise FieldError(f"{here}.role", "is none of system, developer, user and assistant; a solve calls no tools")
    if not texts[-1].strip():
        raise FieldError(f"{at}[{len(messages) - 1}].content", "is empty; give the problem to solve")
    problem = "\n\n".join(text for text in texts if text.strip())
    require_length(at, problem, *(one.content for one in context))
    return tuple(context), problem


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "a string", list: "a list"}
    return kinds.get(type(value), "an object")


def _said(message: Mapping[str, Any], at: str) -> str:
    """The text of a message. Where a model gave none, as our own replies do without an answer, its refusal counts."""
    for name in ("tool_calls", "function_call", "audio"):
        if message.get(name):
            raise FieldError(f"{at}.{name}", "is not something that a solve can do; only text is read")
    content, refusal = message.get("content"), message.get("refusal")
    if content is None and isinstance(refusal, str):
        return refusal
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise FieldError(f"{at}.content", "is neither text nor a list of parts")
    return "".join(_part(part, f"{at}.content[{number}]") for number, part in enumerate(content))


def _part(part: Any, at: str) -> str:
    kinds = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
    text = part.get(kinds.get(str(part.get("type")), "")) if isinstance(part, dict) else None
    if not isinstance(text, str):
        raise FieldError(at, "is no text; only text can be solved")
    return text
