"""Whether engine and verifiers work: the engine has generated something, every verifier has proved itself."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence

from espalier.runtime.engine import Finished, FinishReason
from espalier.solver.core.candidate import Spec
from espalier.solver.core.generation import closing
from espalier.solver.core.loop import Solver
from espalier.verifiers.verifier import VerifierInfo

WARM_UP_TOKENS = 8
PROBE_SECONDS = 120.0
"""The first generation may compile kernels."""


class Readiness:
    """Checks an engine and its verifiers.

    Args:
        solver: Whose engine it is.
        verifiers: Describes the verifiers after a self-check.
        busy: Whether the engine is at work: then it may let a question wait.
    """

    def __init__(
        self, solver: Solver, verifiers: Callable[[], Awaitable[Sequence[VerifierInfo]]], busy: Callable[[], bool]
    ) -> None:
        self._solver = solver
        self._verifiers = verifiers
        self._busy = busy

    async def check(self) -> dict[str, str]:
        """What does not work, and why; nothing when all is well."""
        engine, verifiers = await asyncio.gather(self._probe(), self._verify())
        return {"engine": engine, **verifiers} if engine else verifiers

    async def _verify(self) -> dict[str, str]:
        try:
            infos = await self._verifiers()
        except ConnectionError as error:
            return {"verifiers": str(error)}
        return {info.name: info.reason for info in infos if not info.healthy}

    async def _probe(self) -> str:
        """Generate a few tokens; what went wrong, empty when nothing did."""
        engine = self._solver.engine
        try:
            prompt = self._solver.templates.words.encode(engine.tokenizer, "What is 1 + 1?")
            generation, spec = self._solver.within(WARM_UP_TOKENS).generation, Spec(0, 0, seed=0, temperature=1.0)
            request = generation.request(f"probe-{uuid.uuid4().hex[:12]}", prompt, spec, engine.info)
            async with asyncio.timeout(PROBE_SECONDS), closing(engine.generate(request)) as events:
                async for event in events:
                    if isinstance(event, Finished) and event.reason is FinishReason.ERROR:
                        return event.detail or "the engine failed and did not say why"
        except TimeoutError:
            return "" if self._busy() else f"no {WARM_UP_TOKENS} tokens in {PROBE_SECONDS:.0f} s"
        except Exception as error:  # whatever it is, it is why the engine does not work
            return f"{type(error).__name__}: {error}"
        return ""
