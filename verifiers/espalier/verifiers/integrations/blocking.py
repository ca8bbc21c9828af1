"""Verifiers for code that does not await: one set a process, safe from any thread and from inside an event loop."""

from __future__ import annotations

import asyncio
import atexit
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack
from functools import cache
from types import TracebackType
from typing import Any, Protocol, Self

from anyio import to_thread
from anyio.from_thread import start_blocking_portal

from espalier.verifiers.check import Check, Claim
from espalier.verifiers.open import open_verifiers
from espalier.verifiers.verdict import Verdict

AT_ONCE = 32
"""Claims that are judged side by side: the time limit of a claim also runs while it waits inside a verifier."""


class _Verifiers(Protocol):
    async def verify(self, claim: Claim, check: Check, *, timeout: float | None = None) -> Verdict: ...


class BlockingVerifiers:
    """Runs verifiers in an event loop of their own thread. A context manager, or :meth:`close` it.

    Args:
        opener: Makes the verifiers.
        seconds: Limit of one verdict.
    """

    def __init__(
        self, opener: Callable[[], AbstractAsyncContextManager[Any]] = open_verifiers, seconds: float = 30.0
    ) -> None:
        self._stack = ExitStack()
        self._seconds = seconds
        self._portal = self._stack.enter_context(start_blocking_portal(name="espalier-verifiers"))
        self._verifiers: _Verifiers = self._stack.enter_context(self._portal.wrap_async_context_manager(opener()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def verify(self, pairs: Sequence[tuple[Claim, Check]]) -> list[Verdict]:
        """The verdict on each claim, in order.

        Raises:
            FieldError: No verifier can work with a check.
        """
        return self._portal.call(self._verify, pairs)

    def close(self) -> None:
        """Close the verifiers and end the thread."""
        self._stack.close()

    async def _verify(self, pairs: Sequence[tuple[Claim, Check]]) -> list[Verdict]:
        free = asyncio.Semaphore(AT_ONCE)

        async def one(claim: Claim, check: Check) -> Verdict:
            async with free:
                return await self._verifiers.verify(claim, check, timeout=self._seconds)

        return await asyncio.gather(*(one(claim, check) for claim, check in pairs))


def shared() -> BlockingVerifiers:
    """The verifiers of this process, opened when they are first asked for; a forked process gets its own."""
    return _of_process(os.getpid())


async def shared_verdict(claim: Claim, check: Check) -> Verdict:
    """The verdict of :func:`shared`, for code that awaits in an event loop of its own.

    Raises:
        FieldError: No verifier can work with the check.
    """
    (verdict,) = await to_thread.run_sync(lambda: shared().verify([(claim, check)]))
    return verdict


@cache
def _of_process(process: int) -> BlockingVerifiers:
    verifiers = BlockingVerifiers()

    def close() -> None:
        if os.getpid() == process:  # a forked process has the object, but not the thread
            verifiers.close()

    atexit.register(close)  # while the thread still runs: later nothing could end it, and the exit would hang
    return verifiers
