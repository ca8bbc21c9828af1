"""Makes boxes in outer sandboxes (containers, bubblewraps): by a zygote in each, where the host allows it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Protocol

import structlog

from espalier.verifiers.code.box import MAX_RENEWALS, Box, BoxChannel, ZygoteRefused
from espalier.verifiers.code.languages import PYTHON
from espalier.verifiers.code.sandbox import SHM_OPTIONS, BoxSpec, SandboxError, tmp_options
from espalier.verifiers.code.seccomp import bpf_program
from espalier.verifiers.code.source import source_of

START_SECONDS = 60.0
"""For the start of an outer sandbox, and for the look at what it rests on."""

log = structlog.get_logger()


class Launcher(Protocol):
    """Starts outer sandboxes of one kind (Docker, bubblewrap)."""

    name: str

    async def prepare(self) -> None:
        """Check what outer sandboxes rest on and clear away what dead owners left. Raises SandboxError."""
        ...

    async def launch(self, spec: BoxSpec, command: tuple[str, ...], *, zygote: bool) -> BoxChannel:
        """A new outer sandbox under the limits of one box, with `command` as its first process.

        Cancelled, it ends soon; what it had begun is ended, if need be in the background.

        Raises:
            SandboxError: It cannot be started; nothing is left behind.
        """
        ...

    async def close(self) -> None: ...


class OuterSandboxMaker:
    """Makes boxes out of the outer sandboxes of a launcher.

    A zygote in an outer sandbox makes one box after the other. Where the host refuses what it needs (user namespaces,
    mounts), which is found out with the first box, the outer sandbox itself is the box, and each serves one job.
    """

    def __init__(self, launcher: Launcher) -> None:
        self.name = launcher.name
        self._launcher = launcher
        self._refused = ""

    @property
    def remark(self) -> str:
        """Why every job pays for an outer sandbox of its own; nothing when it does not."""
        return (
            self._refused
            and f"every job pays for a {self.name} sandbox of its own, as no zygote may make boxes: {self._refused}"
        )

    async def prepare(self) -> None:
        async with self._in_time(f"what {self.name} sandboxes rest on did not answer"):
            await self._launcher.prepare()

    async def make(self, spec: BoxSpec) -> Box:
        if not self._refused:
            try:
                return await self._launch(spec, _zygote(spec), zygote=True)
            except ZygoteRefused as error:
                box = await self._launch(spec, _runner(), zygote=False)
                self._refused = str(error)  # and not this kind of outer sandbox
                log.warning("boxes are made slowly", sandbox=self.name, reason=self.remark)
                return box
        return await self._launch(spec, _runner(), zygote=False)

    async def close(self) -> None:
        await self._launcher.close()

    @asynccontextmanager
    async def _in_time(self, fault: str) -> AsyncGenerator[None, None]:
        """Bounds what is done inside by our own clock."""
        try:
            async with asyncio.timeout(START_SECONDS):
                yield
        except TimeoutError as error:
            raise SandboxError(f"{fault} within {START_SECONDS:g} s") from error

    async def _launch(self, spec: BoxSpec, command: tuple[str, ...], *, zygote: bool) -> Box:
        async with self._in_time(f"no {self.name} sandbox was started"):
            channel = await self._launcher.launch(spec, command, zygote=zygote)
        box = Box(spec, channel, renewals=MAX_RENEWALS if zygote else 0)
        try:
            await box.wait_ready()
        except SandboxError as error:
            await box.discard()
            raise type(error)(f"{error}{await channel.complaint()}") from error
        except asyncio.CancelledError:
            await box.discard()
            raise
        return box


IN_NEW_ENVIRONMENT = "import os, sys; os.execve(sys.argv[1], sys.argv[1:], {'PYTHONHASHSEED': '0'})"


def _python(*arguments: str) -> tuple[str, ...]:
    """The command line of an interpreter whose seed is that of every other one in a box, and that sees no variable of
    an image."""
    return (PYTHON[0], "-I", "-S", "-c", IN_NEW_ENVIRONMENT, *PYTHON, *arguments)


def _runner() -> tuple[str, ...]:
    return _python("-c", f"{source_of(__package__, 'runner.py')}\nmain(find_meter(sys.argv[1:]))\n")


def _zygote(spec: BoxSpec) -> tuple[str, ...]:
    try:
        seccomp = bpf_program()
    except OSError as error:
        raise ZygoteRefused(str(error)) from error
    source = source_of(__package__, "runner.py", "zygote.py")
    access = "exec" if spec.executable_tmp else "noexec"
    return _python("-c", source, seccomp.hex(), access, tmp_options(spec), SHM_OPTIONS)
