"""The queue as one worker sees it: get leases, write under them, give them up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from espalier.solver.batch.config import QueueConfig
from espalier.solver.batch.keys import GROUP, Keys
from espalier.solver.batch.lease.lease import Lease, LeaseLostError
from espalier.solver.batch.scripts import Script, Scripts, Value
from espalier.solver.core.journal import Entry
from espalier.solver.core.proto import decode_entry, encode_entry
from espalier.v1 import solver_pb2 as pb

if TYPE_CHECKING:
    from redis.asyncio import Redis

FORGET_MS = 24 * 3600 * 1000
"""Consumers without jobs that are silent for so long are forgotten."""

MAX_TROUBLE = 2000
"""Characters of an error that are kept."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A job as a worker gets it.

    Attributes:
        job: What to do.
        entries: What earlier deliveries have stored.
        first: Whether no worker had begun it before.
    """

    job: pb.Job
    entries: tuple[Entry, ...]
    first: bool


class LeaseStore:
    """Where one worker deals with the queue. Each method is one step of Redis, and safe to repeat.

    Methods that take a lease raise LeaseLostError when it is not held any more; nothing is written then.
    """

    def __init__(self, redis: Redis, consumer: str, keys: Keys, config: QueueConfig) -> None:
        self._redis = redis
        self._consumer = consumer
        self._keys = keys
        self._config = config
        self._scripts = Scripts(redis, keys)

    async def register(self) -> None:
        """Enter the consumer group, which is made at the stream's beginning unless it is there."""
        try:
            await self._redis.xgroup_create(self._keys.jobs, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        await self._redis.xgroup_createconsumer(self._keys.jobs, GROUP, self._consumer)  # seen before its first job

    async def deregister(self) -> None:
        """Forget this worker in the group, and others that have long been silent."""
        await self._scripts.run(Script.DEREGISTER, (), FORGET_MS, self._consumer)

    async def read(self, count: int, wait: float) -> list[Lease]:
        """Leases on jobs that no worker has had yet, in the order of turns. One that had to be waited for comes alone.

        Args:
            count: At most as many.
            wait: Seconds to wait for the first one.
        """
        taken = await self._scripts.run(Script.CLAIM, (), self._consumer, count)
        if not taken:
            streams: Any = await self._redis.xreadgroup(
                GROUP, self._consumer, {self._keys.jobs: ">"}, count=1, block=max(1, round(wait * 1000))
            )
            taken = [(entry, fields[b"id"]) for entry, fields in streams[0][1]] if streams else ()
        return [Lease(job.decode(), entry.decode(), self._consumer, 1) for entry, job in taken]

    async def claim_expired(self, count: int) -> list[Lease]:
        """Leases, at most as many, on jobs whose worker has not been heard of for the time of a lease."""
        idle = round(self._config.lease_seconds * 1000)
        taken = await self._scripts.run(Script.CLAIM_EXPIRED, (), self._consumer, idle, count)
        return [Lease(job.decode(), entry.decode(), self._consumer, deliveries) for entry, job, deliveries in taken]

    async def start(self, lease: Lease) -> Delivery:
        """Note that the job runs, and fetch it with all that was stored of it."""
        found = await self._run(Script.START, lease, self._config.max_events)
        job, stored, first = found
        entries = sorted(
            (decode_entry(pb.Candidate.FromString(candidate)) for candidate in stored),
            key=lambda entry: entry.candidate.spec.index,
        )
        return Delivery(pb.Job.FromString(job), tuple(entries), bool(first))

    async def store(self, lease: Lease, entry: Entry) -> None:
        """Store a candidate, in place of what was stored of it before."""
        stored = encode_entry(entry).SerializeToString()
        await self._run(Script.STORE, lease, entry.candidate.spec.index, stored)

    async def publish_events(self, lease: Lease, events: Sequence[pb.SolveEvent]) -> None:
        """Add events of the solve to the job's progress."""
        await self._run(
            Script.PUBLISH_EVENTS, lease, self._config.max_events, *(event.SerializeToString() for event in events)
        )

    async def finish(self, lease: Lease, result: pb.SolveResponse) -> None:
        """Write the result, acknowledge and delete the entry: the job is done."""
        config = self._config
        await self._run(
            Script.FINISH, lease, config.max_events, lease.job, config.keep_seconds, result.SerializeToString()
        )

    async def release(self, lease: Lease) -> None:
        """Give the job back to the queue, at once; this delivery does not count."""
        await self._nack(lease, lease.deliveries - 1, 0.0, "")

    async def retry(self, lease: Lease, trouble: str, delay: float) -> None:
        """Give the job back to the queue after some seconds (at most those of a lease); this delivery counts."""
        await self._nack(lease, lease.deliveries, delay, trouble[:MAX_TROUBLE])

    async def dead_letter(self, lease: Lease, reason: str) -> None:
        """Move the job into the dead-letter stream, with the last trouble and everything that was stored of it."""
        config = self._config
        args = (config.max_events, lease.job, config.keep_seconds, reason[:MAX_TROUBLE])
        await self._run(Script.DEAD_LETTER, lease, *args)

    async def _nack(self, lease: Lease, counted: int, delay: float, trouble: str) -> None:
        idle = max(0, round((self._config.lease_seconds - delay) * 1000))
        await self._run(Script.NACK, lease, self._config.max_events, counted, idle, trouble)

    async def _run(self, script: Script, lease: Lease, *args: Value) -> Any:
        outcome = await self._scripts.run(script, self._keys.of(lease.job), *lease.token, *args)
        if not outcome:
            raise LeaseLostError(f"job {lease.job} is not this worker's any more")
        return outcome
