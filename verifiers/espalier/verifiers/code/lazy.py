"""A sandbox that is started when it is first needed."""

from __future__ import annotations

import asyncio

from espalier.verifiers.code.sandbox import Sandbox
from espalier.verifiers.code.settings import SandboxSettings, open_sandbox


class LazySandbox:
    """The sandbox that settings choose, started once, by the first who asks for it.

    Args:
        settings: Choose it.
        given: A started sandbox to use instead; it stays its giver's to close.
    """

    def __init__(self, settings: SandboxSettings, given: Sandbox | None = None) -> None:
        self._settings = settings
        self._given = given
        self._own: Sandbox | None = None
        self._starting = asyncio.Lock()

    async def started(self) -> Sandbox:
        """The sandbox.

        Raises:
            SandboxError: None is to be had; says what to install or start.
        """
        if self._given is not None:
            return self._given
        async with self._starting:
            if self._own is None:
                self._own = await open_sandbox(self._settings)
            return self._own

    async def close(self) -> None:
        """Close the sandbox that was started here; it can be started again."""
        async with self._starting:
            own, self._own = self._own, None
            if own is not None:
                await own.close()
