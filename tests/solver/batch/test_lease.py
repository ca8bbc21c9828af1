"""Leases: who may write, when others take over, and that nothing in the event loop can starve them."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis as blocking

from espalier.runtime.engine import FinishReason, Usage
from espalier.solver.batch.config import QueueConfig
from espalier.solver.batch.keys import GROUP, Keys
from espalier.solver.batch.lease.heartbeat import Heartbeat
from espalier.solver.batch.lease.lease import Lease, LeaseLostError
from espalier.solver.batch.lease.store import LeaseStore
from espalier.solver.batch.queue import JobQueue
from espalier.solver.core.candidate import Candidate, Spec
from espalier.solver.core.journal import Entry
from espalier.v1 import solver_pb2 as pb
from espalier.verifiers.verdict import Status, Verdict
from tests.solver.batch.server import RedisServer
from tests.solver.batch.working import problems, until

if TYPE_CHECKING:
    from redis.asyncio import Redis

KEYS = Keys()
CONFIG = QueueConfig(lease_seconds=60.0, max_deliveries=3)
"""Nothing expires by itself in the time of a test: what has to be old is made old."""
CANDIDATE = Candidate(Spec(0, 0, 1, 1.0), "42", "42", (), FinishReason.STOP, Usage(1, 2, 3, 4), 0.5)
VERDICT = Verdict(Status.PASS, 1.0, "test")
RESULT = pb.SolveResponse(answer="42")


async def stores(redis: Redis) -> tuple[LeaseStore, LeaseStore]:
    one, other = LeaseStore(redis, "one", KEYS, CONFIG), LeaseStore(redis, "other", KEYS, CONFIG)
    await one.register()
    return one, other


async def expire(redis: Redis, *leases: Lease) -> None:
    """Let these leases look as if they had not been renewed for their time."""
    idle = round(CONFIG.lease_seconds * 1000)
    for lease in leases:
        again = {"idle": idle, "retrycount": lease.deliveries, "justid": True}
        await redis.xclaim(KEYS.jobs, GROUP, lease.consumer, 0, [lease.entry], **again)


async def lost_by_one(redis: Redis) -> tuple[LeaseStore, Lease, LeaseStore, Lease]:
    """Two workers; the job of the first has just been reclaimed by the second."""
    one, other = await stores(redis)
    await JobQueue(redis).submit(problems(1), key="mine")
    (mine,) = await one.read(1, 0.1)
    await one.start(mine)
    await expire(redis, mine)
    (theirs,) = await other.claim_expired(5)
    return one, mine, other, theirs


async def test_jobs_submitted_before_the_first_worker_are_delivered(redis: Redis) -> None:
    await JobQueue(redis).submit(problems(2))
    one, _ = await stores(redis)
    await one.register()
    assert len(await one.read(5, 0.1)) == 2


async def test_a_worker_is_known_before_its_first_job(redis: Redis) -> None:
    one, _ = await stores(redis)
    await one.register()
    assert b"one" in [consumer["name"] for consumer in await redis.xinfo_consumers(KEYS.jobs, "workers")]


async def test_no_more_leases_than_asked_for(redis: Redis) -> None:
    await JobQueue(redis).submit(problems(5))
    one, other = await stores(redis)
    leases = await one.read(2, 0.1)
    assert len(leases) == 2
    await expire(redis, *leases)
    assert len(await other.claim_expired(1)) == 1


async def test_a_living_lease_is_not_taken(redis: Redis) -> None:
    one, other = await stores(redis)
    await JobQueue(redis).submit(problems(1))
    await one.read(1, 0.1)
    assert await other.claim_expired(5) == []


async def test_an_expired_lease_is_taken_by_one_and_counted(redis: Redis) -> None:
    one, mine, _, theirs = await lost_by_one(redis)
    assert (theirs.job, theirs.entry, theirs.deliveries) == (mine.job, mine.entry, 2)
    assert await one.claim_expired(5) == []


async def test_every_write_of_a_lost_lease_is_refused(redis: Redis) -> None:
    one, mine, other, theirs = await lost_by_one(redis)
    for write in (
        one.start(mine),
        one.store(mine, Entry(CANDIDATE)),
        one.publish_events(mine, [pb.SolveEvent()]),
        one.finish(mine, RESULT),
        one.retry(mine, "trouble", 0.0),
        one.release(mine),
        one.dead_letter(mine, "no"),
    ):
        with pytest.raises(LeaseLostError):
            await write
    assert (await other.start(theirs)).entries == ()
    await other.finish(theirs, RESULT)
    assert (await JobQueue(redis).get(mine.job)).result == RESULT


async def test_a_worker_that_reclaims_from_itself_is_fenced_off_its_own_past(redis: Redis) -> None:
    one, _ = await stores(redis)
    await JobQueue(redis).submit(problems(1))
    (past,) = await one.read(1, 0.1)
    await expire(redis, past)
    (present,) = await one.claim_expired(1)
    with pytest.raises(LeaseLostError):
        await one.finish(past, RESULT)
    await one.finish(present, RESULT)


async def test_finishing_acknowledges_deletes_and_can_be_repeated(redis: Redis) -> None:
    one, _ = await stores(redis)
    queue = JobQueue(redis)
    await queue.submit(problems(1))
    (lease,) = await one.read(1, 0.1)
    await one.start(lease)
    await one.store(lease, Entry(CANDIDATE))
    await one.finish(lease, RESULT)
    await one.finish(lease, RESULT)  # the reply to the first one may have been lost
    assert (await queue.depth()).total == 0
    assert (await queue.get(lease.job)).status.candidates == 1
    assert not await redis.exists(KEYS.journal(lease.job))
    assert await redis.ttl(KEYS.job(lease.job)) > 0
    assert (await queue.batch((await queue.batch(lease.job.split("-")[0])).key)).ended == 1


async def test_what_was_stored_comes_with_the_next_delivery(redis: Redis) -> None:
    one, other = await stores(redis)
    await JobQueue(redis).submit(problems(1))
    (lease,) = await one.read(1, 0.1)
    await one.store(lease, Entry(CANDIDATE))
    await one.store(lease, Entry(CANDIDATE, VERDICT))
    await expire(redis, lease)
    (theirs,) = await other.claim_expired(1)
    assert (await other.start(theirs)).entries == (Entry(CANDIDATE, VERDICT),)


async def test_a_release_does_not_count_and_is_free_at_once(redis: Redis) -> None:
    one, other = await stores(redis)
    await JobQueue(redis).submit(problems(1))
    (lease,) = await one.read(1, 0.1)
    await one.release(lease)
    (theirs,) = await other.claim_expired(1)
    assert theirs.deliveries == 1
    with pytest.raises(LeaseLostError):
        await one.finish(lease, RESULT)


async def test_a_retry_counts_and_waits(redis: Redis) -> None:
    one, other = await stores(redis)
    queue = JobQueue(redis)
    await queue.submit(problems(1))
    (lease,) = await one.read(1, 0.1)
    await one.start(lease)
    await one.retry(lease, "the engine coughed", 30.0)
    status = (await queue.get(lease.job)).status
    assert (status.state, status.reason) == (pb.JOB_STATE_QUEUED, "the engine coughed")
    assert await other.claim_expired(1) == []
    later = LeaseStore(
        redis, "later", KEYS, QueueConfig(lease_seconds=CONFIG.lease_seconds - 30.0)
    )  # as if 30 s had passed
    (theirs,) = await later.claim_expired(1)
    assert theirs.deliveries == 2


async def test_a_letter_holds_reason_last_error_and_the_trace_so_far(redis: Redis) -> None:
    one, _ = await stores(redis)
    queue = JobQueue(redis)
    await queue.submit(problems(1))
    (lease,) = await one.read(1, 0.1)
    delivery = await one.start(lease)
    await one.store(lease, Entry(CANDIDATE, VERDICT))
    await redis.hset(KEYS.job(lease.job), "reason", "the last error")
    await one.dead_letter(lease, "delivered too often")
    (dead,) = await queue.dead_jobs()
    assert (dead.job, dead.reason, dead.error) == (delivery.job, "delivered too often", "the last error")
    assert dead.attempts == 1
    assert dead.entries == (Entry(CANDIDATE, VERDICT),)
    assert (await queue.depth()).dead == 1
    status = (await queue.get(lease.job)).status
    assert (status.state, status.reason) == (pb.JOB_STATE_DEAD, "delivered too often")


async def test_a_revived_job_starts_counting_anew_with_what_it_has(redis: Redis) -> None:
    one, _ = await stores(redis)
    queue = JobQueue(redis)
    await queue.submit(problems(1))
    (lease,) = await one.read(1, 0.1)
    await one.store(lease, Entry(CANDIDATE))
    await one.dead_letter(lease, "no")
    assert await queue.retry_dead() == 1
    assert await queue.retry_dead() == 0
    (again,) = await one.read(1, 0.1)
    assert (again.job, again.deliveries) == (lease.job, 1)
    assert (await one.start(again)).entries == (Entry(CANDIDATE),)
    assert (await queue.depth()).dead == 0


async def test_a_dead_job_can_be_cancelled(redis: Redis) -> None:
    one, _ = await stores(redis)
    queue = JobQueue(redis)
    await queue.submit(problems(1))
    (lease,) = await one.read(1, 0.1)
    await one.dead_letter(lease, "no")
    assert (await queue.cancel(lease.job)).state == pb.JOB_STATE_CANCELLED
    assert (await queue.depth()).dead == 0
    assert await queue.retry_dead() == 0


async def test_the_heartbeat_beats_while_the_event_loop_is_blocked(redis: Redis, server: RedisServer) -> None:
    one, other = await stores(redis)
    await JobQueue(redis).submit(problems(1))
    (lease,) = await one.read(1, 0.1)
    lost: list[Lease] = []
    with Heartbeat(server.url, "one", KEYS, QueueConfig(lease_seconds=0.6), lost.append) as heart:
        heart.hold(lease)
        await expire(redis, lease)
        with blocking.Redis(port=server.port) as asking:
            while _idle_ms(asking) > 1000 * CONFIG.lease_seconds / 2:  # in pure Python, and never lets the loop run
                sum(range(1000))
        assert await other.claim_expired(1) == []
    assert not lost
    await expire(redis, lease)
    assert len(await other.claim_expired(1)) == 1


async def test_the_heartbeat_tells_once_of_a_lease_that_is_lost(redis: Redis, server: RedisServer) -> None:
    one, _ = await stores(redis)
    await JobQueue(redis).submit(problems(2))
    kept, gone = await one.read(2, 0.1)
    lost: list[Lease] = []
    with Heartbeat(server.url, "one", KEYS, QueueConfig(lease_seconds=0.3), lost.append) as heart:
        heart.hold(kept)
        heart.hold(gone)
        await JobQueue(redis).cancel(gone.job)
        await until(lambda: bool(lost))
        await asyncio.sleep(0.3)  # some more beats
    assert lost == [gone]


async def test_a_lease_that_is_held_for_too_long_is_given_up(redis: Redis, server: RedisServer) -> None:
    one, other = await stores(redis)
    await JobQueue(redis).submit(problems(1))
    (lease,) = await one.read(1, 0.1)
    lost: list[Lease] = []
    with Heartbeat(server.url, "one", KEYS, QueueConfig(lease_seconds=0.3, max_seconds=0.5), lost.append) as heart:
        heart.hold(lease)
        await until(lambda: bool(lost))
        await expire(redis, lease)
        await asyncio.sleep(0.3)  # some beats, which renew it no more
        assert len(await other.claim_expired(1)) == 1
    assert lost == [lease]


async def test_who_was_asleep_takes_nothing_before_the_others_have_had_the_time_to_renew(server: RedisServer) -> None:
    config = QueueConfig(lease_seconds=0.5)
    with Heartbeat(server.url, "one", KEYS, config, lambda _: None) as heart:
        await until(heart.steady)
        with heart._lock:  # no beat comes through
            await until(lambda: not heart.steady())
        woken = time.monotonic()
        await until(heart.steady)
        assert time.monotonic() - woken >= config.lease_seconds


def _idle_ms(asking: blocking.Redis) -> int:
    """How long the only lease has not been renewed."""
    pending: Any = asking.xpending_range(KEYS.jobs, GROUP, "-", "+", 1)
    return int(pending[0]["time_since_delivered"])


async def test_consumers_without_jobs_are_forgotten_and_those_with_jobs_are_not(redis: Redis) -> None:
    one, other = await stores(redis)
    await JobQueue(redis).submit(problems(1))
    await one.read(1, 0.1)
    await other.read(1, 0.01)
    await one.deregister()
    await other.deregister()
    consumers = await redis.xinfo_consumers(KEYS.jobs, "workers")
    assert [consumer["name"] for consumer in consumers] == [b"one"]


async def test_of_a_job_that_redis_has_lost_nothing_is_left_at_its_end(redis: Redis) -> None:
    one, _ = await stores(redis)
    (job,) = (await JobQueue(redis).submit(problems(1), key="mine")).job_ids
    (lease,) = await one.read(1, 0.1)
    await one.start(lease)
    await redis.delete(KEYS.job(job))
    with pytest.raises(LeaseLostError):
        await one.finish(lease, RESULT)
    assert not await redis.exists(KEYS.job(job))
    assert await redis.xlen(KEYS.jobs) == 0
