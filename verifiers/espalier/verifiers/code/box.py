"""One single-use box: a resident runner at the other end of a pair of streams."""

from __future__ import annotations

import asyncio
import itertools
import json
import marshal
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from espalier.verifiers.code.sandbox import BoxSpec, Command, CommandOutcome, CommandStop, SandboxError

log = structlog.get_logger()

GRACE_SECONDS = 15.0
"""Our clock ends a box this long after the runner should have; only a broken box needs it, and programs that swap pages
of memory on a busy machine, whose end takes seconds."""

READY_SECONDS = 60.0
"""For a new outer sandbox, on a machine that is busy."""

RENEW_SECONDS = 15.0

SEND_SECONDS = 30.0
"""For a request on its way into the box; the runner reads at once."""

END_SECONDS = 60.0
"""For the end of an outer sandbox."""

MAX_RENEWALS = 256
"""Boxes of one zygote share their layout of memory; and whatever may pile up in an outer sandbox ends with it."""


class ZygoteRefused(SandboxError):
    """The host does not let a zygote make boxes; the message says what it refused."""


@dataclass(frozen=True, slots=True)
class BoxChannel:
    """The streams of an outer sandbox, which is a container or a bubblewrap, and its end.

    Attributes:
        read: `read(n)` gives exactly n bytes from inside, or raises `asyncio.IncompleteReadError`.
        write: Sends bytes inside.
        ended: Whether the stream from inside is at its end.
        close: Ends the outer sandbox and all that is in it; never raises, may be called twice.
        complaint: What was said inside on standard error; after `close`.
    """

    read: Callable[[int], Awaitable[bytes]]
    write: Callable[[bytes], Awaitable[None]]
    ended: Callable[[], bool]
    close: Callable[[], Coroutine[Any, Any, None]]
    complaint: Callable[[], Awaitable[str]]


class Box:
    """Asks the runner of one box; `discard` ends the box and all that is in it.

    Args:
        spec: What the box was made with.
        channel: To the runner.
        renewals: How many boxes may follow in the same outer sandbox, where a zygote makes them.
    """

    def __init__(self, spec: BoxSpec, channel: BoxChannel, *, renewals: int = 0) -> None:
        self.spec = spec
        self._renewals = renewals
        self._channel = channel
        self._nonce = secrets.token_hex(16)
        self._commands = 0
        self._answered = 0

    @property
    def renewable(self) -> bool:
        return self._renewals > 0

    @property
    def quiet(self) -> bool:
        """Whether no command is under way: nothing but the runner is alive in the box."""
        return self._answered == self._commands

    @property
    def alive(self) -> bool:
        return not self._channel.ended()

    async def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait for the runner's first word.

        Raises:
            ZygoteRefused: There will be no box in this outer sandbox.
            SandboxError: The runner did not start.
        """
        first, _ = await self._receive(seconds, limit=1024)
        if "refused" in first:
            raise ZygoteRefused(str(first["refused"]))
        if first != {"ready": True}:
            raise SandboxError("the box did not start its runner")

    async def discard(self) -> None:
        """End the box and its outer sandbox; one that has not ended in time is left to itself, and the log says so."""
        try:
            async with asyncio.timeout(END_SECONDS):
                await self._channel.close()
        except TimeoutError:
            log.warning("a box did not end", image=self.spec.image, seconds=END_SECONDS)

    async def renew(self) -> Box | None:
        """End this box, and give the one that its zygote made instead; None when the outer sandbox was discarded.

        A box that was left at work, or that said anything but right replies, is not renewed.
        """
        successor = Box(self.spec, self._channel, renewals=self._renewals - 1)
        try:
            if self.renewable and self.quiet and self.alive:
                await self._send(b"")
                await successor.wait_ready(RENEW_SECONDS)
                return successor
        except SandboxError:
            pass  # whatever it is, the outer sandbox is not used again
        except asyncio.CancelledError:
            await self.discard()
            raise
        await self.discard()
        return None

    async def run(self, command: Command, files: Mapping[str, str] | None = None) -> CommandOutcome:
        """Run one command.

        Raises:
            SandboxError: The box died, fell silent or spoke nonsense.
        """
        request = {
            "nonce": self._nonce,
            "files": dict(files or {}),
            "command": command.argv,
            "stdin": command.stdin,
            "cpu_seconds": command.seconds,
            "wall_seconds": command.wall_seconds,
            "output_bytes": command.output_bytes,
            "private": command.private,
        }
        self._commands += 1
        await self._send(marshal.dumps(request, 2))
        reply, data = await self._receive(
            command.wall_seconds + GRACE_SECONDS, limit=4 * command.output_bytes + (1 << 20)
        )
        try:
            outcome = self._outcome(reply, data)
        except (KeyError, TypeError, ValueError) as error:
            raise SandboxError(f"the box sent a malformed reply: {error!r}") from error
        self._answered += 1
        return outcome

    def _outcome(self, reply: dict[str, Any], data: bytes) -> CommandOutcome:
        if not secrets.compare_digest(str(reply["nonce"]), self._nonce):
            raise SandboxError("the box sent a reply that is not the runner's")
        if "unusable" in reply:
            complaint = data.decode(errors="replace")
            if self._commands == 1:
                raise SandboxError(f"the box cannot run the command: {complaint}")
            return CommandOutcome(stopped=CommandStop.START, stderr=data)
        ends = list(itertools.accumulate((reply[name] for name in ("stdout", "stderr", "result")), initial=0))
        if ends != sorted(ends) or ends[-1] != len(data):
            raise ValueError("its lengths do not add up")
        stdout, stderr, result = (data[start:end] for start, end in itertools.pairwise(ends))
        return CommandOutcome(
            stdout=stdout,
            stderr=stderr,
            result=result,
            exit_code=reply["exit_code"],
            signal=reply["signal"],
            stopped=None if reply["stopped"] is None else CommandStop(reply["stopped"]),
            seconds=float(reply["seconds"]),
            cpu_seconds=float(reply["cpu_seconds"]),
            memory_mib=reply["memory_kib"] / 1024,
        )

    async def _send(self, body: bytes) -> None:
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._channel.write(len(body).to_bytes(4, "big") + body)
        except TimeoutError as error:
            raise SandboxError(f"the box did not take a request within {SEND_SECONDS:g} s") from error
        except OSError as error:
            raise SandboxError(f"the box is gone: {error}") from error

    async def _receive(self, seconds: float, limit: int) -> tuple[dict[str, Any], bytes]:
        """The next frame: its line of JSON, and the bytes behind it (runner.py)."""
        try:
            async with asyncio.timeout(seconds):
                size = int.from_bytes(await self._channel.read(4), "big")
                if size > limit:
                    raise SandboxError(f"the box sent a reply of {size} bytes")
                head, _, data = (await self._channel.read(size)).partition(b"\n")
                message = json.loads(head)
        except TimeoutError as error:
            raise SandboxError(f"the box did not answer within {seconds:g} s") from error
        except (asyncio.IncompleteReadError, OSError) as error:
            raise SandboxError("the box died") from error
        except (ValueError, RecursionError) as error:
            raise SandboxError("the box sent a malformed reply") from error
        if not isinstance(message, dict):
            raise SandboxError("the box sent a malformed reply")
        return message, data
