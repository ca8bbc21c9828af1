"""Live calls with a key of the client's: the same call again, after a lost connection, gets the same reply."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from espalier.common.errors import FieldError
from espalier.solver.core.limits import require_name

KEY = "idempotency-key"
"""Header and metadata key."""

KEEP_SECONDS = 600.0
"""How long a reply is kept."""

MAX_REPLIES = 1024
"""Replies that are kept, the newest ones."""


@dataclass(frozen=True, slots=True)
class _Call:
    request: bytes
    reply: asyncio.Task[Any]


class IdempotentCalls:
    """Runs each call once for its caller and key. Replies are kept in memory for a while, failures are not."""

    def __init__(self) -> None:
        self._calls: dict[tuple[str, str], _Call] = {}

    async def reply(self, caller: str, key: str, request: bytes, work: Callable[[], Awaitable[Any]]) -> Any:
        """The reply of the first such call; it is waited for, and goes on when one who waits for it leaves.

        Args:
            caller: Name of the caller; keys of others are not its own.
            key: The caller's for this call.
            request: What is asked for, byte for byte.
            work: Makes the reply, if there is none yet.

        Raises:
            FieldError: The key is too long, or was used for another request.
            Exception: What `work` raised; the next call with the key tries again.
        """
        require_name(key, KEY)
        call = self._calls.get((caller, key))
        if call is None:
            call = self._calls[caller, key] = _Call(request, asyncio.ensure_future(_made(work)))
            call.reply.add_done_callback(lambda _: self._ended((caller, key), call))
        elif call.request != request:
            raise FieldError(KEY, "was used for another request; take a new key")
        return await asyncio.shield(call.reply)

    def _ended(self, name: tuple[str, str], call: _Call) -> None:
        if call.reply.cancelled() or call.reply.exception() is not None:
            self._forget(name, call)
            return
        asyncio.get_running_loop().call_later(KEEP_SECONDS, self._forget, name, call)
        ended = [name for name, call in self._calls.items() if call.reply.done()]
        for name in ended[: max(0, len(ended) - MAX_REPLIES)]:
            del self._calls[name]

    def _forget(self, name: tuple[str, str], call: _Call) -> None:
        if self._calls.get(name) is call:
            del self._calls[name]


async def _made(work: Callable[[], Awaitable[Any]]) -> Any:
    return await work()
