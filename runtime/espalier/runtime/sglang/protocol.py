"""What travels between a client and an SGLang server that has the plugin. Knows nothing of SGLang itself.

**Switching it on.** A request turns native parallel reasoning on in its sampling parameters, on `/generate` and on the
OpenAI endpoints alike: `"custom_params": {"npr": true}`, or an object of options in place of `true`, the fields of
:class:`Options`. All values are plain numbers, booleans or strings. `{"npr": false}` turns it off where the server's
default (environment variable `ESPALIER_NPR`, the same JSON) has it on. A bad option is refused with status 400 and a
message that names it.

The other limits and the sampling of the root are SGLang's own parameters: `max_new_tokens` counts the tokens of all
branches together, forced ones included; `temperature`, `top_p`, `top_k`, `min_p`, `repetition_penalty` hold for the
root and, unless a `step_…` option overrides them, for the steps. `sampling_seed` makes the request reproducible on a
server with `--enable-deterministic-inference`; every branch draws noise of its own from it (:func:`branch_seed`).
`stop_token_ids` and the end of turn end a response outside of blocks only.

**Re-joins.** The input may hold more than the prompt: with the option `given`, its last tokens are the beginning of a
response in linearised order, up to the end of the steps of one of its own blocks. Their structure is read from the
tags, their keys and values are computed under the layout, once for all requests under way that begin alike, and the
response goes on with the takeaway. Output, events, counts and limits are about new tokens alone.

**The output** is one linearised sequence (:mod:`espalier.runtime.layout`) that only ever grows: `output_ids`, `text`
and `output_token_logprobs` mean what they mean without the plugin. While a block runs it rests; at the join the steps
and the forced `<takeaway>` opening come at once. A forced token has log-probability 0.

**Per token** `meta_info` has three lists beside `output_ids`, of equal length (of the chunk's length on a server with
`--incremental-streaming-output`): `npr_positions` (rotary position), `npr_paths` (:func:`format_path`) and
`npr_forced` (whether the engine inserted the token).

**Live events** (option `events`, streaming requests): `meta_info["npr_events"]` is a list of events as JSON arrays,
:func:`event_from_json`. They are complete in themselves: every token of the response is in exactly one of them, those
of the root too, so a client that reads events needs the linear output only at the end. Order within a branch is the
order of its tokens; a step's events lie between the fork and the join of its block. Without
`--incremental-streaming-output` a chunk repeats all events so far, with it each is sent once.

**At the end** `meta_info["npr"]` is a list of one :class:`Summary` as JSON. `finish_reason` keeps SGLang's types:
`stop`, `length`, `abort`; a malformed response is a `stop` whose `matched` is the offending token's id, and an error in
the plugin an `abort` with status 500, which a request without streaming gets as its HTTP status. The reason in this
project's terms is `Summary.reason`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from hashlib import blake2b
from typing import Any

from espalier.runtime.engine import (
    BranchClosed,
    BranchOpened,
    Event,
    FinishReason,
    GenerateRequest,
    Joined,
    Tokens,
)
from espalier.runtime.grammar import REFERENCE, GrammarLimits
from espalier.runtime.layout import Path

KEY = "npr"
"""Key of the switch in `custom_params`, and of the summary in `meta_info`."""
POSITIONS, PATHS, FORCED, EVENTS = "npr_positions", "npr_paths", "npr_forced", "npr_events"
DEFAULT_VARIABLE = "ESPALIER_NPR"
"""Environment variable of a server with the default for requests that do not say; same JSON as the switch."""
TAGS_VARIABLE = "ESPALIER_NPR_TAGS"
"""Environment variable of a server without tokenizer, for :mod:`espalier.runtime.sglang.plugin.vocabulary`."""


class OptionError(ValueError):
    """An option of the switch is unknown or out of range; the message names it."""


@dataclass(frozen=True, slots=True)
class Options:
    """Per-request options. None means "as the root" for sampling and "no such limit" for limits.

    Attributes:
        max_plans: Largest number of steps of a block; more make the response malformed.
        max_depth: Deepest nesting of blocks.
        max_branch_tokens: Positions that one step may span, its opening and nested blocks included; a step that
            reaches it is closed by a forced `</step>`.
        max_critical_path: New tokens on the longest chain, forced ones included.
        min_fork_tokens: A fork with fewer tokens left of `max_new_tokens` ends the response (reason LENGTH).
        step_temperature, step_top_p, step_top_k, step_min_p, step_repetition_penalty: Sampling inside steps.
        constrained: Whether tags that no well-formed response goes on with have probability 0 and the rest is
            renormalised; log-probabilities are those of that distribution.
        events: Stream live events, see the module.
        given: How many of the input's last tokens are not the prompt but the beginning of a response; see the module.
    """

    max_plans: int = 8
    max_depth: int = 5
    max_branch_tokens: int | None = None
    max_critical_path: int | None = None
    min_fork_tokens: int = 0
    step_temperature: float | None = None
    step_top_p: float | None = None
    step_top_k: int | None = None
    step_min_p: float | None = None
    step_repetition_penalty: float | None = None
    constrained: bool = False
    events: bool = False
    given: int = 0

    def __post_init__(self) -> None:
        for name in ("max_plans", "max_depth", "max_branch_tokens", "max_critical_path"):
            _require(name, getattr(self, name), int, lambda value: value >= 1, "a whole number of at least 1")
        _require("max_plans", self.max_plans, int, lambda value: value <= MAX_PLANS, f"at most {MAX_PLANS}")
        for name in ("min_fork_tokens", "step_top_k", "given"):
            _require(name, getattr(self, name), int, lambda value: value >= 0, "a whole number of at least 0")
        _require("step_temperature", self.step_temperature, float, lambda value: value >= 0, "a number of at least 0")
        _require("step_top_p", self.step_top_p, float, lambda value: 0 < value <= 1, "a number in (0, 1]")
        _require("step_min_p", self.step_min_p, float, lambda value: 0 <= value < 1, "a number in [0, 1)")
        penalty = self.step_repetition_penalty
        _require("step_repetition_penalty", penalty, float, lambda value: 0 < value <= 2, "a number in (0, 2]")
        for name in ("constrained", "events"):
            if not isinstance(getattr(self, name), bool):
                raise OptionError(f"npr.{name} must be true or false, got {getattr(self, name)!r}")

    @property
    def grammar(self) -> GrammarLimits:
        return GrammarLimits(max_plans=self.max_plans, max_depth=self.max_depth)

    def to_json(self) -> dict[str, Any]:
        """The options that differ from their defaults."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if getattr(self, field.name) != field.default
        }


MAX_PLANS = 16
"""A server prepares step labels up to this number."""

PRESETS: dict[str, dict[str, Any]] = {
    "reference": {
        "max_plans": REFERENCE.max_plans,
        "max_depth": REFERENCE.max_depth,
        "min_fork_tokens": 1024,
        "step_repetition_penalty": 1.02,
    }
}
"""`{"preset": NAME}` sets these; options beside it override. "reference" are the limits of the paper's engine."""


def parse_switch(value: object) -> Options | None:
    """Read the value of the switch: None when it is off.

    Raises:
        OptionError: Unknown option, preset or a value out of range.
    """
    if value is None or value is False:
        return None
    if value is True:
        return Options()
    if not isinstance(value, Mapping):
        raise OptionError(f"npr must be true, false or an object of options, got {value!r}")
    given = dict(value)
    preset = given.pop("preset", None)
    if preset is not None and preset not in tuple(PRESETS):  # it may be anything, also nothing that can be hashed
        raise OptionError(f"npr.preset must be one of {', '.join(sorted(PRESETS))}, got {preset!r}")
    known = [field.name for field in fields(Options)]
    for name in given:
        if name not in known:
            raise OptionError(f"npr.{name} is no option; there are {', '.join(['preset', *known])}")
    return Options(**({} if preset is None else PRESETS[preset]) | given)


def request_options(request: GenerateRequest, *, events: bool = True) -> Options:
    """The options that express a request's limits and step sampling.

    `limits.max_tokens`, `sampling` and `stop` are SGLang's own parameters.
    """
    step = request.step_sampling
    return Options(
        max_plans=request.limits.grammar.max_plans,
        max_depth=request.limits.grammar.max_depth,
        max_branch_tokens=request.limits.max_branch_tokens,
        max_critical_path=request.limits.max_critical_path,
        min_fork_tokens=request.limits.min_fork_tokens,
        step_temperature=None if step is None else step.temperature,
        step_top_p=None if step is None else step.top_p,
        step_top_k=None if step is None else step.top_k,
        step_min_p=None if step is None else step.min_p,
        step_repetition_penalty=None if step is None else step.repetition_penalty,
        constrained=request.constrained,
        events=events,
        given=0 if request.given is None else len(request.given.tokens),
    )


def branch_seed(seed: int, path: Path) -> int:
    """The `sampling_seed` of a step, a function of the request's seed and its path alone; the root's is `seed`."""
    if not path:
        return seed
    digest = blake2b(f"{seed}:{format_path(path)}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % (1 << 31)


def format_path(path: Path) -> str:
    """`0.2/1.3`: step 3 of block 1 inside step 2 of block 0. The root is the empty string."""
    return "/".join(f"{block}.{step}" for block, step in path)


def parse_path(text: str) -> Path:
    """The inverse of :func:`format_path`."""

    def turn(part: str) -> tuple[int, int]:
        block, step = part.split(".")
        return int(block), int(step)

    return tuple(turn(part) for part in text.split("/")) if text else ()


def event_to_json(event: BranchOpened | Tokens | BranchClosed | Joined) -> list[Any]:
    """An event as a JSON array: its kind, the branch's path, and its fields.

    `["open", path, [plan ids]]`, `["tokens", path, [ids], [logprobs], [0 or 1: forced], [positions]]`,
    `["close", path, cut]`, `["join", path of the branch that holds the block, number of the block]`.
    """
    path = format_path(event.path)
    match event:
        case BranchOpened(plan=plan):
            return ["open", path, list(plan)]
        case Tokens(tokens=tokens, logprobs=logprobs, forced=forced, positions=positions):
            return ["tokens", path, list(tokens), list(logprobs), [int(mark) for mark in forced], list(positions)]
        case BranchClosed(cut=cut):
            return ["close", path, cut]
        case Joined(block=block):
            return ["join", path, block]


def event_from_json(request_id: str, record: Sequence[Any]) -> Event:
    """The inverse of :func:`event_to_json`.

    Raises:
        ValueError: The record is no event.
    """
    match record:
        case ["open", str(path), plan]:
            return BranchOpened(request_id, parse_path(path), tuple(plan))
        case ["tokens", str(path), tokens, logprobs, forced, positions]:
            marks = tuple(map(bool, forced))
            return Tokens(request_id, parse_path(path), tuple(tokens), tuple(logprobs), marks, tuple(positions))
        case ["close", str(path), cut]:
            return BranchClosed(request_id, parse_path(path), bool(cut))
        case ["join", str(path), int(block)]:
            return Joined(request_id, parse_path(path), block)
    raise ValueError(f"no event: {record!r:.200}")


@dataclass(frozen=True, slots=True)
class Summary:
    """The end of a request.

    Attributes:
        reason: Why it ended, a value of :class:`espalier.runtime.engine.FinishReason`.
        detail: The fault, the limit or the error, for people; empty for STOP.
        forks, joins: Blocks opened and blocks completed; they differ when a block was cut off.
        branch_tokens: Per closed or cut-off step its path and own tokens (nested steps not counted), in linear order.
        sampled_tokens, forced_tokens: New tokens of all branches.
        critical_path_tokens: New tokens on the longest chain.
        weight_version: SGLang's name for the weights at the end, usually "default" or a number as text.
    """

    reason: FinishReason
    detail: str = ""
    forks: int = 0
    joins: int = 0
    branch_tokens: tuple[tuple[str, int], ...] = ()
    sampled_tokens: int = 0
    forced_tokens: int = 0
    critical_path_tokens: int = 0
    weight_version: str = ""

    def to_json(self) -> dict[str, Any]:
        branches = [list(item) for item in self.branch_tokens]
        return {**asdict(self), "reason": self.reason.value, "branch_tokens": branches}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Summary:
        """Raises:
        ValueError: A field is missing, unknown or has an unknown reason.
        """
        try:
            given = dict(record)
            branches = tuple((str(path), int(count)) for path, count in given.pop("branch_tokens"))
            return cls(FinishReason(given.pop("reason")), branch_tokens=branches, **given)
        except (KeyError, TypeError) as error:
            raise ValueError(f"no summary: {record!r:.200}") from error


def default_switch(environment: Mapping[str, str]) -> Options | None:
    """The server's default, from :data:`DEFAULT_VARIABLE`.

    Raises:
        OptionError: The variable is no JSON or has a bad option.
    """
    text = environment.get(DEFAULT_VARIABLE, "")
    try:
        options = parse_switch(json.loads(text)) if text else None
        if options is not None and options.given:
            raise OptionError("npr.given is an option of single requests")
        return options
    except (json.JSONDecodeError, OptionError) as error:
        raise OptionError(f"environment variable {DEFAULT_VARIABLE}: {error}") from error


def _require(name: str, value: Any, kind: type, holds: Any, rule: str) -> None:
    if value is None and name not in ("max_plans", "max_depth", "min_fork_tokens", "given"):
        return
    number = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not holds(value):
        raise OptionError(f"npr.{name} must be {rule}, got {value!r}")
