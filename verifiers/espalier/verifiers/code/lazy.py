"""A sandbox that is started when it is first needed, and shared by all who run on the same event loop."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from espalier.verifiers.code.pool import PooledSandbox
from espalier.verifiers.code.sandbox import BoxSpec, Sandbox
from espalier.verifiers.code.settings import SandboxSettings, open_sandbox


@dataclass(eq=False, slots=True)
class _Shared:
    """A sandbox and how many use it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    sandbox: PooledSandbox | None = None
    users: int = 0


_SHARED: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Shared]] = WeakKeyDictionary()
"""By event loop, and by settings but for the number of boxes kept ready. Two sandboxes of one process would each run as
many jobs at a time as the machine has processors."""


class LazySandbox:
    """The sandbox that settings choose, started once, by the first who asks for it.

    All of one event loop with the same settings have the same one, with the most boxes ready that any of them asks for.

    Args:
        settings: Choose it.
        given: A started sandbox to use instead; it stays its giver's to close.
    """

    def __init__(self, settings: SandboxSettings, given: Sandbox | None = None) -> None:
        self._settings = settings
        self._given = given
        self._shared: _Shared | None = None
        self._starting = asyncio.Lock()

    async def started(self) -> Sandbox:
        """The sandbox.

        Raises:
            SandboxError: None is to be had; says what to install or start.
        """
        if self._given is not None:
            return self._given
        async with self._starting:
            if self._shared is None:
                self._shared = await self._join()
            assert self._shared.sandbox is not None  # noqa: S101 (a user keeps it)
            return self._shared.sandbox

    async def close(self) -> None:
        """Give up the sandbox that was started here, and close it where no other uses it; it can start again."""
        async with self._starting:
            shared, self._shared = self._shared, None
            if shared is None:
                return
            async with shared.lock:
                shared.users -= 1
                if shared.users == 0 and shared.sandbox is not None:
                    last, shared.sandbox = shared.sandbox, None
                    await last.close()

    async def _join(self) -> _Shared:
        of_loop = _SHARED.setdefault(asyncio.get_running_loop(), {})
        shared = of_loop.setdefault(self._settings.model_dump_json(exclude={"warm"}), _Shared())
        async with shared.lock:
            if shared.sandbox is None:
                shared.sandbox = await open_sandbox(self._settings)
            else:
                shared.sandbox.keep_ready(BoxSpec("python"), self._settings.warm)
            shared.users += 1
        return shared
