"""Bytes that callers have stored: counted as Redis holds them, limited, and given back when they are forgotten."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from espalier.solver.batch.batches import BatchInfo
from espalier.solver.batch.config import QueueConfig
from espalier.solver.batch.files import FileStore
from espalier.solver.batch.keys import Keys, batch_id
from espalier.solver.batch.lease.lease import Lease, LeaseLostError
from espalier.solver.batch.lease.store import LeaseStore
from espalier.solver.batch.limits import OverLimitError, QueueLimits
from espalier.solver.batch.queue import JobQueue, KeyTakenError
from espalier.solver.core.journal import Entry
from espalier.v1 import solver_pb2 as pb
from tests.solver.batch.server import RedisServer
from tests.solver.batch.test_lease import CANDIDATE
from tests.solver.batch.test_turns import on_redis
from tests.solver.batch.working import problems

if TYPE_CHECKING:
    from redis.asyncio import Redis

KEYS = Keys()
CONFIG = QueueConfig(lease_seconds=60.0, max_events=5)
RECORD, JOB_RECORD = 1024, 5 * 1024
"""What a batch or a file counts beside its texts, and what a job does."""

BATCH_TEXTS = (b"key", b"caller", b"webhook", b"input_file", b"metadata")

steps = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "submit",
                "submit",
                "store",
                "tell",
                "finish",
                "die",
                "cancel",
                "cancel_batch",
                "retry",
                "add",
                "delete",
                "forget",
            ]
        ),
        st.integers(0, 1000),
    ),
    max_size=30,
)


async def held(redis: Redis) -> dict[str, int]:
    """Bytes of each caller, from what Redis holds."""
    found: Counter[str] = Counter()
    dead = {fields[b"id"]: fields for _, fields in await redis.xrange(KEYS.dead)}
    async for key in redis.scan_iter(f"{KEYS.job('')}*"):
        name = key.decode()[len(KEYS.job("")) :]
        job = await redis.hgetall(key)
        bundles = [fields.get(b"solve", b"") for _, fields in await redis.xrange(KEYS.events(name))]
        texts = [job[b"job"], job.get(b"result", b""), *await redis.hvals(KEYS.journal(name)), *bundles]
        copy = dead.get(name.encode(), {})
        texts += [text for field, text in copy.items() if field == b"job" or field.startswith(b"candidate:")]
        found[job[b"caller"].decode()] += JOB_RECORD + sum(map(len, texts))
    async for key in redis.scan_iter(f"{KEYS.batch('')}*"):
        batch = await redis.hgetall(key)
        found[batch.get(b"caller", b"").decode()] += RECORD + sum(len(batch.get(name, b"")) for name in BATCH_TEXTS)
    async for key in redis.scan_iter(f"{KEYS.file('')}*"):
        file = await redis.hgetall(key)
        found[file[b"caller"].decode()] += RECORD + len(file[b"content"])
    return dict(found)


async def let_time_pass(redis: Redis) -> None:
    """Let Redis forget all that it would forget one day."""
    for name in [name.decode() for name in await redis.zrange(KEYS.expiry, 0, -1)]:
        for key in (KEYS.job(name), KEYS.events(name), KEYS.batch(name), KEYS.file(name)):
            if await redis.ttl(key) >= 0:
                await redis.delete(key)
        await redis.zadd(KEYS.expiry, {name: 1.0})


class Client:
    """Does one thing after the other with a queue."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.queue = JobQueue(redis, KEYS, CONFIG)
        self.files = FileStore(redis, KEYS, CONFIG)
        self.leases = LeaseStore(redis, "w", KEYS, CONFIG)
        self.held: list[Lease] = []

    async def lease(self) -> Lease | None:
        for lease in await self.leases.read(1, 0.001):
            await self.leases.start(lease)
            self.held.append(lease)
        return self.held[-1] if self.held else None

    async def jobs(self) -> Sequence[str]:
        return [job.id for job in (await self.queue.list()).jobs]

    async def do(self, action: str, number: int) -> None:
        caller = ("", "alice", "bob")[number % 3]
        match action:
            case "submit":
                info = BatchInfo(caller, metadata={"a": "b" * (number % 7)})
                with suppress(KeyTakenError):
                    await self.queue.submit(problems(1 + number % 3), key=str(number % 20), info=info)
            case "add":
                await self.files.add(caller, "in.jsonl", "batch", b"x" * number)
            case "delete":
                for file in (await self.files.list())[:1]:
                    await self.files.delete(file.id)
            case "cancel":
                for job in (await self.jobs())[number % 5 :][:1]:
                    await self.queue.cancel(job)
            case "cancel_batch":
                for batch in (await self.queue.batches())[0][number % 3 :][:1]:
                    await self.queue.cancel_batch(batch)
            case "retry":
                await self.queue.retry_dead()
            case "forget":
                await let_time_pass(self.redis)
            case _:
                if (lease := await self.lease()) is not None:
                    await self.work(lease, action, number)

    async def work(self, lease: Lease, action: str, number: int) -> None:
        try:
            match action:
                case "store":
                    spec = replace(CANDIDATE.spec, index=number % 3)
                    await self.leases.store(lease, Entry(replace(CANDIDATE, spec=spec, text="x" * number)))
                case "tell":
                    events = [pb.SolveEvent(solve_id="x" * size) for size in range(number % 9)]
                    await self.leases.publish_events(lease, events)
                case "finish":
                    self.held.pop()
                    await self.leases.finish(lease, pb.SolveResponse(answer="x" * number))
                case "die":
                    self.held.pop()
                    await self.leases.dead_letter(lease, "too hard")
        except LeaseLostError:
            self.held = [one for one in self.held if one != lease]


@settings(max_examples=25)
@given(steps)
@example([("submit", 46), ("tell", 489), ("tell", 614), ("die", 0)])  # its last events push out older ones
def test_what_is_counted_is_what_redis_holds(server: RedisServer, chosen: list[tuple[str, int]]) -> None:
    async def run(redis: Redis) -> None:
        client = Client(redis)
        await client.leases.register()
        for action, number in chosen:
            await client.do(action, number)
            assert await client.queue.stored() == await held(redis)
        for job in await client.jobs():
            await client.queue.cancel(job)
        await let_time_pass(redis)
        for file in await client.files.list():
            await client.files.delete(file.id)
        assert await client.queue.stored() == await held(redis) == {}
        assert not await redis.hlen(KEYS.sizes)

    on_redis(server, run)


ALICE = BatchInfo(caller="alice")


async def test_to_submit_and_cancel_in_a_loop_ends_at_the_limit(redis: Redis) -> None:
    queue, limits = JobQueue(redis), QueueLimits(jobs=10, stored_bytes=1 << 20)
    with pytest.raises(OverLimitError, match=r"stored_mib: 1\.0 of 1 MiB are stored"):
        for number in range(100):
            await queue.submit(problems(5), key=str(number), info=ALICE, limits=limits)
            await queue.cancel_batch(await queue.batch(str(number), "alice"))
    assert (1 << 20) - 30_000 < (await queue.stored())["alice"] <= 1 << 20
    await queue.submit(problems(5), key="0", info=ALICE, limits=limits)  # the same again is no more
    await queue.submit(problems(5), info=BatchInfo(caller="bob"), limits=limits)
    await queue.submit(problems(5), info=ALICE)
    with pytest.raises(OverLimitError):
        await queue.files.add("alice", "in.jsonl", "batch", b"x", limits)


async def test_redis_gives_room_back_when_it_forgets(redis: Redis) -> None:
    queue, limits = JobQueue(redis, config=QueueConfig(keep_seconds=1)), QueueLimits(stored_bytes=15_000)
    await queue.submit(problems(2), key="one", info=ALICE, limits=limits)
    await queue.cancel_batch(await queue.batch("one", "alice"))
    file = await queue.files.add("alice", "in.jsonl", "batch", b"x" * 100, limits)
    with pytest.raises(OverLimitError):
        await queue.submit(problems(1), key="two", info=ALICE, limits=limits)
    async with asyncio.timeout(30):
        while await redis.exists(KEYS.batch(batch_id("one", "alice")), KEYS.file(file.id)):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    await queue.submit(problems(2), key="two", info=ALICE, limits=limits)
    assert await queue.files.list("alice") == []
    assert await queue.stored() == await held(redis)


async def test_a_key_that_redis_forgot_can_be_used_at_once(redis: Redis) -> None:
    """What is left of the batch before it in the indices takes nothing from the new one."""
    queue = JobQueue(redis)
    await queue.submit(problems(2), key="mine", info=ALICE)
    await queue.cancel_batch(await queue.batch("mine", "alice"))
    await let_time_pass(redis)
    again = await queue.submit(problems(2), key="mine", info=ALICE)
    assert not again.repeated_key
    await queue.forget()
    assert sorted(job.id for job in (await queue.list()).jobs) == sorted(again.job_ids)
    assert await queue.stored() == await held(redis)


async def test_a_repair_counts_anew(redis: Redis) -> None:
    client = Client(redis)
    await client.leases.register()
    for number, action in enumerate(["submit", "submit", "add", "store", "tell", "finish", "submit", "die"]):
        await client.do(action, number)
    for lost in (KEYS.stored, KEYS.sizes):
        await redis.delete(lost)
        await client.queue.repair()
        assert await client.queue.stored() == await held(redis)
    await redis.delete(*[KEYS.job(name) for name in await client.jobs()])
    await client.queue.repair()
    assert await client.queue.stored() == await held(redis)
