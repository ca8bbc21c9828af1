"""One single-use box: a resident runner at the other end of a pair of streams."""

from __future__ import annotations

import asyncio
import itertools
import json
import marshal
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from importlib import resources
from typing import Any

from espalier.verifiers.code.languages import PYTHON
from espalier.verifiers.code.sandbox import BoxSpec, Command, CommandOutcome, CommandStop, SandboxError

GRACE_SECONDS = 5.0
"""Our clock ends a box this long after the runner should have; only a broken box needs it."""

RUNNER_COMMAND = (
    *PYTHON,
    "-c",
    resources.files(__package__).joinpath("runner.py").read_text("utf-8"),
)


class Box:
    """Asks the runner of one box; `discard` ends the box and all that is in it.

    Args:
        spec: What the box was made with.
        read: `read(n)` gives exactly n bytes from the runner, or raises `asyncio.IncompleteReadError`.
        write: Sends bytes to the runner.
        ended: Whether the runner's stream is at its end.
        discard: Ends the box; never raises, may be called twice.
    """

    def __init__(
        self,
        spec: BoxSpec,
        *,
        read: Callable[[int], Awaitable[bytes]],
        write: Callable[[bytes], Awaitable[None]],
        ended: Callable[[], bool],
        discard: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        self.spec = spec
        self.discard = discard
        self._read, self._write, self._ended = read, write, ended
        self._nonce = secrets.token_hex(16)
        self._commands = 0
        self._answered = 0

    @property
    def quiet(self) -> bool:
        """Whether no command is under way: nothing but the runner is alive in the box."""
        return self._answered == self._commands

    @property
    def alive(self) -> bool:
        return not self._ended()

    async def wait_ready(self, seconds: float = 60.0) -> None:
        """Wait for the runner's first word."""
        if (await self._receive(seconds, limit=1024))[0] != {"ready": True}:
            raise SandboxError("the box did not start its runner")

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
        body = marshal.dumps(request, 2)
        try:
            await self._write(len(body).to_bytes(4, "big") + body)
        except OSError as error:
            raise SandboxError(f"the box is gone: {error}") from error
        reply, data = await self._receive(
            command.wall_seconds + GRACE_SECONDS, limit=4 * command.output_bytes + (1 << 20)
        )
        self._answered += 1
        try:
            return self._outcome(reply, data)
        except (KeyError, TypeError, ValueError) as error:
            raise SandboxError(f"the box sent a malformed reply: {error!r}") from error

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

    async def _receive(self, seconds: float, limit: int) -> tuple[dict[str, Any], bytes]:
        """The next frame: its line of JSON, and the bytes behind it (runner.py)."""
        try:
            async with asyncio.timeout(seconds):
                size = int.from_bytes(await self._read(4), "big")
                if size > limit:
                    raise SandboxError(f"the box sent a reply of {size} bytes")
                head, _, data = (await self._read(size)).partition(b"\n")
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
