"""Whose turn it is: callers take turns, and so do the batches of a caller; a small batch is not behind a large one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier.solver.batch.batches import BatchInfo
from espalier.solver.batch.config import QueueConfig
from espalier.solver.batch.connection import connect
from espalier.solver.batch.keys import Keys, batch_of
from espalier.solver.batch.lease.store import LeaseStore
from espalier.solver.batch.limits import OverLimitError, QueueLimits
from espalier.solver.batch.queue import JobQueue
from espalier.v1 import solver_pb2 as pb
from tests.budget import examples
from tests.solver.batch.server import RedisServer
from tests.solver.batch.working import NoWork, ended, problems, until, working

if TYPE_CHECKING:
    from redis.asyncio import Redis

CONFIG = QueueConfig(lease_seconds=60.0)
AHEAD = 1
"""Jobs that are put into the stream before their turn is asked for."""

Submission = tuple[str, int, int]
"""Caller, jobs, priority."""

submissions = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 6), st.integers(-1, 1)), min_size=1, max_size=6)


async def submit(queue: JobQueue, key: str, count: int, caller: str = "", priority: int = 0) -> str:
    info = BatchInfo(caller=caller, priority=priority)
    return (await queue.submit(problems(count), key=key, info=info)).batch_id


async def take(leases: LeaseStore, count: int) -> list[str]:
    """Ids of this many jobs, in the order in which they are delivered one by one; fewer when there are no more."""
    taken: list[str] = []
    while len(taken) < count and (lease := await leases.read(1, 0.001)):
        taken.append(lease[0].job)
    return taken


async def worker(redis: Redis) -> LeaseStore:
    leases = LeaseStore(redis, "w", Keys(), CONFIG)
    await leases.register()
    return leases


def on_redis(server: RedisServer, test: Callable[[Redis], Awaitable[None]]) -> None:
    async def run() -> None:
        async with connect(server.url, retries=0) as redis:
            await redis.flushall()
            await test(redis)

    asyncio.run(run())


async def test_a_small_batch_is_not_behind_a_large_one(redis: Redis) -> None:
    queue, leases = JobQueue(redis), await worker(redis)
    await submit(queue, "large", 500)
    await take(leases, 10)
    small = await submit(queue, "small", 3)
    taken = await take(leases, 2 * 3 + AHEAD)
    assert [batch_of(job) for job in taken].count(small) == 3


async def test_a_caller_with_many_batches_gets_no_more_than_one_with_a_single_one(redis: Redis) -> None:
    queue, leases = JobQueue(redis), await worker(redis)
    many = {await submit(queue, str(number), 20, "alice") for number in range(10)}
    one = await submit(queue, "one", 20, "bob")
    taken = Counter(batch_of(job) for job in await take(leases, 20))
    assert abs(taken[one] - sum(taken[batch] for batch in many)) <= 1 + AHEAD


async def test_a_caller_that_submits_one_by_one_gets_no_more_than_its_turns(redis: Redis) -> None:
    """Whoever comes back again and again with something small does not pass those who wait."""
    queue, leases = JobQueue(redis), await worker(redis)
    large = await submit(queue, "large", 50, "bob")
    taken: list[str] = []
    for number in range(20):
        await submit(queue, str(number), 1, "alice")
        taken += await take(leases, 1)
    assert abs(20 - 2 * [batch_of(job) for job in taken].count(large)) <= 2 * (1 + AHEAD)


async def test_of_one_callers_jobs_those_of_higher_priority_come_first(redis: Redis) -> None:
    queue, leases = JobQueue(redis), await worker(redis)
    low = await submit(queue, "low", 4, "alice", -1)
    high = await submit(queue, "high", 4, "alice", 100)
    other = await submit(queue, "other", 4, "bob")
    taken = [batch_of(job) for job in await take(leases, 12)]
    assert Counter(taken) == {low: 4, high: 4, other: 4}
    assert low not in taken[AHEAD : 8 - AHEAD]  # whatever the priority, the other caller has its turns
    assert other in taken[: 2 + AHEAD]


@settings(max_examples=examples(0.4))
@given(made=submissions)
def test_everything_is_delivered_once_in_order_and_callers_take_turns(
    server: RedisServer, made: Sequence[Submission]
) -> None:
    async def test(redis: Redis) -> None:
        queue, leases = JobQueue(redis), await worker(redis)
        caller_of: dict[str, str] = {}
        left: Counter[str] = Counter()
        for number, (caller, count, priority) in enumerate(made):
            caller_of[await submit(queue, str(number), count, caller, priority)] = caller
            left[caller] += count
        depth = await queue.depth()
        assert (depth.lag, depth.pending) == (sum(left.values()), 0)
        taken = await take(leases, depth.lag + 1)
        assert len(taken) == len(set(taken)) == depth.lag
        for batch in caller_of:
            numbers = [int(job.rpartition("-")[2]) for job in taken if batch_of(job) == batch]
            assert numbers == list(range(len(numbers)))
        served: Counter[str] = Counter()
        for job in taken:
            caller = caller_of[batch_of(job)]
            served[caller] += 1
            waiting = [served[other] for other in left if served[other] < left[other]]
            assert not waiting or served[caller] - min(waiting) <= 1 + AHEAD
        assert await redis.zcard(Keys().waiting) == await redis.zcard(Keys().turns) == 0

    on_redis(server, test)


@settings(max_examples=examples(0.25))
@given(made=submissions, cancelled=st.sets(st.integers(0, 30)), takes=st.integers(0, 5))
def test_cancelled_jobs_are_never_delivered_wherever_they_are(
    server: RedisServer, made: Sequence[Submission], cancelled: set[int], takes: int
) -> None:
    async def test(redis: Redis) -> None:
        queue, leases = JobQueue(redis), await worker(redis)
        jobs: list[str] = []
        for number, (caller, count, priority) in enumerate(made):
            batch = await submit(queue, str(number), count, caller, priority)
            jobs += [f"{batch}-{one}" for one in range(count)]
        first = await take(leases, takes)
        gone = {job for number, job in enumerate(jobs) if number in cancelled}
        for job in gone:
            await queue.cancel(job)
        rest = await take(leases, len(jobs))
        assert sorted([*first, *rest]) == sorted(set(jobs) - (gone - set(first)))
        assert (await queue.depth()).lag == 0

    on_redis(server, test)


async def test_idle_workers_are_woken_as_long_as_a_job_waits(redis: Redis, server: RedisServer) -> None:
    """One entry of the stream at a time wakes one worker; none is left asleep while there is work."""
    gate, began = asyncio.Event(), Counter[str]()

    async def hold(job: pb.Job) -> None:
        began[job.id] += 1
        await gate.wait()

    one, other, large = (working(server, NoWork(hold), slots=slots) for slots in (1, 1, 2))
    async with one, other, large:
        await asyncio.sleep(0.1)
        jobs = (await JobQueue(redis).submit(problems(5))).job_ids
        await until(lambda: len(began) == 4)
        gate.set()
        for job in jobs:
            assert (await ended(redis, job)).status.state == pb.JOB_STATE_DONE
    assert set(began.values()) == {1}


async def test_a_revived_job_waits_for_its_turn_again(redis: Redis) -> None:
    queue, leases = JobQueue(redis), await worker(redis)
    batch = await submit(queue, "mine", 3, "alice")
    (lease,) = await leases.read(1, 0.1)
    await leases.start(lease)
    await leases.dead_letter(lease, "too hard")
    assert await queue.retry_dead() == 1
    assert sorted(await take(leases, 4)) == [f"{batch}-{number}" for number in range(3)]


@pytest.mark.parametrize("lost", ["turns", "turns:alice", "waiting"])
async def test_a_repair_brings_back_lost_turns(redis: Redis, lost: str) -> None:
    queue, leases = JobQueue(redis), await worker(redis)
    batch = await submit(queue, "mine", 4, "alice")
    assert await take(leases, 1) == [f"{batch}-0"]
    await redis.delete(f"{{espalier}}:{lost}")
    repaired = await queue.repair()
    assert (repaired.queued, repaired.gone) == (2, 0)  # one is in the stream already
    assert (await queue.repair()).queued == 0
    assert sorted(await take(leases, 9)) == [f"{batch}-{number}" for number in (1, 2, 3)]


async def test_no_two_jobs_wait_at_the_same_place_where_the_index_was_lost(redis: Redis) -> None:
    queue = JobQueue(redis)
    await submit(queue, "one", 3)
    await redis.delete(Keys().index)
    await submit(queue, "two", 3)
    waiting = await redis.zrange(Keys().waiting, 0, -1, withscores=True)
    assert len({place for _, place in waiting}) == len(waiting) == 5


async def test_jobs_that_an_older_version_queued_are_delivered(redis: Redis) -> None:
    """It put all of them into the stream at once."""
    queue, leases = JobQueue(redis), await worker(redis)
    batch = await submit(queue, "mine", 3)
    for number in (1, 2):
        job = f"{batch}-{number}"
        entry = await redis.xadd(Keys().jobs, {"id": job})
        await redis.hset(Keys().job(job), "entry", entry)
    await redis.delete(Keys().waiting, Keys().turns, f"{Keys().turns}:")
    assert (await queue.depth()).lag == 3
    assert await take(leases, 9) == [f"{batch}-{number}" for number in range(3)]


async def test_a_caller_has_no_more_jobs_in_the_queue_than_it_may(redis: Redis) -> None:
    queue, leases = JobQueue(redis), await worker(redis)
    alice, bob = BatchInfo(caller="alice"), BatchInfo(caller="bob")
    await queue.submit(problems(3), key="one", info=alice, limits=QueueLimits(jobs=4))
    with pytest.raises(OverLimitError, match="jobs: 3 are in the queue, and 4 may be"):
        await queue.submit(problems(2), key="two", info=alice, limits=QueueLimits(jobs=4))
    assert (await queue.depth()).total == 3
    await queue.submit(problems(3), key="one", info=alice, limits=QueueLimits(jobs=4))  # the same again is no more
    await queue.submit(problems(4), key="one", info=bob, limits=QueueLimits(jobs=4))
    (lease,) = await leases.read(1, 0.1)
    await leases.start(lease)  # running ones count, too
    with pytest.raises(OverLimitError):
        await queue.submit(problems(2), key="two", info=alice, limits=QueueLimits(jobs=4))
    await leases.finish(lease, pb.SolveResponse())
    await queue.submit(problems(2), key="two", info=alice, limits=QueueLimits(jobs=4))


async def open_jobs(redis: Redis) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = await redis.hgetall(Keys().open)
    return found


async def test_jobs_of_a_caller_are_counted_from_their_submission_to_their_end(redis: Redis) -> None:
    queue, leases = JobQueue(redis), await worker(redis)
    batch = await submit(queue, "mine", 4, "alice")
    await submit(queue, "nobodys", 4)
    await submit(queue, "theirs", 2, "bob")
    assert await open_jobs(redis) == {b"alice": b"4", b"bob": b"2"}
    await queue.cancel(f"{batch}-3")
    done, dead = [lease for lease in await leases.read(4, 0.1) if lease.job.startswith(batch)][:2]
    for lease in (done, dead):
        await leases.start(lease)
    await leases.finish(done, pb.SolveResponse())
    await leases.dead_letter(dead, "too hard")
    assert (await open_jobs(redis))[b"alice"] == b"1"
    await queue.retry_dead()
    await redis.delete(Keys().job(f"{batch}-3"))
    assert (await open_jobs(redis))[b"alice"] == b"2"
    await redis.delete(Keys().open)
    await queue.repair()
    assert await open_jobs(redis) == {b"alice": b"2", b"bob": b"2"}
    for name in ("mine", "theirs"):
        await queue.cancel_batch(await queue.batch(name, "alice" if name == "mine" else "bob"))
    assert not await open_jobs(redis)


async def test_the_cost_of_a_submission_does_not_grow_with_the_batches_of_its_caller(redis: Redis) -> None:
    """Redis serves nobody else meanwhile: a caller with ten thousand small batches would keep all others waiting."""
    queue = JobQueue(redis)

    async def commands(key: str) -> int:
        await redis.config_resetstat()
        await submit(queue, key, 1, "alice")
        return sum(one["calls"] for one in (await redis.info("commandstats")).values())

    await submit(queue, "first", 1, "alice")
    few = await commands("second")
    for number in range(20):
        await submit(queue, str(number), 1, "alice")
    assert await commands("last") == few


async def test_a_caller_pays_no_round_trip_for_each_batch_of_others(redis: Redis) -> None:
    queue = JobQueue(redis)
    mine = [await submit(queue, str(number), 1, "bob") for number in range(2)]
    for number in range(20):
        await submit(queue, str(number), 1, "alice")
    await redis.config_resetstat()
    (page,), token = await queue.batches(1, caller="bob")
    (rest,), last = await queue.batches(1, token, caller="bob")
    assert [page.id, rest.id] == mine[::-1]
    assert await queue.batches(1, last, caller="bob") == ([], "")
    assert (await redis.info("commandstats"))["cmdstat_zrevrangebyscore"]["calls"] <= 3
