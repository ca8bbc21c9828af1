"""Which solves are admitted: so many at once, so many waiting in line, none while the server drains."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from espalier.common.callers import ANYONE, Caller

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

    def __init__(self, inside: int, delay: float, reason: str = "") -> None:
        super().__init__(f"{reason or f'{inside} solves run or wait already'}; try again in {delay:.3g} s")
        self.inside = inside
        self.delay = delay


class DrainingError(Exception):
    """The server drains."""


class Admission:
    """Slots and a line in front of them. A free slot goes to the caller with the fewest solves that run, among those to
    the one that was served longest ago: a caller with many solves in line does not keep the others waiting.

    Args:
        slots: Solves at once.
        places: Solves that may wait for a slot.
    """

    def __init__(self, slots: int, places: int) -> None:
        self._slots = slots
        self._places = places
        self._mean_seconds = 1.0
        self._closed = False
        self._empty = asyncio.Event()
        self._empty.set()
        self._line: dict[Caller, deque[asyncio.Future[None]]] = {}
        self._running_of: Counter[str] = Counter()
        self._services = 0
        self._served: Counter[str] = Counter()
        """When each caller was served last, counted in services."""
        self._buckets: dict[str, _Bucket] = {}
        self.running = 0
        self.waiting = 0

    @asynccontextmanager
    async def enter(self, caller: Caller = ANYONE, admitted: bool = False) -> AsyncIterator[None]:
        """Wait for a slot and hold it.

        Args:
            caller: Who asks.
            admitted: The solve belongs to a call that has been admitted, and is not turned away any more.

        Raises:
            AdmissionFullError: There is no place in line either, or the caller has used up its tokens.
            DrainingError: No solve is admitted any more.
        """
        if self._closed:
            raise DrainingError("the server is going away; ask another")
        clock = asyncio.get_running_loop().time
        if not admitted and (delay := self._bucket(caller).delay(clock())) > 0:
            raise AdmissionFullError(
                self.running + self.waiting, delay, f"{caller.tokens_per_minute} tokens a minute are used up"
            )
        if not admitted and self.waiting >= self._places and self.running + self.waiting >= self._slots:
            raise AdmissionFullError(self.running + self.waiting, self._delay())
        self._empty.clear()
        if not self.waiting and self.running < self._slots and self._may_start(caller):
            self._start(caller)
        else:
            await self._wait(caller)
        start = clock()
        try:
            yield
        finally:
            self._mean_seconds = MEMORY * self._mean_seconds + (1 - MEMORY) * (clock() - start)
            self._free(caller)

    def charge(self, caller: Caller, tokens: int) -> None:
        """Take new tokens of a solve from what its caller has for a minute."""
        self._bucket(caller).take(tokens, asyncio.get_running_loop().time())

    async def _wait(self, caller: Caller) -> None:
        """Stand in line until a slot is this solve's."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.setdefault(caller, deque()).append(turn)
        self.waiting += 1
        self._serve()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._leave_line(caller, turn)
            else:
                self._free(caller)
            raise

    def _may_start(self, caller: Caller) -> bool:
        return caller.solves is None or self._running_of[caller.name] < caller.solves

    def _start(self, caller: Caller) -> None:
        self._services += 1
        self._served[caller.name] = self._services
        self.running += 1
        self._running_of[caller.name] += 1

    def _serve(self) -> None:
        """Give free slots to those in line."""
        while self.running < self._slots:
            ready = list(filter(self._may_start, self._line))
            if not ready:
                return
            caller = min(ready, key=lambda one: (self._running_of[one.name], self._served[one.name]))
            turns = self._line[caller]
            turn = turns.popleft()
            if not turns:
                del self._line[caller]
            if turn.cancelled():
                continue
            self.waiting -= 1
            self._start(caller)
            turn.set_result(None)

    def _leave_line(self, caller: Caller, turn: asyncio.Future[None]) -> None:
        turns = self._line.get(caller, deque())
        if turn in turns:
            turns.remove(turn)
            if not turns:
                del self._line[caller]
        self.waiting -= 1
        self._note_empty()

    def _free(self, caller: Caller) -> None:
        self.running -= 1
        self._running_of[caller.name] -= 1
        self._serve()
        self._note_empty()

    def _note_empty(self) -> None:
        if not self.running + self.waiting:
            self._empty.set()

    def _bucket(self, caller: Caller) -> _Bucket:
        """The tokens that a caller has left; a new limit begins with a full minute."""
        bucket = self._buckets.get(caller.name)
        if bucket is None or bucket.per_minute != caller.tokens_per_minute:
            bucket = self._buckets[caller.name] = _Bucket(caller.tokens_per_minute)
        return bucket

    async def drain(self, grace: float) -> bool:
        """Admit no solve, wait for those that run, and say whether all of them ended within `grace` seconds."""
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


class _Bucket:
    """Tokens that flow in over a minute; a solve may take more than there are, and the next one waits for it.

    Args:
        per_minute: How many flow in and fit in; None: there is no limit.
    """

    def __init__(self, per_minute: int | None) -> None:
        self.per_minute = per_minute
        self._level = float(per_minute or 0)
        self._at: float | None = None

    def take(self, tokens: int, now: float) -> None:
        if self.per_minute is not None:
            self._flow(self.per_minute, now)
            self._level -= tokens

    def delay(self, now: float) -> float:
        """Seconds until something is left."""
        if self.per_minute is None:
            return 0.0
        self._flow(self.per_minute, now)
        return max(0.0, -self._level * 60 / self.per_minute)

    def _flow(self, per_minute: int, now: float) -> None:
        if self._at is not None:
            self._level = min(per_minute, self._level + (now - self._at) * per_minute / 60)
        self._at = now
