"""A worker: takes jobs while it has free slots, and sees each of them to its end."""

from __future__ import annotations

import asyncio
import os
import socket
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import structlog
from redis.exceptions import RedisError, ResponseError

from espalier.runtime.engine import EngineUnavailable
from espalier.solver.batch.config import QueueConfig
from espalier.solver.batch.connection import backoff, is_outage, wait_out_outage
from espalier.solver.batch.handler import JobHandler, JobRefusedError
from espalier.solver.batch.journal import LeasedJournal
from espalier.solver.batch.keys import Keys
from espalier.solver.batch.lease.heartbeat import Heartbeat
from espalier.solver.batch.lease.lease import Lease, LeaseLostError
from espalier.solver.batch.lease.store import LeaseStore
from espalier.solver.batch.progress import ProgressPublisher

if TYPE_CHECKING:
    from redis.asyncio import Redis

READ_SECONDS = 1.0
"""How long one read waits for a job: the longest that a stop goes unnoticed by an idle worker."""

LOOKS = 4
"""Looks for expired leases in the time of one lease."""

FIRST_DELAY = 1.0
"""Seconds before a job that failed is tried again; doubles each time."""

log = structlog.get_logger()


class JobMetrics(Protocol):
    """Counts what becomes of jobs."""

    def job(self, outcome: str) -> None:
        """Note how a delivery ended: done, retried, dead, released or lost."""
        ...

    def waited(self, queue: str, seconds: float) -> None:
        """Note how long a job had waited for a worker."""
        ...


class Worker:
    """Works on the jobs of one queue until it is stopped.

    Args:
        redis: Connections to the queue; without tries of their own, so that outages are seen.
        url: Of the same Redis, for the heartbeat's connection.
        work: What to do with a job.
        slots: Jobs at a time.
        grace: Seconds that running jobs get to end in after a stop; those that do not are handed back.
        keys: Of the queue.
        config: Of the queue.
        metrics: Counts what becomes of jobs; None: they are not counted.
    """

    def __init__(
        self,
        redis: Redis,
        url: str,
        work: JobHandler,
        *,
        slots: int = 4,
        grace: float = 30.0,
        keys: Keys = Keys(),
        config: QueueConfig = QueueConfig(),
        metrics: JobMetrics | None = None,
    ) -> None:
        if slots < 1:
            raise ValueError(f"slots must be at least 1, got {slots}")
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._redis = redis
        self._work = work
        self._slots = slots
        self._grace = grace
        self._keys = keys
        self._config = config
        self._metrics = metrics
        self._leases = LeaseStore(redis, self.name, keys, config)
        self._clock = asyncio.get_running_loop().time
        self._next_look = 0.0
        self._running: dict[Lease, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._broken: EngineUnavailable | None = None
        self._loop = asyncio.get_running_loop()
        self._heart = Heartbeat(url, self.name, keys, config, self._lost)

    async def run(self, stop: asyncio.Event) -> None:
        """JobHandler until told to stop, then let running jobs end and hand back what does not.

        Raises:
            EngineUnavailable: The engine is gone. The jobs were handed back.
        """
        log.info("worker begins", worker=self.name, slots=self._slots)
        stopping = asyncio.create_task(self._note(stop))
        listening = asyncio.create_task(self._listen())
        try:
            with self._heart:
                try:
                    await self._serve(stop)
                    await self._drain(self._grace)
                finally:
                    await self._drain(0.0)
        finally:
            for task in (stopping, listening):
                task.cancel()
            with suppress(RedisError):  # the next worker that leaves forgets this one too
                await self._leases.deregister()
        log.info("worker has left", worker=self.name)
        if self._broken is not None:
            raise self._broken

    # Getting jobs.

    async def _serve(self, stop: asyncio.Event) -> None:
        waiting, gone = backoff(), False
        while not stop.is_set() and self._broken is None:
            free = self._slots - len(self._running)
            if not free:
                await self._change()
                continue
            try:
                leases = await self._next(free)
            except RedisError as error:
                if is_outage(error):
                    (log.debug if gone else log.warning)("redis is gone", error=str(error))
                    gone = True
                    await asyncio.sleep(next(waiting))
                else:
                    await self._begin_anew(error)
                continue
            if gone:
                log.info("redis is back")
                waiting, gone = backoff(), False
            await self._accept(leases, stop)

    async def _next(self, free: int) -> list[Lease]:
        """Expired leases of others when it is time to look for them, else new jobs."""
        now = self._clock()
        if now >= self._next_look:
            self._next_look = now + self._config.lease_seconds / LOOKS
            # After an outage or a sleep everyone needs the time to renew: until then no lease counts as expired.
            if self._heart.steady() and (taken := await self._leases.claim_expired(free)):
                return taken
        return await self._leases.read(free, max(0.001, min(READ_SECONDS, self._next_look - now)))

    async def _begin_anew(self, error: RedisError) -> None:
        """Make the consumer group again, if that is what was missing."""
        if not (isinstance(error, ResponseError) and str(error).startswith(("NOGROUP", "UNBLOCKED"))):
            raise error
        log.info("the queue is begun")
        await wait_out_outage(self._leases.register)

    async def _accept(self, leases: list[Lease], stop: asyncio.Event) -> None:
        """Begin each job; one that may kill its worker when nothing else runs, and of several such ones only one."""
        for lease in leases:
            for older in [running for running in self._running if running.entry == lease.entry]:
                self._revoke(older)
            self._heart.hold(lease)
        suspects = [lease for lease in leases if lease.deliveries >= self._config.suspect_deliveries]
        for lease in leases:
            if lease not in suspects:
                self._begin(lease)
        for lease in suspects[1:]:
            await self._release(lease)
        for lease in suspects[:1]:
            await self._until_idle(stop)
            if stop.is_set() or self._broken is not None:
                await self._release(lease)
                return
            self._begin(lease)
            await self._until_idle(stop)

    async def _until_idle(self, stop: asyncio.Event) -> None:
        while self._running and not stop.is_set() and self._broken is None:
            await self._change()

    async def _release(self, lease: Lease) -> None:
        self._heart.drop(lease)
        with suppress(LeaseLostError):
            await wait_out_outage(lambda: self._leases.release(lease))

    # Doing them.

    def _begin(self, lease: Lease) -> None:
        self._running[lease] = task = asyncio.create_task(self._attend(lease))
        task.add_done_callback(lambda _: self._end(lease))

    def _end(self, lease: Lease) -> None:
        self._heart.drop(lease)
        del self._running[lease]
        self._changed.set()

    async def _attend(self, lease: Lease) -> None:
        """See a job to its end, whatever that is."""
        structlog.contextvars.bind_contextvars(job=lease.job, attempt=lease.deliveries)
        try:
            if lease.deliveries > self._config.max_deliveries:
                times = lease.deliveries - 1
                await self._dead_letter(
                    lease, f"delivered {times} times and never ended: its workers died or fell silent"
                )
            else:
                await self._do(lease)
        except LeaseLostError:
            self._count("lost")
            log.info("job is not ours any more")
        except asyncio.CancelledError:
            try:
                await self._leases.release(lease)
                self._count("released")
            except LeaseLostError:
                self._count("lost")
            except RedisError:
                pass
            raise
        except JobRefusedError as error:
            await self._dead_letter(lease, str(error))
        except EngineUnavailable as error:
            self._broken = error
            self._changed.set()
            await self._fail(lease, error)
        except Exception as error:
            log.warning("job failed", exc_info=True)
            await self._fail(lease, error)

    async def _do(self, lease: Lease) -> None:
        delivery = await wait_out_outage(lambda: self._leases.start(lease))
        log.info("job starts", stored=len(delivery.entries))
        if self._metrics is not None and delivery.first:
            self._metrics.waited("jobs", max(0.0, time.time() - delivery.job.submitted))
        progress = ProgressPublisher(self._leases, lease, self._config.max_events, self._clock)
        try:
            journal = LeasedJournal(self._leases, lease)
            result = await self._work(delivery.job, progress.observe, journal, delivery.entries)
            await progress.flush()
            await wait_out_outage(lambda: self._leases.finish(lease, result))
        finally:
            await progress.close()
        self._count("done")
        log.info("job is done")

    async def _fail(self, lease: Lease, error: Exception) -> None:
        trouble = f"{type(error).__name__}: {error}"
        if lease.deliveries >= self._config.max_deliveries:
            await self._dead_letter(lease, f"failed {lease.deliveries} times, at last with {trouble}")
            return
        delay = FIRST_DELAY * 2 ** min(lease.deliveries - 1, 16)
        with suppress(LeaseLostError):
            await wait_out_outage(lambda: self._leases.retry(lease, trouble, delay))
            self._count("retried")

    async def _dead_letter(self, lease: Lease, reason: str) -> None:
        log.warning("job is given up", reason=reason)
        with suppress(LeaseLostError):
            await wait_out_outage(lambda: self._leases.dead_letter(lease, reason))
            self._count("dead")

    def _count(self, outcome: str) -> None:
        if self._metrics is not None:
            self._metrics.job(outcome)

    # Ending.

    def _lost(self, lease: Lease) -> None:
        """Called in the heartbeat's thread."""
        self._loop.call_soon_threadsafe(self._revoke, lease)

    def _revoke(self, lease: Lease) -> None:
        """The lease is lost: whatever the job would still do is refused anyway."""
        if lease in self._running:
            self._running[lease].cancel()

    async def _drain(self, seconds: float) -> None:
        """Let running jobs end; hand back those that have not after so many seconds."""
        if not self._running:
            return
        log.info("draining", jobs=len(self._running), seconds=seconds)
        tasks = list(self._running.values())
        _, late = await asyncio.wait(tasks, timeout=seconds)
        for task in late:
            task.cancel()
        await asyncio.wait(tasks)

    async def _listen(self) -> None:
        """Hear of cancelled jobs. What is missed here, the next heartbeat tells."""
        waiting = backoff()
        while True:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(self._keys.cancels)
                    waiting = backoff()
                    while True:
                        message = await channel.get_message(timeout=READ_SECONDS)
                        if message is not None:
                            self._cancelled(message["data"].decode())
            except RedisError as error:
                if not is_outage(error):
                    raise
                await asyncio.sleep(next(waiting))

    def _cancelled(self, job: str) -> None:
        for lease in [lease for lease in self._running if lease.job == job]:
            self._revoke(lease)

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _note(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._changed.set()
