"""The queue as clients see it: submit, look, watch, cancel, list, revive."""

from __future__ import annotations

import asyncio
import json
import secrets
import uuid
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from espalier.common.tracing import is_traceparent
from espalier.solver.batch.batches import Batch, BatchInfo, decode_batch
from espalier.solver.batch.config import QueueConfig
from espalier.solver.batch.connection import outage_as_unavailable, wait_out_outage
from espalier.solver.batch.dead_job import DeadJob, decode_dead_job
from espalier.solver.batch.files import FileStore
from espalier.solver.batch.keys import GROUP, Keys, batch_id, batch_of, job_id
from espalier.solver.batch.limits import NO_LIMITS, OverLimitError, QueueLimits
from espalier.solver.batch.scripts import Script, Scripts, require_format
from espalier.solver.batch.status import ENDED, STATUS, UnknownJobError, decode_status
from espalier.solver.core.limits import require_name
from espalier.v1 import common_pb2
from espalier.v1 import solver_pb2 as pb

if TYPE_CHECKING:
    from redis.asyncio import Redis

Entries = Sequence[tuple[bytes, dict[bytes, bytes]]]
"""Of a stream: id and fields."""

MAX_JOBS = 10_000
"""Problems of one submission: it is one step of Redis, during which no other client is served."""

TOO_MANY, TOO_MUCH = -2, -3
"""What `lua/submit.lua` answers when its caller has too many jobs, or too many bytes."""

MAX_PAGE = 1000
DEFAULT_PAGE = 100

WATCH_MS = 2000
"""How long one read of a watcher waits for news."""

LOOK_SECONDS = 0.5
"""How often one who watches a batch looks at it."""


class KeyTakenError(ValueError):
    """The client's key was used for another request."""


@dataclass(frozen=True, slots=True)
class Depth:
    """Jobs that are not done yet.

    Attributes:
        lag: Not delivered to any worker yet.
        pending: Delivered and not done.
        dead: Given up.
    """

    lag: int
    pending: int
    dead: int

    @property
    def total(self) -> int:
        """The depth of the queue; the dead are out of it."""
        return self.lag + self.pending


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker as the queue sees it.

    Attributes:
        name: Host, process, and a part that tells namesakes apart.
        jobs: That it holds a lease on.
        silent: It has not been heard of for the time of two leases; an idle worker begins to show after one.
    """

    name: str
    jobs: int
    silent: bool


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair brought back.

    Attributes:
        queued: Jobs that no worker could have got any more, and that are queued again.
        dead: Dead jobs that were missing among the dead.
        gone: Jobs of which nothing is left; their batches count them as ended.
    """

    queued: int
    dead: int
    gone: int


@dataclass(frozen=True, slots=True)
class BatchRow:
    """One job of a batch.

    Attributes:
        id: Of the job.
        job: What was to be done; None when the job is gone from Redis.
        response: How it stands, with its result once it is done; None when the job is gone from Redis.
    """

    id: str
    job: pb.Job | None = None
    response: pb.GetJobResponse | None = None


class JobQueue:
    """A queue in Redis. Every method raises QueueUnavailableError when Redis is gone for longer than a moment."""

    def __init__(self, redis: Redis, keys: Keys = Keys(), config: QueueConfig = QueueConfig()) -> None:
        self._redis = redis
        self._keys = keys
        self._config = config
        self._scripts = Scripts(redis, keys)
        self.files = FileStore(redis, keys, config)
        """Files that batches are made from."""

    async def submit(
        self,
        problems: Sequence[common_pb2.Problem],
        settings: pb.Settings | Sequence[pb.Settings] | None = None,
        key: str = "",
        traceparent: str = "",
        info: BatchInfo = BatchInfo(),
        limits: QueueLimits = NO_LIMITS,
    ) -> pb.SubmitJobResponse:
        """Queue one job for each problem: all of them, or none.

        Args:
            problems: What to solve; the caller has checked them.
            settings: Of every job, or of each. Without a seed each job draws its own now, so that it resumes as it
                began.
            key: The client's: the same key of the same caller again returns the same jobs and submits nothing, as long
                as the batch is kept. Empty: a new one.
            traceparent: The span that submits; what has not the form of one is none.
            info: What else is known of the batch.
            limits: What its caller may have in the queue, these jobs included.

        Raises:
            KeyTakenError: The key was used for another request.
            OverLimitError: The caller would have more.
            ValueError: No problem, or too many.
            FieldError: The key is too long.
        """
        if not 0 < len(problems) <= MAX_JOBS:
            raise ValueError(f"give 1 to {MAX_JOBS} problems at a time, got {len(problems)}")
        require_name(key, "key")
        shared = pb.Settings() if settings is None else settings
        each = [shared] * len(problems) if isinstance(shared, pb.Settings) else shared
        key = key or uuid.uuid4().hex
        batch = batch_id(key, info.caller)
        ids = [job_id(batch, number) for number in range(len(problems))]
        with outage_as_unavailable():
            seconds, micros = await self._redis.time()
            submitted = seconds + micros / 1e6
            keys = [self._keys.batch(batch)]
            record = {"digest": _digest(problems, each, info), "key": key, **info.fields()}
            args: list[str | bytes | int] = [
                batch,
                f"{submitted:.6f}",
                info.caller,
                info.priority,
                "" if limits.jobs is None else limits.jobs,
                "" if limits.stored_bytes is None else limits.stored_bytes,
                len(record),
                *(part for field in record.items() for part in field),
            ]
            for name, problem, chosen in zip(ids, problems, each, strict=True):
                job = pb.Job(
                    id=name,
                    problem=problem,
                    settings=chosen,
                    submitted=submitted,
                    traceparent=traceparent if is_traceparent(traceparent) else "",
                    caller=info.caller,
                )
                if not chosen.HasField("seed"):
                    job.settings.seed = secrets.randbelow(1 << 31)
                keys += (self._keys.job(name), self._keys.events(name))
                args += (name, job.SerializeToString())
            outcome, held = await self._scripts.run(Script.SUBMIT, keys, *args)
            if outcome == TOO_MUCH and await self.forget():
                outcome, held = await self._scripts.run(Script.SUBMIT, keys, *args)
        if outcome == TOO_MANY:
            raise OverLimitError.jobs(held, limits)
        if outcome == TOO_MUCH:
            raise OverLimitError.stored(held, limits)
        if outcome < 0:
            raise KeyTakenError(f"the key {key!r} was used for other problems or settings; take another one")
        return pb.SubmitJobResponse(job_ids=ids, repeated_key=not outcome, batch_id=batch)

    async def get(self, job: str) -> pb.GetJobResponse:
        """How a job stands, and its result once it is done.

        Raises:
            UnknownJobError: There is no such job, or it is forgotten.
        """
        with outage_as_unavailable():
            values: list[Any] = await self._redis.hmget(self._keys.job(job), [*STATUS, "result"])
        return _decode_job(job, values)

    async def watch(self, job: str, from_event_id: str = "") -> AsyncIterator[pb.JobEvent]:
        """What happens to a job, until it ends. An outage of Redis is waited out.

        Args:
            job: Its id.
            from_event_id: Only what comes after this event; empty: from the first that is kept.

        Raises:
            UnknownJobError: There is no such job, or it is forgotten.
            ValueError: The event id is none.
        """
        last = from_event_id or "0"
        if not is_event_id(last):
            raise ValueError(f"event id {last[:40]!r} is not one of ours; it looks like 1700000000000-0")
        while True:
            ended = (await wait_out_outage(lambda: self.get(job))).status.state in ENDED
            news = await wait_out_outage(lambda: self._news(job, last, None if ended else WATCH_MS))  # noqa: B023
            for number, fields in news:
                last = number.decode()
                yield _decode_event(job, last, fields)
            if ended and not news:
                return

    async def cancel(self, job: str) -> pb.JobStatus:
        """End a job: a queued one at once, a running one as soon as its worker hears of it; ended ones stay.

        Raises:
            UnknownJobError: There is no such job, or it is forgotten.
        """
        config = self._config
        with outage_as_unavailable():
            known = await self._scripts.run(
                Script.CANCEL, self._keys.of(job), job, config.keep_seconds, config.max_events, self._keys.cancels
            )
        if not known:
            raise UnknownJobError(f"there is no job {job}, or it ended too long ago")
        return (await self.get(job)).status

    async def cancel_batch(self, batch: Batch) -> int:
        """End all jobs of a batch, and say how many of them are gone."""
        config, gone = self._config, 0
        with outage_as_unavailable():
            await self._scripts.run(Script.CANCEL_BATCH, self._keys.of(job_id(batch.id, 0)))
            for start in range(0, len(batch.jobs), DEFAULT_PAGE):
                page = batch.jobs[start : start + DEFAULT_PAGE]
                calls = [
                    (self._keys.of(job), (job, config.keep_seconds, config.max_events, self._keys.cancels))
                    for job in page
                ]
                gone += (await self._scripts.run_all(Script.CANCEL, calls)).count(0)
        return gone

    async def list(
        self,
        states: Collection[pb.JobState] = (),
        page_size: int = DEFAULT_PAGE,
        page_token: str = "",
        caller: str = "",
    ) -> pb.ListJobsResponse:
        """Jobs, the newest first. A page may have fewer than asked for, or none, and still another one behind it.

        Args:
            states: Only jobs in these; empty: all.
            page_size: At most as many.
            page_token: Of the response before; empty: the first page.
            caller: Who asks: a named caller gets its own jobs only.

        Raises:
            ValueError: The page size or token is none.
        """
        if not 0 < page_size <= MAX_PAGE:
            raise ValueError(f"page_size must be 1 to {MAX_PAGE}, got {page_size}")
        if page_token and not page_token.isdecimal():
            raise ValueError(f"page_token {page_token[:40]!r} is not one of ours")
        below = f"({page_token}" if page_token else "+inf"
        found: list[pb.JobStatus] = []
        with outage_as_unavailable():
            page: Any = await self._redis.zrevrangebyscore(
                self._keys.index, below, "-inf", start=0, num=MAX_PAGE, withscores=True
            )
            statuses = await self._statuses([name for name, _ in page])
            theirs = await self._batches_of_others({batch_of(name.decode()) for name, _ in page}, caller)
        last = 0
        for status, (_, number) in zip(statuses, page, strict=True):
            last = int(number)
            if status is None or batch_of(status.id) in theirs:
                continue
            if not states or status.state in states:
                found.append(status)
            if len(found) == page_size:
                break
        more = len(found) == page_size or len(page) == MAX_PAGE
        return pb.ListJobsResponse(jobs=found, next_page_token=str(last) if more else "")

    async def running(self, count: int = DEFAULT_PAGE) -> Sequence[pb.JobStatus]:
        """Jobs that workers hold, those first that were submitted first; at most as many."""
        with outage_as_unavailable():
            try:
                held: Any = await self._redis.xpending_range(self._keys.jobs, GROUP, "-", "+", count)
            except ResponseError:  # no worker has ever been there
                return ()
            async with self._redis.pipeline(transaction=False) as pipe:
                for one in held:
                    pipe.xrange(self._keys.jobs, one["message_id"], one["message_id"])
                rows = await pipe.execute()
            statuses = await self._statuses([row[0][1][b"id"] for row in rows if row])
        return [status for status in statuses if status is not None]

    async def retry_dead(self, jobs: Collection[str] = ()) -> int:
        """Queue dead jobs again, with a fresh count of deliveries and the candidates that they have.

        Args:
            jobs: Which; empty: all.

        Returns:
            How many there were.
        """
        revived = 0
        with outage_as_unavailable():
            for job in jobs or await self._dead():
                revived += await self._scripts.run(Script.REVIVE, self._keys.of(job), job, self._config.max_events)
        return revived

    async def dead_jobs(self, count: int = DEFAULT_PAGE) -> Sequence[DeadJob]:
        """The oldest dead jobs, with everything that is known of them."""
        with outage_as_unavailable():
            dead_jobs: Any = await self._redis.xrange(self._keys.dead, count=count)
        return [decode_dead_job(fields) for _, fields in dead_jobs]

    async def batch(self, key: str, caller: str = "") -> Batch:
        """A submission by its client's key, or by its id.

        Args:
            key: Either.
            caller: Who asks: a named caller knows its own batches only.

        Raises:
            UnknownJobError: There is no such batch, or it is forgotten.
        """
        with outage_as_unavailable():
            for batch in (batch_id(key, caller), key):
                fields: Any = await self._redis.hgetall(self._keys.batch(batch))
                found = decode_batch(batch, fields)
                if found is not None and caller in ("", found.info.caller):
                    return found
        raise UnknownJobError(f"there is no batch {key}, or it ended too long ago")

    async def watch_batch(self, key: str, caller: str = "") -> AsyncIterator[Batch]:
        """How a batch stands, now and whenever that has changed, until it has ended. An outage of Redis is waited out.

        Raises:
            UnknownJobError: There is no such batch, or it is forgotten.
        """
        seen = await self.batch(key, caller)
        yield seen
        while seen.ended < seen.count:
            await asyncio.sleep(LOOK_SECONDS)
            before, seen = seen, await wait_out_outage(partial(self.batch, seen.id, caller))
            if seen != before:
                yield seen

    async def require_owner(self, job: str, caller: str) -> None:
        """A named caller knows its own jobs only; a caller without a name knows all.

        Raises:
            UnknownJobError: The job is that of another caller.
        """
        if caller:
            with outage_as_unavailable():
                owner: Any = await self._redis.hget(self._keys.batch(batch_of(job)), "caller")
            if owner is None or owner.decode() != caller:
                raise UnknownJobError(f"there is no job {job}, or it ended too long ago")

    async def batches(
        self, page_size: int = DEFAULT_PAGE, page_token: str = "", caller: str = ""
    ) -> tuple[Sequence[Batch], str]:
        """Batches, the newest first, and the token of the next page, empty on the last one.

        Args:
            page_size: At most as many.
            page_token: Of the page before; empty: the first page.
            caller: Who asks: a named caller gets its own batches only.

        Raises:
            ValueError: The page size or token is none.
        """
        if not 0 < page_size <= MAX_PAGE:
            raise ValueError(f"page_size must be 1 to {MAX_PAGE}, got {page_size}")
        if page_token and not is_page_token(page_token):
            raise ValueError(f"page_token {page_token[:40]!r} is not one of ours")
        found: list[Batch] = []
        while True:
            below = f"({page_token}" if page_token else "+inf"
            with outage_as_unavailable():
                # Those of other callers are skipped: many at a time, or a caller with none would cost a step for each.
                most = MAX_PAGE if caller else page_size
                page: Any = await self._redis.zrevrangebyscore(
                    self._keys.batches, below, "-inf", start=0, num=most, withscores=True
                )
                async with self._redis.pipeline(transaction=False) as pipe:
                    for name, _ in page:
                        pipe.hgetall(self._keys.batch(name.decode()))
                    rows = await pipe.execute()
            for (name, time), row in zip(page, rows, strict=True):
                page_token = f"{time:.6f}"
                batch = decode_batch(name.decode(), row)
                if batch is not None and caller in ("", batch.info.caller):
                    found.append(batch)
                    if len(found) == page_size:
                        return found, page_token
            if len(page) < most:
                return found, ""

    async def repair(self) -> Repaired:
        """Bring back what Redis lost (evicted keys, a deleted stream), as far as the hashes of the jobs tell it."""
        known: dict[str, int] = {}
        repaired = Repaired(0, 0, 0)
        with outage_as_unavailable():
            async for name in self._scan(self._keys.job("")):
                batch, _, number = name.rpartition("-")
                if number.isdecimal():
                    known[batch] = max(known.get(batch, 0), int(number) + 1)
            async for batch in self._scan(self._keys.batch("")):
                known.setdefault(batch, 0)
            for batch, count in known.items():
                keys, config = self._keys.of(job_id(batch, 0)), self._config
                queued, dead = await self._scripts.run(
                    Script.REPAIR, keys, batch, count, config.max_events, config.keep_seconds
                )
                fields: Any = await self._redis.hgetall(self._keys.batch(batch))
                found = decode_batch(batch, fields)
                gone = found.gone if found is not None else 0
                repaired = Repaired(repaired.queued + queued, repaired.dead + dead, repaired.gone + gone)
            await self._scripts.run(Script.COUNT)
        return repaired

    async def check_format(self) -> None:
        """
        Raises:
            QueueFormatError: Another version of Espalier has written the queue.
        """
        with outage_as_unavailable():
            found: Any = await self._redis.get(self._keys.format)
            held = await self._redis.exists(self._keys.index, self._keys.batches, self._keys.files)
        if found is not None and held:
            require_format(found.decode())

    async def forget(self) -> int:
        """Take what Redis has forgotten from its callers, and say how many jobs, batches and files that were."""
        with outage_as_unavailable():
            return await self._scripts.forget()

    async def stored(self) -> Mapping[str, int]:
        """Bytes of each caller that has any: of its jobs, batches and files that are not forgotten."""
        await self.forget()
        with outage_as_unavailable():
            found: Any = await self._redis.hgetall(self._keys.stored)
        return {caller.decode(): int(size) for caller, size in found.items()}

    async def _scan(self, prefix: str) -> AsyncIterator[str]:
        """What stands behind a prefix in the keys that have it."""
        pattern = "".join(f"\\{sign}" if sign in "*?[]^\\" else sign for sign in prefix)
        async for key in self._redis.scan_iter(match=f"{pattern}*", count=1000):
            yield key.decode()[len(prefix) :]

    async def read(self, batch: Batch) -> AsyncIterator[BatchRow]:
        """Every job of a batch, in the order of its problems, also those that are gone from Redis."""
        for start in range(0, len(batch.jobs), DEFAULT_PAGE):
            page = batch.jobs[start : start + DEFAULT_PAGE]
            with outage_as_unavailable():
                async with self._redis.pipeline(transaction=False) as pipe:
                    for job in page:
                        pipe.hmget(self._keys.job(job), [*STATUS, "result", "job"])
                    rows = await pipe.execute()
            for job, (*values, message) in zip(page, rows, strict=True):
                if message is None or values[0] is None:
                    yield BatchRow(job)
                else:
                    yield BatchRow(job, pb.Job.FromString(message), _decode_job(job, values))

    async def depth(self) -> Depth:
        """How much there is to do.

        An entry leaves the stream with its ack, in one step: the stream's length is what is delivered, and what is put
        there to be delivered next. All else waits for its turn.
        """
        with outage_as_unavailable():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.zcard(self._keys.waiting)
                pipe.xlen(self._keys.jobs)
                pipe.xpending(self._keys.jobs, GROUP)
                pipe.xlen(self._keys.dead)
                waiting, length, pending, dead = await pipe.execute(raise_on_error=False)
        held = 0 if isinstance(pending, Exception) else int(pending["pending"])  # no worker has ever been there
        return Depth(lag=waiting + length - held, pending=held, dead=dead)

    async def workers(self) -> Sequence[WorkerStatus]:
        """All workers, also silent ones that are not forgotten yet, by name."""
        try:
            with outage_as_unavailable():
                consumers: Any = await self._redis.xinfo_consumers(self._keys.jobs, GROUP)
        except ResponseError:  # no worker has ever been there
            return ()
        silence = 2 * self._config.lease_seconds * 1000
        found = (WorkerStatus(one["name"].decode(), one["pending"], one["idle"] > silence) for one in consumers)
        return sorted(found, key=lambda worker: worker.name)

    async def _batches_of_others(self, batches: Collection[str], caller: str) -> Collection[str]:
        """Those of these batches that a caller does not know; a caller without a name knows all."""
        if not caller:
            return ()
        async with self._redis.pipeline(transaction=False) as pipe:
            for batch in batches:
                pipe.hget(self._keys.batch(batch), "caller")
            owners = await pipe.execute()
        return {batch for batch, owner in zip(batches, owners, strict=True) if owner != caller.encode()}

    async def _dead(self) -> Sequence[str]:
        """Ids of all dead jobs; dead_jobs are large, so a few at a time."""
        jobs: list[str] = []
        after = "-"
        while dead_jobs := await self._redis.xrange(self._keys.dead, min=after, count=DEFAULT_PAGE):
            page: Any = dead_jobs
            jobs += (fields[b"id"].decode() for _, fields in page)
            after = f"({page[-1][0].decode()}"
        return jobs

    async def _news(self, job: str, after: str, wait: int | None) -> Entries:
        streams: Any = await self._redis.xread({self._keys.events(job): after}, count=100, block=wait)
        entries: Entries = streams[0][1] if streams else ()
        return entries

    async def _statuses(self, names: Sequence[bytes]) -> Sequence[pb.JobStatus | None]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hmget(self._keys.job(name.decode()), STATUS)
            rows = await pipe.execute()
        return [
            decode_status(name.decode(), dict(zip(STATUS, row, strict=True))) if row[0] is not None else None
            for name, row in zip(names, rows, strict=True)
        ]


def is_event_id(text: str) -> bool:
    """Whether Redis takes it for the id of an entry: one or two numbers of 64 bits."""
    parts = text.split("-", 1)
    return all(part.isascii() and part.isdecimal() and len(part) <= 20 and int(part) < 1 << 64 for part in parts)


def is_page_token(text: str) -> bool:
    """Whether it may be the token of a page of batches: seconds since the epoch."""
    whole, _, part = text.partition(".")
    return text.isascii() and whole.isdecimal() and (not part or part.isdecimal()) and len(text) <= 24


def _decode_job(job: str, values: Sequence[Any]) -> pb.GetJobResponse:
    """From the values of `STATUS` and the result."""
    *fields, result = values
    response = pb.GetJobResponse(status=decode_status(job, dict(zip(STATUS, fields, strict=True))))
    if result is not None:
        response.result.ParseFromString(result)
    return response


def _decode_event(job: str, number: str, fields: dict[bytes, bytes]) -> pb.JobEvent:
    event = pb.JobEvent(event_id=number, job_id=job)
    if b"solve" in fields:
        event.solve.ParseFromString(fields[b"solve"])
    else:
        event.status.CopyFrom(decode_status(job, {name.decode(): value for name, value in fields.items()}))
    return event


def _digest(problems: Sequence[common_pb2.Problem], settings: Sequence[pb.Settings], info: BatchInfo) -> str:
    """Of everything that makes two requests the same."""
    digest = sha256(json.dumps(info.fields(), sort_keys=True).encode())
    for problem, chosen in zip(problems, settings, strict=True):
        request = pb.SolveRequest(problem=problem, settings=chosen).SerializeToString(deterministic=True)
        digest.update(len(request).to_bytes(8, "big") + request)
    return digest.hexdigest()
