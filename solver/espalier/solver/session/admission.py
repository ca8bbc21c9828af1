"""Who is let in: so many solves at once, so many waiting in line, nobody while the server drains."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

MIN_DELAY = 0.25
MAX_DELAY = 120.0
"""Seconds after which one who was turned away may come back: at least, at most."""

MEMORY = 0.8
"""Weight of the past in the running mean of how long a solve takes."""


class AdmissionFullError(Exception):
    """Every slot and every place in line is taken.

    Attributes:
        inside: Solves that run or wait.
        delay: Seconds after which a place should be free.
    """

    def __init__(self, inside: int, delay: float) -> None:
        super().__init__(f"{inside} solves run or wait already; try again in {delay:.3g} s")
        self.inside = inside
        self.delay = delay


class DrainingError(Exception):
    """The server drains."""


class Admission:
    """Slots and a line in front of them; first come, first served.

    Args:
        slots: Solves at once.
        places: Solves that may wait for a slot.
    """

    def __init__(self, slots: int, places: int) -> None:
        self._free = asyncio.Semaphore(slots)
        self._slots = slots
        self._places = places
        self._mean_seconds = 1.0
        self._closed = False
        self._empty = asyncio.Event()
        self._empty.set()
        self.running = 0
        self.waiting = 0

    @asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        """Wait for a slot and hold it.

        Raises:
            AdmissionFullError: There is no place in line either.
            DrainingError: Nobody is let in any more.
        """
        if self._closed:
            raise DrainingError("the server is going away; ask another")
        if self.waiting >= self._places and self.running + self.waiting >= self._slots:
            raise AdmissionFullError(self.running + self.waiting, self._delay())
        self._empty.clear()
        self.waiting += 1
        try:
            try:
                await self._free.acquire()
            finally:
                self.waiting -= 1
            self.running += 1
            clock = asyncio.get_running_loop().time
            start = clock()
            try:
                yield
            finally:
                self.running -= 1
                self._free.release()
                self._mean_seconds = MEMORY * self._mean_seconds + (1 - MEMORY) * (clock() - start)
        finally:
            if not self.running + self.waiting:
                self._empty.set()

    async def drain(self, grace: float) -> bool:
        """Let nobody in, wait for those inside, and say whether all of them left within `grace` seconds."""
        self._closed = True
        try:
            async with asyncio.timeout(grace):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    def _delay(self) -> float:
        """When the line that stands now should have gone in: each slot takes one of it in the time of a solve."""
        return min(max(self._mean_seconds * (self.waiting + 1) / self._slots, MIN_DELAY), MAX_DELAY)
