"""Single-use boxes kept ready: each is handed to one job, then its outer sandbox makes the next, or is thrown away.

Making a box costs as much processor time as a small job. So that this does not slow down the jobs of a burst, it waits
for a quiet moment as long as more than half of the boxes are left.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from espalier.verifiers.code.box import Box
from espalier.verifiers.code.sandbox import BoxSpec, CommandOutcome, Health, Job, SandboxError

RETRY_SECONDS = 2.0

QUIET_SECONDS = 0.1
"""Without a job for so long, the pool has the machine to itself."""


class BoxMaker(Protocol):
    """Makes boxes of one kind (Docker, bubblewrap)."""

    name: str

    @property
    def remark(self) -> str:
        """What makes its boxes slower than they could be; empty when nothing does."""
        ...

    async def prepare(self) -> None:
        """Check what boxes rest on and clear away what dead owners left. Raises SandboxError."""
        ...

    async def make(self, spec: BoxSpec) -> Box:
        """A new box whose runner is ready. Raises SandboxError and leaves nothing behind when it cannot."""
        ...

    async def close(self) -> None: ...


@dataclass(eq=False, slots=True)
class _Stock:
    """The boxes of one spec that no job has.

    Attributes:
        warm: How many are to be kept ready.
        idle: Ready ones, the next to be taken first.
        used: Those whose job is over, not renewed yet.
        renewing: Those that are being renewed.
        filling: How many are being made.
        waiting: Jobs that wait for one that is being renewed, the longest first; they get None where it will not come.
    """

    warm: int = 0
    idle: deque[Box] = field(default_factory=deque)
    used: deque[Box] = field(default_factory=deque)
    renewing: set[Box] = field(default_factory=set)
    filling: int = 0
    waiting: deque[asyncio.Future[Box | None]] = field(default_factory=deque)

    @property
    def size(self) -> int:
        return len(self.idle) + len(self.used) + len(self.renewing) + self.filling

    def send_away(self, keep: int) -> None:
        """Jobs that wait for a box that will not come make one of their own."""
        while len(self.waiting) > keep:
            arrival = self.waiting.popleft()
            if not arrival.done():
                arrival.set_result(None)


class PooledSandbox:
    """A sandbox over any maker of boxes.

    Args:
        maker: Makes the boxes.
        warm: How many boxes to keep ready, per spec.
        concurrency: Jobs that run at the same time; further ones wait their turn. As many boxes beyond the warm ones
            are kept once they are there, of the specs that were used last.
        makers: Boxes made at the same time.
    """

    def __init__(self, maker: BoxMaker, warm: Mapping[BoxSpec, int], *, concurrency: int, makers: int = 2) -> None:
        self._maker = maker
        self._spare = concurrency
        self._stocks = {spec: _Stock(number) for spec, number in warm.items()}
        """By spec, the one that was used last at the end."""
        self._running = asyncio.Semaphore(concurrency)
        self._making = asyncio.Semaphore(makers)
        self._tasks: set[asyncio.Task[None]] = set()
        self._resting: asyncio.Task[None] | None = None
        self._busy: set[Box] = set()
        self._active = 0
        self._last_job = 0.0
        self._trouble = "not started"
        self._closed = False

    async def start(self) -> None:
        await self._maker.prepare()
        self._trouble = ""
        for spec in self._stocks:
            self._refill(spec)

    def keep_ready(self, spec: BoxSpec, number: int) -> None:
        """Keep at least so many boxes of a spec ready."""
        stock = self._stock(spec)
        stock.warm = max(stock.warm, number)
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
        ready = {spec.image: len(stock.idle) for spec, stock in self._stocks.items() if stock.warm}
        return Health(ok=True, detail=f"{self._maker.name}: warm boxes {ready}", remark=self._maker.remark)

    async def wait_warm(self) -> None:
        """Wait until the background has made every box it was asked for (benchmarks, tests)."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        self._closed = True
        for task in self._tasks:
            if task.get_name() != "discard":
                task.cancel()
        left: list[Box] = []
        for stock in self._stocks.values():
            stock.send_away(keep=0)
            left += [*stock.idle, *stock.used, *stock.renewing]
            stock.idle.clear()
            stock.used.clear()
        await asyncio.gather(*(box.discard() for box in (*left, *self._busy)))  # jobs under way get a SandboxError
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
                if self._closed:
                    raise SandboxError("the sandbox was closed")
                yield box
            except SandboxError:
                self._distrust(spec)
                raise
            finally:
                self._busy.discard(box)
                self._give_back(box)
        finally:
            self._active -= 1
            self._last_job = time.monotonic()

    async def _take(self, spec: BoxSpec) -> Box:
        if self._closed:
            raise SandboxError("the sandbox is closed")
        stock = self._stock(spec)
        while stock.idle:
            box = stock.idle.popleft()
            self._tend(stock)
            if box.alive:
                return box
            self._background(box.discard(), "discard")
        while stock.used and len(stock.renewing) <= len(stock.waiting):
            self._start_renewing(stock.used.popleft())
        if len(stock.renewing) > len(stock.waiting):
            arrival: asyncio.Future[Box | None] = asyncio.get_running_loop().create_future()
            stock.waiting.append(arrival)
            try:
                arrived = await arrival
            except asyncio.CancelledError:
                if arrival in stock.waiting:
                    stock.waiting.remove(arrival)
                elif not arrival.cancelled() and (missed := arrival.result()) is not None:
                    self._offer(missed)
                raise
            if arrived is not None:
                return arrived
            if self._closed:
                raise SandboxError("the sandbox was closed")
        return await self._maker.make(spec)

    def _give_back(self, box: Box) -> None:
        """Take a box whose job is over."""
        spec = box.spec
        if self._closed or not box.quiet:
            self._background(box.discard(), "discard")
            self._refill(spec)
            return
        stock = self._stocks[spec] = self._stocks.pop(spec, _Stock())
        stock.used.append(box)
        self._drop_spares()
        self._tend(stock)

    def _stock(self, spec: BoxSpec) -> _Stock:
        return self._stocks.setdefault(spec, _Stock())

    def _offer(self, box: Box) -> None:
        """A box is ready: for the job that has waited longest, or to be kept."""
        stock = self._stock(box.spec)
        while stock.waiting:
            arrival = stock.waiting.popleft()
            if not arrival.done():
                arrival.set_result(box)
                return
        stock.idle.append(box)
        self._drop_spares()

    def _tend(self, stock: _Stock) -> None:
        """Renew used boxes where few are left; the others wait until the pool is at rest."""
        while stock.used and len(stock.idle) + len(stock.renewing) <= stock.warm // 2:
            self._start_renewing(stock.used.popleft())
        if stock.used and self._resting is None:
            self._resting = self._background(self._rest(), "rest")

    async def _rest(self) -> None:
        """Renew every used box once no job has come or gone for a while."""
        try:
            while True:
                left = self._last_job + QUIET_SECONDS - time.monotonic()
                if left <= 0 and not self._active:
                    break
                await asyncio.sleep(max(left, QUIET_SECONDS / 2))
        finally:
            self._resting = None
        for stock in list(self._stocks.values()):
            while stock.used:
                self._start_renewing(stock.used.popleft())

    def _start_renewing(self, box: Box) -> None:
        if not box.renewable:
            self._background(box.discard(), "discard")
            self._refill(box.spec)
            return
        self._stock(box.spec).renewing.add(box)
        self._background(self._renew(box), "renew")

    async def _renew(self, box: Box) -> None:
        stock, successor = self._stock(box.spec), None
        try:
            successor = await box.renew()
        finally:
            trusted = box in stock.renewing
            stock.renewing.discard(box)
            if successor is None:
                stock.send_away(keep=len(stock.renewing))
        if successor is not None and trusted and not self._closed:
            self._offer(successor)
            return
        if successor is not None:
            await successor.discard()
        self._refill(box.spec)

    def _drop_spares(self) -> None:
        """Discard boxes beyond the warm ones and as many spare ones, first of the specs that were used long ago."""
        surplus = {spec: max(0, stock.size - stock.warm) for spec, stock in self._stocks.items()}
        beyond = sum(surplus.values()) - self._spare
        for spec, boxes in surplus.items():
            stock = self._stocks[spec]
            for _ in range(min(boxes, beyond)):
                kept = stock.used or stock.idle
                if kept:
                    self._background(kept.popleft().discard(), "discard")
                    beyond -= 1
            if not stock.warm and not stock.size:
                del self._stocks[spec]

    def _distrust(self, spec: BoxSpec) -> None:
        """A box has failed: whatever befell it may have befallen the others, so the next try gets a new one."""
        stock = self._stock(spec)
        for box in (*stock.idle, *stock.used, *stock.renewing):
            self._background(box.discard(), "discard")
        stock.idle.clear()
        stock.used.clear()
        stock.renewing.clear()
        stock.send_away(keep=0)

    def _refill(self, spec: BoxSpec) -> None:
        stock = self._stock(spec)
        while not self._closed and stock.size < stock.warm:
            stock.filling += 1
            self._background(self._fill(spec), "fill")

    async def _fill(self, spec: BoxSpec) -> None:
        box = None
        try:
            async with self._making:
                while box is None:
                    try:
                        box = await self._maker.make(spec)
                    except SandboxError as error:
                        self._trouble = str(error)
                        await asyncio.sleep(RETRY_SECONDS)
        finally:
            self._stock(spec).filling -= 1
        self._trouble = ""
        if self._closed:
            await box.discard()
        else:
            self._offer(box)

    def _background(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
