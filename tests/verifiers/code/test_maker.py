"""Making a box is bounded by our own clock, step by step; and wherever it is cancelled, it ends and leaves nothing."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

import pytest

from espalier.verifiers.code import box as box_module
from espalier.verifiers.code import maker as maker_module
from espalier.verifiers.code.box import Box, BoxChannel
from espalier.verifiers.code.bwrap import BwrapLauncher
from espalier.verifiers.code.docker import DockerLauncher
from espalier.verifiers.code.maker import Launcher, OuterSandboxMaker
from espalier.verifiers.code.sandbox import BoxSpec, Command, SandboxError
from tests.verifiers.code.boxes import KINDS, opened
from tests.verifiers.code.test_failures import left_behind, until

SPEC = BoxSpec("python")
LAUNCHERS: dict[str, Callable[[], Launcher]] = {"docker": DockerLauncher, "bwrap": BwrapLauncher}


class HangingLauncher:
    """Does not come back from the step that is named."""

    name = "hanging"

    def __init__(self, step: str) -> None:
        self.step = step
        self.closed = 0

    async def _reach(self, step: str) -> None:
        if step == self.step:
            await asyncio.Event().wait()

    async def prepare(self) -> None:
        await self._reach("prepare")

    async def launch(self, spec: BoxSpec, command: tuple[str, ...], *, zygote: bool) -> BoxChannel:
        await self._reach("launch")
        body = b'{"ready": true}'
        parts = [] if self.step == "ready" else [len(body).to_bytes(4, "big"), body]

        async def read(size: int) -> bytes:
            if not parts:
                await asyncio.Event().wait()
            return parts.pop(0)

        async def write(data: bytes) -> None:
            await self._reach("write")

        async def close() -> None:
            self.closed += 1
            await self._reach("close")

        async def complaint() -> str:
            return ": complaint"

        return BoxChannel(read, write, lambda: False, close, complaint)

    async def close(self) -> None: ...


@pytest.fixture
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (maker_module, "START_SECONDS"),
        (box_module, "SEND_SECONDS"),
        (box_module, "END_SECONDS"),
    ):
        monkeypatch.setattr(module, name, 0.05)
    monkeypatch.setattr(Box.wait_ready, "__defaults__", (0.05,))


async def use(launcher: HangingLauncher) -> None:
    maker = OuterSandboxMaker(launcher)
    await maker.prepare()
    box = await maker.make(SPEC)
    try:
        await box.run(Command(("true",), wall_seconds=-box_module.GRACE_SECONDS))
    finally:
        await box.discard()


@pytest.mark.usefixtures("short_limits")
@pytest.mark.parametrize(
    ("step", "fault", "closed"),
    [
        ("prepare", "what hanging sandboxes rest on did not answer", 0),
        ("launch", "no hanging sandbox was started", 0),
        ("ready", "the box did not answer within 0.05 s: complaint", 1),
        ("write", "the box did not take a request", 1),
        ("read", "the box did not answer within 0 s", 1),
        ("close", "the box did not answer within 0 s", 1),
    ],
)
async def test_a_step_that_does_not_end_is_a_fault_with_a_name(step: str, fault: str, closed: int) -> None:
    launcher = HangingLauncher(step)
    with pytest.raises(SandboxError, match=fault):
        await asyncio.wait_for(use(launcher), 60)
    assert launcher.closed == closed


@pytest.mark.parametrize("kind", KINDS)
async def test_making_a_box_can_be_cancelled_at_any_moment(kind: str) -> None:
    """The event loop is held for a while after the start, as on a busy machine: what was started gets on meanwhile."""
    async with opened(kind, warm=0):
        pass  # skips where there is no such sandbox
    launcher = LAUNCHERS[kind]()
    maker = OuterSandboxMaker(launcher)
    await maker.prepare()
    for held in range(0, 40, 2) if kind == "bwrap" else range(0, 400, 80):
        making = asyncio.create_task(maker.make(SPEC))
        await asyncio.sleep(0)
        time.sleep(held / 1000)  # noqa: ASYNC251
        making.cancel()
        done, _ = await asyncio.wait({making}, timeout=60)
        assert done, f"still at it after {held} ms and a minute"
        if not making.cancelled():
            await making.result().discard()
    await maker.close()
    await until(lambda: not left_behind(kind, os.getpid()))
    assert left_behind(kind, os.getpid()) == []
