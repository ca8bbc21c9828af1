"""The queue as clients see it, on a real Redis."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from espalier.solver.batch.config import QueueConfig
from espalier.solver.batch.connection import (
    EvictingRedisError,
    QueueUnavailableError,
    check_eviction,
    connect,
    shown,
    wait_out_outage,
)
from espalier.solver.batch.handler import JobRefusedError
from espalier.solver.batch.keys import Keys
from espalier.solver.batch.lease.lease import LeaseLostError
from espalier.solver.batch.lease.store import LeaseStore
from espalier.solver.batch.queue import MAX_JOBS, JobQueue, KeyTakenError, Repaired
from espalier.solver.batch.status import UnknownJobError
from espalier.v1 import solver_pb2 as pb
from tests.solver.batch.server import RedisServer
from tests.solver.batch.working import CONFIG, NoWork, ended, problems, working

if TYPE_CHECKING:
    from redis.asyncio import Redis


async def test_a_submission_queues_one_job_for_each_problem_in_order(redis: Redis) -> None:
    queue = JobQueue(redis)
    response = await queue.submit(problems(3))
    assert not response.repeated_key
    assert len(set(response.job_ids)) == 3
    for job in response.job_ids:
        assert (await queue.get(job)).status.state == pb.JOB_STATE_QUEUED
    assert (await queue.depth()).lag == 3


async def test_the_same_key_again_returns_the_same_jobs_and_submits_nothing(redis: Redis) -> None:
    queue = JobQueue(redis)
    first, *others = await asyncio.gather(*(queue.submit(problems(3), pb.Settings(k=2), "mine") for _ in range(10)))
    assert all(other.job_ids == first.job_ids for other in others)
    assert [first.repeated_key, *(other.repeated_key for other in others)].count(False) == 1
    assert (await queue.depth()).total == 3


@pytest.mark.parametrize("sent", ["x" * 60_000, f"00-{'a' * 32}-{'b' * 16}-01" + "-more", "00-nonsense"])
async def test_a_span_that_is_none_is_not_stored_with_the_jobs(redis: Redis, sent: str) -> None:
    queue, span = JobQueue(redis), f"00-{'a' * 32}-{'b' * 16}-01"
    for name, told, stored in [("one", sent, ""), ("other", span, span)]:
        batch = (await queue.submit(problems(2), key=name, traceparent=told)).batch_id
        rows = [row async for row in queue.read(await queue.batch(batch))]
        assert [row.job and row.job.traceparent for row in rows] == [stored] * 2


async def test_a_key_of_another_request_is_refused(redis: Redis) -> None:
    queue = JobQueue(redis)
    await queue.submit(problems(2), key="mine")
    with pytest.raises(KeyTakenError, match="'mine'"):
        await queue.submit(problems(3), key="mine")
    with pytest.raises(KeyTakenError):
        await queue.submit(problems(2), pb.Settings(k=3), key="mine")
    assert (await queue.depth()).total == 2


@pytest.mark.parametrize("count", [0, MAX_JOBS + 1])
async def test_too_few_and_too_many_problems_are_refused(redis: Redis, count: int) -> None:
    with pytest.raises(ValueError, match=f"1 to {MAX_JOBS}"):
        await JobQueue(redis).submit(problems(1) * count)


async def test_each_job_gets_a_seed_of_its_own_unless_one_is_given(redis: Redis, server: RedisServer) -> None:
    queue = JobQueue(redis)
    free = await queue.submit(problems(2))
    given = await queue.submit(problems(2), pb.Settings(seed=7))
    seeds: dict[str, int] = {}

    async def note(job: pb.Job) -> None:
        seeds[job.id] = job.settings.seed

    async with working(server, NoWork(note)):
        for job in (*free.job_ids, *given.job_ids):
            await ended(redis, job)
    assert seeds[free.job_ids[0]] != seeds[free.job_ids[1]]
    assert {seeds[job] for job in given.job_ids} == {7}


async def test_unknown_jobs_and_batches_are_said_to_be_unknown(redis: Redis) -> None:
    queue = JobQueue(redis)
    for ask in (queue.get("x-0"), queue.cancel("x-0"), queue.batch("x"), anext(queue.watch("x-0"))):
        with pytest.raises(UnknownJobError, match="x"):
            await ask


async def test_watching_resumes_behind_an_event_and_ends_with_the_job(redis: Redis, server: RedisServer) -> None:
    queue = JobQueue(redis)
    job = (await queue.submit(problems(1))).job_ids[0]
    watching = asyncio.create_task(_all(queue, job))
    async with working(server, NoWork()):
        events = await asyncio.wait_for(watching, 30)
    states = [event.status.state for event in events]
    assert states == [pb.JOB_STATE_QUEUED, pb.JOB_STATE_RUNNING, pb.JOB_STATE_DONE]
    assert await _all(queue, job, events[0].event_id) == events[1:]
    assert await _all(queue, job, events[-1].event_id) == []


async def test_an_event_id_that_is_none_is_refused(redis: Redis) -> None:
    queue = JobQueue(redis)
    job = (await queue.submit(problems(1))).job_ids[0]
    with pytest.raises(ValueError, match="event id"):
        await anext(queue.watch(job, "yesterday"))


async def test_a_cancelled_job_is_never_delivered(redis: Redis, server: RedisServer) -> None:
    queue = JobQueue(redis)
    first, second = (await queue.submit(problems(2))).job_ids
    assert (await queue.cancel(first)).state == pb.JOB_STATE_CANCELLED
    assert (await queue.depth()).total == 1
    work = NoWork()
    async with working(server, work):
        await ended(redis, second)
    assert work.seen == [second]
    assert (await queue.cancel(second)).state == pb.JOB_STATE_DONE


async def test_a_batch_that_ended_before_it_was_cancelled_is_not_called_cancelled(
    redis: Redis, server: RedisServer
) -> None:
    queue = JobQueue(redis)
    (job,) = (await queue.submit(problems(1), key="mine")).job_ids
    seen = await queue.batch("mine")
    async with working(server, NoWork()):
        await ended(redis, job)
    assert await queue.cancel_batch(seen) == 0
    batch = await queue.batch("mine")
    assert (batch.cancelled, batch.states[pb.JOB_STATE_DONE]) == (None, 1)


async def test_to_cancel_a_batch_that_is_forgotten_leaves_nothing_behind(redis: Redis) -> None:
    queue = JobQueue(redis)
    await queue.submit(problems(1), key="mine")
    seen = await queue.batch("mine")
    await redis.flushall()
    assert await queue.cancel_batch(seen) == 1
    assert await redis.keys("*") == [Keys().format.encode()]


async def test_jobs_are_listed_by_pages_and_states_newest_first(redis: Redis) -> None:
    queue = JobQueue(redis)
    jobs = list((await queue.submit(problems(7))).job_ids)
    await queue.cancel(jobs[2])
    listed, token = [], ""
    while True:
        page = await queue.list(page_size=3, page_token=token)
        listed += [status.id for status in page.jobs]
        if not (token := page.next_page_token):
            break
    assert listed == jobs[::-1]
    cancelled = await queue.list([pb.JOB_STATE_CANCELLED], page_size=1)
    assert [status.id for status in cancelled.jobs] == [jobs[2]]
    for wrong in ({"page_size": 0}, {"page_size": 1001}, {"page_token": "x"}):
        with pytest.raises(ValueError, match="page_"):
            await queue.list(**wrong)


async def test_depth_counts_waiting_and_held_jobs_also_after_cancels(redis: Redis) -> None:
    queue = JobQueue(redis)
    assert (await queue.depth()).total == 0
    jobs = (await queue.submit(problems(5))).job_ids
    assert (await queue.depth()).lag == 5
    leases = LeaseStore(redis, "w", Keys(), CONFIG)
    await leases.register()
    assert len(await leases.read(2, 0.1)) == 2
    await queue.cancel(jobs[3])
    depth = await queue.depth()
    assert (depth.lag, depth.pending, depth.total) == (2, 2, 4)


async def test_ended_jobs_are_forgotten_in_time_and_leave_nothing_behind(redis: Redis) -> None:
    queue = JobQueue(redis, config=QueueConfig(keep_seconds=1))
    jobs = (await queue.submit(problems(3), key="mine")).job_ids
    for job in jobs:
        await queue.cancel(job)
    await asyncio.sleep(1.2)
    with pytest.raises(UnknownJobError):
        await queue.get(jobs[0])
    with pytest.raises(UnknownJobError):
        await queue.batch("mine")
    assert not (await queue.list()).jobs
    again = (await queue.submit(problems(1))).job_ids[0]
    await queue.cancel(again)
    assert await redis.zrange(Keys().index, 0, -1) == [again.encode()]


async def test_results_are_kept_until_the_last_job_of_their_batch_has_ended(redis: Redis) -> None:
    queue = JobQueue(redis, config=QueueConfig(keep_seconds=1))
    first, second = (await queue.submit(problems(2), key="mine")).job_ids
    await queue.cancel(first)
    await asyncio.sleep(1.2)
    assert (await queue.get(first)).status.state == pb.JOB_STATE_CANCELLED
    await queue.cancel(second)
    assert 0 < await redis.ttl(Keys().job(first)) <= 1
    assert 0 < await redis.ttl(Keys().events(first)) <= 1
    assert 0 < await redis.ttl(Keys().batch((await queue.batch("mine")).id)) <= 1


async def test_dead_jobs_outlive_their_batch_and_a_retry_keeps_all_of_it_again(
    redis: Redis, server: RedisServer
) -> None:
    queue = JobQueue(redis)
    dies, ends = (await queue.submit(problems(2), key="mine")).job_ids

    async def refuse_one(job: pb.Job) -> None:
        if job.id == dies:
            raise JobRefusedError("too hard")

    async with working(server, NoWork(refuse_one)):
        for job in (dies, ends):
            await ended(redis, job)
    batch = Keys().batch((await queue.batch("mine")).id)
    assert [await redis.ttl(key) for key in (Keys().job(dies), batch)] == [-1, -1]
    assert await redis.ttl(Keys().job(ends)) > 0
    assert await queue.retry_dead() == 1
    assert await redis.ttl(Keys().job(ends)) == -1
    await queue.cancel(dies)
    assert min([await redis.ttl(key) for key in (Keys().job(dies), Keys().job(ends), batch)]) > 0


async def test_a_batch_counts_its_jobs_by_state(redis: Redis) -> None:
    queue = JobQueue(redis)
    jobs = (await queue.submit(problems(3), key="mine")).job_ids
    await queue.cancel(jobs[0])
    batch = await queue.batch("mine")
    assert list(batch.jobs) == list(jobs)
    assert (batch.states[pb.JOB_STATE_QUEUED], batch.states[pb.JOB_STATE_CANCELLED], batch.ended) == (2, 1, 1)
    assert await queue.batch(batch.id) == batch


async def test_batches_are_listed_by_pages_newest_first_until_they_are_forgotten(redis: Redis) -> None:
    queue = JobQueue(redis, config=QueueConfig(keep_seconds=1))
    for number in range(5):
        await queue.submit(problems(2), key=f"batch {number}")
    listed, token = [], ""
    while True:
        page, token = await queue.batches(2, token)
        listed += [(batch.key, batch.count, batch.ended) for batch in page]
        if not token:
            break
    assert listed == [(f"batch {number}", 2, 0) for number in reversed(range(5))]
    for job in (await queue.batch("batch 3")).jobs:
        await queue.cancel(job)
    assert (await queue.batch("batch 3")).finished is not None
    await asyncio.sleep(1.2)
    page, _ = await queue.batches()
    assert [batch.key for batch in page] == ["batch 4", "batch 2", "batch 1", "batch 0"]
    for wrong in ({"page_size": 0}, {"page_token": "x"}):
        with pytest.raises(ValueError, match="page_"):
            await queue.batches(**wrong)


async def test_a_repair_queues_jobs_again_whose_stream_was_lost(redis: Redis, server: RedisServer) -> None:
    queue = JobQueue(redis)
    jobs = (await queue.submit(problems(3), key="mine")).job_ids
    leases = LeaseStore(redis, "w", Keys(), CONFIG)
    await leases.register()
    (lease,) = await leases.read(1, 0.1)
    await leases.start(lease)
    await redis.delete(Keys().jobs, Keys().waiting)
    assert await queue.repair() == Repaired(queued=3, dead=0, gone=0)
    assert await queue.repair() == Repaired(queued=0, dead=0, gone=0)
    with pytest.raises(LeaseLostError):
        await leases.finish(lease, pb.SolveResponse())
    async with working(server, NoWork()):
        for job in jobs:
            assert (await ended(redis, job)).status.state == pb.JOB_STATE_DONE
    assert (await queue.batch("mine")).ended == 3


async def test_a_repair_counts_what_is_gone_so_that_its_batch_ends(redis: Redis) -> None:
    queue = JobQueue(redis)
    first, gone = (await queue.submit(problems(2), key="mine")).job_ids
    await redis.delete(Keys().job(gone))
    assert await queue.repair() == Repaired(queued=0, dead=0, gone=1)
    batch = await queue.batch("mine")
    assert (batch.ended, batch.gone) == (1, 1)
    await queue.cancel(first)
    assert (await queue.batch("mine")).ended == 2
    assert await redis.ttl(Keys().batch(batch.id)) > 0


async def test_a_repair_rebuilds_lost_records_of_batches_indices_and_dead_jobs(
    redis: Redis, server: RedisServer
) -> None:
    async def refuse(_: pb.Job) -> None:
        raise JobRefusedError("too hard")

    queue = JobQueue(redis)
    (dead,) = (await queue.submit(problems(1), key="dies")).job_ids
    async with working(server, NoWork(refuse)):
        await ended(redis, dead)
    jobs = (await queue.submit(problems(2), key="mine")).job_ids
    mine = (await queue.batch("mine")).id
    keys = Keys()
    await redis.delete(keys.batch(mine), keys.index, keys.batches, keys.dead)
    # The first one is in the stream already; the other's place in line went with the record.
    assert await queue.repair() == Repaired(queued=1, dead=1, gone=0)
    batch = await queue.batch(mine)
    assert (batch.count, batch.states[pb.JOB_STATE_QUEUED]) == (2, 2)
    assert {status.id for status in (await queue.list()).jobs} == {dead, *jobs}
    assert {batch.key for batch in (await queue.batches())[0]} == {"dies", mine}
    assert await queue.retry_dead() == 1


async def test_a_redis_that_evicts_is_refused_unless_that_is_allowed(tmp_path: Path) -> None:
    evicting = RedisServer(tmp_path, appendonly=False)
    evicting.start()
    try:
        async with connect(evicting.url, retries=0) as client:
            await check_eviction(client, allowed=False)
            await client.config_set("maxmemory-policy", "allkeys-lru")
            with pytest.raises(EvictingRedisError, match=r"allkeys-lru.*--allow-evicting"):
                await check_eviction(client, allowed=False)
            await check_eviction(client, allowed=True)
    finally:
        evicting.stop()


async def test_queues_of_different_names_share_nothing(redis: Redis) -> None:
    one, other = JobQueue(redis, Keys("one")), JobQueue(redis, Keys("other"))
    job = (await one.submit(problems(1), key="mine")).job_ids[0]
    assert (await other.depth()).total == 0
    with pytest.raises(UnknownJobError):
        await other.get(job)


async def test_a_dead_redis_is_called_unavailable(own_server: RedisServer) -> None:
    async with connect(own_server.url, retries=0) as client:
        queue = JobQueue(client)
        await queue.submit(problems(1))
        own_server.kill()
        with pytest.raises(QueueUnavailableError):
            await queue.submit(problems(1))
        own_server.start()
        assert (await queue.depth()).lag == 1


async def test_who_watches_waits_for_a_redis_that_is_gone(own_server: RedisServer) -> None:
    async with connect(own_server.url, retries=0) as client:
        queue = JobQueue(client)
        (job,) = (await queue.submit(problems(1), key="mine")).job_ids
        events = queue.watch(job)
        assert (await anext(events)).status.state == pb.JOB_STATE_QUEUED
        own_server.kill()
        watching = asyncio.create_task(anext(events))  # type: ignore[arg-type]
        looking = asyncio.create_task(wait_out_outage(lambda: queue.batch("mine")))
        done, _ = await asyncio.wait((watching, looking), timeout=1.0)
        assert not done
        own_server.start()
        assert len((await looking).jobs) == 1
        await queue.cancel(job)
        assert (await watching).status.state == pb.JOB_STATE_CANCELLED


async def test_a_wrong_password_is_said_to_be_one(tmp_path: Path) -> None:
    guarded = RedisServer(tmp_path, appendonly=False)
    guarded.start()
    try:
        async with connect(guarded.url) as client:
            await client.config_set("requirepass", "sesame")
        for url in (guarded.url, guarded.url.replace("redis://", "redis://:wrong@")):
            async with connect(url, retries=0) as client:
                with pytest.raises(QueueUnavailableError, match="another user or password; write redis://"):
                    await JobQueue(client).depth()
    finally:
        guarded.stop()


def test_an_address_is_shown_without_its_password() -> None:
    assert shown("redis://me:secret@host:6379/0") == "redis://host:6379/0"


async def _all(queue: JobQueue, job: str, after: str = "") -> list[pb.JobEvent]:
    return [event async for event in queue.watch(job, after)]
