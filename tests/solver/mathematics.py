"""The verifier of mathematics, started once for many tests: its processes take most of a second of processor time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from espalier.common.distribution import version
from espalier.verifiers.check import Check, Claim, MathOptions
from espalier.verifiers.consensus import EquivalenceClass
from espalier.verifiers.math.verifier import MathVerifier
from espalier.verifiers.verdict import Verdict

T = TypeVar("T")


class SharedMath:
    """A verifier that has been started, in an event loop of another thread; used from any loop, and closed by none."""

    name = MathVerifier.name
    kinds = MathVerifier.kinds

    def __init__(self, verifier: MathVerifier, loop: asyncio.AbstractEventLoop) -> None:
        self._verifier = verifier
        self._loop = loop
        self.limits = verifier.limits
        self.version = version()

    async def verify(self, claim: Claim, check: Check, *, timeout: float | None = None) -> Verdict:
        return await self._there(self._verifier.verify(claim, check, timeout=timeout))

    async def validate_check(self, check: Check) -> None:
        await self._there(self._verifier.validate_check(check))

    async def equivalent(self, a: str, b: str, options: MathOptions | None = None) -> Verdict:
        return await self._there(self._verifier.equivalent(a, b, options))

    async def classes(
        self, answers: Sequence[str], weights: Sequence[float] | None = None, options: MathOptions | None = None
    ) -> tuple[EquivalenceClass, ...]:
        return await self._there(self._verifier.classes(answers, weights, options))

    async def _there(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))


@contextmanager
def shared_math() -> Iterator[SharedMath]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    verifier = MathVerifier()
    try:
        asyncio.run_coroutine_threadsafe(verifier.start(), loop).result()
        yield SharedMath(verifier, loop)
        asyncio.run_coroutine_threadsafe(verifier.close(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
