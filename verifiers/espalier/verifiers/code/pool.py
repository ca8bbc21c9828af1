"""Single-use boxes kept warm: each is handed to one job and thrown away; new ones are made in the background.

Making and removing a box costs more processor time than a small job. So that this does not slow down the jobs of a
burst, it waits for a quiet moment as long as half of the pool is left.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

from espalier.verifiers.code.box import Box
from espalier.verifiers.code.sandbox import BoxSpec, CommandOutcome, Health, Job, SandboxError

RETRY_SECONDS = 2.0

QUIET_SECONDS = 0.1
"""Without a job for so long, the pool has the machine to itself."""


class BoxMaker(Protocol):
    """Makes boxes of one kind (Docker, bubblewrap)."""

    name: str

    async def prepare(self) -> None:
        """Check what boxes rest on and clear away what dead owners left. Raises SandboxError."""
        ...

    async def make(self, spec: BoxSpec) -> Box:
        """A new box whose runner is ready. Raises SandboxError and leaves nothing behind when it cannot."""
        ...

    async def close(self) -> None: ...


class PooledSandbox:
    """A sandbox over any maker of boxes.

    Args:
        maker: Makes the boxes.
        warm: How many boxes to keep ready, per spec.
        concurrency: Jobs that run at the same time; further ones wait their turn.
        makers: Boxes made at the same time.
    """

    def __init__(self, maker: BoxMaker, warm: Mapping[BoxSpec, int], *, concurrency: int, makers: int = 2) -> None:
        self._maker = maker
        self._warm = dict(warm)
        self._idle: dict[BoxSpec, deque[Box]] = {spec: deque() for spec in warm}
        self._filling: dict[BoxSpec, int] = dict.fromkeys(warm, 0)
        self._running = asyncio.Semaphore(concurrency)
        self._making = asyncio.Semaphore(makers)
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy: set[Box] = set()
        self._used: list[Box] = []
        self._active = 0
        self._last_job = 0.0
        self._trouble = "not started"
        self._closed = False

    async def start(self) -> None:
        await self._maker.prepare()
        self._trouble = ""
        for spec in self._warm:
            self._refill(spec)

    async def run(self, job: Job) -> AsyncGenerator[CommandOutcome, None]:
        async with self._running, self._box(job.spec) as box:
            files: Mapping[str, str] = job.files
            for command in job.commands:
                yield await box.run(command, files)
                files = {}

    async def health(self) -> Health:
        """Sound when the maker works and, for what is kept warm, boxes are ready or being made."""
        if self._closed or self._trouble:
            return Health(ok=False, detail=self._trouble or "closed")
        try:
            await self._maker.prepare()
        except SandboxError as error:
            return Health(ok=False, detail=str(error))
        ready = {spec.image: len(boxes) for spec, boxes in self._idle.items()}
        return Health(ok=True, detail=f"{self._maker.name}: warm boxes {ready}")

    async def wait_warm(self) -> None:
        """Wait until the background has made every box it was asked for (benchmarks, tests)."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        self._closed = True
        for task in list(self._tasks):
            if task.get_name() == "refill":
                task.cancel()
        idle = [box for boxes in self._idle.values() for box in boxes]
        for boxes in self._idle.values():
            boxes.clear()
        await asyncio.gather(*(box.discard() for box in (*idle, *self._busy)))  # jobs under way get a SandboxError
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._maker.close()

    @asynccontextmanager
    async def _box(self, spec: BoxSpec) -> AsyncGenerator[Box, None]:
        self._active += 1
        try:
            box = await self._take(spec)
            self._busy.add(box)
            try:
                yield box
            except SandboxError:
                self._distrust(spec)
                raise
            finally:
                self._busy.discard(box)
                self._background(self._throw_away(box), "discard")
                self._refill(spec)
        finally:
            self._active -= 1
            self._last_job = time.monotonic()

    async def _take(self, spec: BoxSpec) -> Box:
        if self._closed:
            raise SandboxError("the sandbox is closed")
        idle = self._idle.get(spec, deque())
        while idle:
            box = idle.popleft()
            if box.alive:
                return box
            self._background(box.discard(), "discard")
        return await self._maker.make(spec)

    def _distrust(self, spec: BoxSpec) -> None:
        """A box has failed: whatever befell it may have befallen those that wait, so the next try gets a new one."""
        for box in self._idle.get(spec, ()):
            self._background(box.discard(), "discard")
        self._idle.get(spec, deque()).clear()

    def _refill(self, spec: BoxSpec) -> None:
        if self._closed or spec not in self._warm:
            return
        while len(self._idle[spec]) + self._filling[spec] < self._warm[spec]:
            self._filling[spec] += 1
            self._background(self._make_idle(spec), "refill")

    async def _throw_away(self, box: Box) -> None:
        if box.quiet:
            self._used.append(box)
            await self._calm(lambda: len(self._used) <= self._warm.get(box.spec, 0) // 2)
            self._used.remove(box)
        await box.discard()

    async def _calm(self, can_wait: Callable[[], bool]) -> None:
        """Wait until no job has come or gone for a while, or waiting would do harm."""
        while not self._closed and can_wait():
            left = self._last_job + QUIET_SECONDS - time.monotonic()
            if left <= 0 and not self._active:
                return
            await asyncio.sleep(max(left, QUIET_SECONDS / 2))

    async def _make_idle(self, spec: BoxSpec) -> None:
        try:
            await self._calm(lambda: len(self._idle[spec]) > self._warm[spec] // 2)
            async with self._making:
                while not self._closed:
                    try:
                        box = await self._maker.make(spec)
                    except SandboxError as error:
                        self._trouble = str(error)
                        await asyncio.sleep(RETRY_SECONDS)
                        continue
                    self._trouble = ""
                    if self._closed:
                        await box.discard()
                    else:
                        self._idle[spec].append(box)
                    break
        finally:
            self._filling[spec] -= 1

    def _background(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
