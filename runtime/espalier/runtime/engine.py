"""The port between callers and engines: requests, events, and the `Engine` protocol.

Prompts and outputs are token ids; nothing travels as text.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from espalier.common.errors import UnavailableError
from espalier.runtime.grammar import GrammarLimits
from espalier.runtime.structure import Structure

if TYPE_CHECKING:
    from espalier.runtime.layout import Path


class EngineError(UnavailableError):
    """The engine failed; says nothing about the request's content."""


class EngineUnavailable(EngineError):
    """The engine cannot be reached or is shut down. Try again later or elsewhere."""


class RequestRefused(EngineError, ValueError):
    """The request can never be served as it is; the message names the field and the limit."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next token is drawn. Filters apply in the order top-k, top-p, min-p, on temperature-scaled logits.

    Attributes:
        temperature: 0 is greedy.
        top_p: Smallest set of tokens with at least this probability; 1 keeps all.
        top_k: Number of tokens to keep; 0 keeps all.
        min_p: Drops tokens less probable than this share of the most probable one.
        repetition_penalty: Divides positive and multiplies negative logits of tokens already in the branch's own text;
            1 does nothing.
        seed: Makes the request reproducible, whatever else is in the batch; None draws one.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        _check(self.temperature >= 0, "temperature", self.temperature, "at least 0")
        _check(0 < self.top_p <= 1, "top_p", self.top_p, "in (0, 1]")
        _check(self.top_k >= 0, "top_k", self.top_k, "at least 0")
        _check(0 <= self.min_p < 1, "min_p", self.min_p, "in [0, 1)")
        _check(self.repetition_penalty > 0, "repetition_penalty", self.repetition_penalty, "above 0")


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a response ends at the latest.

    Attributes:
        max_tokens: New tokens of all branches together, forced ones included.
        max_critical_path: New tokens on the longest chain, forced ones included; None leaves it to the context length.
        max_branch_tokens: Tokens of one step, its opening and nested blocks included; a step that reaches it is closed
            by a forced `</step>`. None: no such limit.
        min_fork_tokens: A fork with fewer tokens left of `max_tokens` ends the response (the paper's engine: 1024).
        grammar: Structural limits.
    """

    max_tokens: int = 4096
    max_critical_path: int | None = None
    max_branch_tokens: int | None = None
    min_fork_tokens: int = 0
    grammar: GrammarLimits = GrammarLimits()

    def __post_init__(self) -> None:
        for name in ("max_tokens", "max_critical_path", "max_branch_tokens"):
            value = getattr(self, name)
            _check(value is None or value > 0, name, value, "at least 1")


def _check(holds: bool, name: str, value: object, rule: str) -> None:
    if not holds:
        raise RequestRefused(f"{name} must be {rule}, got {value}")


class Mode(StrEnum):
    """PARALLEL forks at `</guideline>`; SEQUENTIAL decodes everything one token after the other."""

    PARALLEL = "parallel"
    SEQUENTIAL = "sequential"


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One candidate to generate.

    Attributes:
        request_id: Chosen by the caller, unique among running requests.
        prompt: Token ids.
        sampling: For the root response; also for the steps unless `step_sampling` is given.
        step_sampling: For tokens inside steps (the paper's engine: repetition penalty 1.02 there, 1.0 outside). Its
            seed is ignored: a request has one seed, and every step draws its own noise from it.
        limits: Where to stop.
        mode: See :class:`Mode`.
        stop: Token ids, beside the end of turn, that end a response outside of blocks.
        final_event_only: The caller reads the last event alone. An engine may leave the others out; it need not.
        given: The beginning of a response to this prompt, up to the end of the steps of one of its own blocks (see
            :func:`until_last_join`): the request re-joins these branches and goes on from there. Its events, usage and
            limits are about new tokens alone; its rollout is the whole response.
        constrained: Whether tags that no well-formed response goes on with (:mod:`espalier.runtime.constraint`) have
            probability 0 and the rest is renormalised. The response is then well-formed unless a limit or a stop token
            ends it. In parallel mode only.
    """

    request_id: str
    prompt: tuple[int, ...]
    sampling: SamplingParams = SamplingParams()
    step_sampling: SamplingParams | None = None
    limits: Limits = Limits()
    mode: Mode = Mode.PARALLEL
    stop: frozenset[int] = frozenset()
    final_event_only: bool = False
    given: Rollout | None = None
    constrained: bool = False

    def __post_init__(self) -> None:
        """
        Raises:
            RequestRefused: No response can be constrained this way.
        """
        if self.constrained:
            _check(self.mode is Mode.PARALLEL, "constrained", self.constrained, "false in sequential mode")
            for name in ("max_plans", "max_depth"):
                limit = getattr(self.limits.grammar, name)
                _check(limit > 0, name, limit, "at least 1 where constrained is true")


class FinishReason(StrEnum):
    """Why a response ended."""

    STOP = "stop"
    """The end of turn, a stop token, or a text at which the caller wanted it to end."""
    LENGTH = "length"
    """A token limit, the critical-path limit or the context length."""
    MALFORMED = "malformed"
    """A token broke the grammar; the fault is in `Finished.detail`."""
    ABORTED = "aborted"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one response. `critical_path` counts the new tokens on the longest chain."""

    prompt_tokens: int = 0
    sampled_tokens: int = 0
    forced_tokens: int = 0
    critical_path_tokens: int = 0

    @property
    def new_tokens(self) -> int:
        return self.sampled_tokens + self.forced_tokens

    def __add__(self, other: Usage) -> Usage:
        """Sum over responses that ran side by side: the critical path is the longer of the two."""
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.sampled_tokens + other.sampled_tokens,
            self.forced_tokens + other.forced_tokens,
            max(self.critical_path_tokens, other.critical_path_tokens),
        )


@dataclass(frozen=True, slots=True)
class Rollout:
    """A response in linearised order, ready for training. All tuples have one entry per new token.

    Attributes:
        prompt: Token ids of the prompt.
        tokens: Token ids of the response.
        logprobs: Log-probability of each sampled token under the distribution that it was drawn from before filters
            and penalties, at temperature 1; 0.0 for forced tokens. In a constrained request what is forbidden has no
            part in that distribution.
        forced: Whether the engine inserted the token.
        positions: Rotary positions.
        paths: The step that holds the token, see :data:`espalier.runtime.layout.Path`.
        weight_version: Version of the weights that generated it.
    """

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    forced: tuple[bool, ...]
    positions: tuple[int, ...]
    paths: tuple[Path, ...]
    weight_version: int = 0


def until_last_join(rollout: Rollout) -> Rollout | None:
    """The response up to the end of the steps of its last block, as it is given to a request; None: it joined none."""
    end = next((at for at in range(len(rollout.paths), 0, -1) if rollout.paths[at - 1]), 0)
    if end in (0, len(rollout.paths)):
        return None
    return Rollout(
        rollout.prompt,
        rollout.tokens[:end],
        rollout.logprobs[:end],
        rollout.forced[:end],
        rollout.positions[:end],
        rollout.paths[:end],
        rollout.weight_version,
    )


@dataclass(frozen=True, slots=True)
class BranchOpened:
    """A step begins. `plan` are the token ids of the plan that it executes."""

    request_id: str
    path: Path
    plan: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tokens:
    """New tokens of one branch, in order. The tuples have equal length."""

    request_id: str
    path: Path
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    forced: tuple[bool, ...]
    positions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BranchClosed:
    """A step is complete. `cut` says that a limit closed it."""

    request_id: str
    path: Path
    cut: bool


@dataclass(frozen=True, slots=True)
class Joined:
    """All steps of a block are complete and its branch goes on with the takeaway."""

    request_id: str
    path: Path
    block: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of every request.

    Attributes:
        request_id: Of the request.
        reason: Why the response ended.
        usage: Its tokens.
        rollout: The whole response, linearised.
        detail: More about the reason, for people.
        structure: Blocks and faults of the response, with indices into prompt and response together; None from an
            engine whose model has no tags.
    """

    request_id: str
    reason: FinishReason
    usage: Usage
    rollout: Rollout
    detail: str = ""
    structure: Structure | None = None


Event = BranchOpened | Tokens | BranchClosed | Joined | Finished


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What a caller may want to know of an engine.

    Attributes:
        model: Name or path of the model.
        context_length: Largest position plus one.
        parallel: Whether it can fork and join.
        weight_version: Version of the weights in use.
        end_of_turn: Ids that end a turn by the model's generation config, beside the tokenizer's own.
        details: Engine-specific facts for people.
        rejoins: Whether it takes requests that begin with finished branches, see :attr:`GenerateRequest.given`.
    """

    model: str
    context_length: int
    parallel: bool
    weight_version: int = 0
    end_of_turn: tuple[int, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
    rejoins: bool = False


class Engine(Protocol):
    """Makes responses. Engines are async context managers: entering loads or connects, leaving frees everything."""

    @property
    def tokenizer(self) -> Any:
        """The `transformers` tokenizer of the model."""
        ...

    @property
    def info(self) -> EngineInfo: ...

    def generate(self, request: GenerateRequest) -> AsyncIterator[Event]:
        """Stream the events of one response; the last one is :class:`Finished`.

        Closing the iterator early (`aclose`, cancellation) aborts the request in the engine.

        Raises:
            RequestRefused: The request can never be served.
            EngineUnavailable: The engine is gone.
        """
        ...

    async def abort(self, request_id: str) -> None:
        """End a request within one decoding step and free all it holds; its stream ends with reason ABORTED.

        Unknown ids are ignored: the request may just have finished.
        """
        ...

    async def close(self) -> None: ...
