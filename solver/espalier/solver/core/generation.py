"""How responses are generated, beside what a policy decides."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from espalier.runtime.defaults import DecodingOverrides
from espalier.runtime.engine import Engine, EngineInfo, Event, GenerateRequest, Limits, Mode, Rollout, SamplingParams
from espalier.runtime.open import decoding_defaults_of
from espalier.solver.core.candidate import Spec


@dataclass(frozen=True, slots=True)
class Generation:
    """How responses are made, beside what the policy decides.

    Attributes:
        sampling: Temperature and seed are replaced by the candidate's.
        step_penalty: Repetition penalty inside steps (1.02 in the paper's engine: stops loops).
        limits: Of one response.
        stop: Texts that end a response before they appear in it, outside of steps.
        mode: Fork and join, or one token after the other. An engine that cannot fork always does the latter.
        constrained: Whether responses that fork and join are kept to the grammar; the others never are.
    """

    sampling: SamplingParams = SamplingParams()
    step_penalty: float = 1.0
    limits: Limits = Limits()
    stop: tuple[str, ...] = ()
    mode: Mode = Mode.PARALLEL
    constrained: bool = False

    def rejoins(self, info: EngineInfo) -> bool:
        """Whether an engine can draw further conclusions from the branches of what it makes this way."""
        return self.mode is Mode.PARALLEL and info.rejoins

    def request(
        self, request_id: str, prompt: tuple[int, ...], spec: Spec, info: EngineInfo, given: Rollout | None = None
    ) -> GenerateRequest:
        """What an engine is asked for one candidate, or for another conclusion of `given` branches."""
        sampling = replace(self.sampling, temperature=spec.temperature, seed=spec.seed)
        penalised = self.step_penalty != sampling.repetition_penalty
        limits = self.limits
        if spec.max_tokens is not None:
            limits = replace(limits, max_tokens=min(limits.max_tokens, spec.max_tokens))
        mode = self.mode if info.parallel else Mode.SEQUENTIAL
        return GenerateRequest(
            request_id=request_id,
            prompt=prompt,
            sampling=sampling,
            step_sampling=replace(sampling, repetition_penalty=self.step_penalty) if penalised else sampling,
            limits=limits,
            mode=mode,
            given=given,
            constrained=self.constrained and mode is Mode.PARALLEL,
        )


def generation_of(
    engine: Engine,
    overrides: DecodingOverrides = DecodingOverrides(),
    max_tokens: int = Limits().max_tokens,
    mode: Mode = Mode.PARALLEL,
) -> Generation:
    """How an engine's model is to generate: as it was trained to be decoded, unless a caller says otherwise.

    Args:
        engine: Whose model.
        overrides: What the caller says.
        max_tokens: New tokens of a response.
        mode: See :attr:`Generation.mode`.

    Raises:
        ValueError: The model's directory says it in a file that cannot be used; the message names file and field.
        OSError: That file cannot be read.
    """
    decoding = overrides.on(decoding_defaults_of(engine))
    return Generation(limits=decoding.limits(max_tokens), mode=mode, constrained=decoding.constrained)


@asynccontextmanager
async def closing(events: AsyncIterator[Event]) -> AsyncIterator[AsyncIterator[Event]]:
    """Close a stream of events at the end, which aborts its request if that still runs."""
    try:
        yield events
    finally:
        if isinstance(events, AsyncGenerator):
            await events.aclose()
