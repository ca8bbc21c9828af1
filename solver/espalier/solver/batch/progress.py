"""What a running job tells its watchers, sent in small bundles behind the solve's back."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from espalier.solver.batch.connection import wait_out_outage
from espalier.solver.batch.lease.lease import Lease, LeaseLostError
from espalier.solver.batch.lease.store import LeaseStore
from espalier.solver.core.events import Solved, SolveEvent
from espalier.solver.core.proto import encode_event
from espalier.v1 import solver_pb2 as pb

BUNDLE_SECONDS = 0.05
"""How long the first event of a bundle waits for others."""


class ProgressPublisher:
    """Takes in the events of a solve and passes them on; tokens are left out, and the result, which the job holds.

    While Redis is gone the newest events are kept.
    """

    def __init__(self, leases: LeaseStore, lease: Lease, most: int, clock: Callable[[], float]) -> None:
        self._leases = leases
        self._lease = lease
        self._clock = clock
        self._began = clock()
        self._waiting: deque[pb.SolveEvent] = deque(maxlen=most)
        self._sending: asyncio.Task[None] | None = None

    def observe(self, event: SolveEvent) -> None:
        """Take in one event."""
        if isinstance(event, Solved):
            return
        message = encode_event(self._lease.job, event, self._clock() - self._began, deltas=False)
        if message is not None:
            self._waiting.append(message)
            if self._sending is None or self._sending.done():
                self._sending = asyncio.create_task(self._send_soon())

    async def flush(self) -> None:
        """Pass on what is left."""
        if self._sending is not None:
            await self._sending
        await self._send()

    async def close(self) -> None:
        """Stop; what is left is dropped."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait([self._sending])

    async def _send_soon(self) -> None:
        await asyncio.sleep(BUNDLE_SECONDS)
        with suppress(LeaseLostError):  # the solve hears of it by other ways
            await self._send()

    async def _send(self) -> None:
        while self._waiting:
            bundle = list(self._waiting)
            self._waiting.clear()
            await wait_out_outage(lambda: self._leases.publish_events(self._lease, bundle))  # noqa: B023
