"""A queue that another version of Espalier has written is refused, not misread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from espalier.solver.batch.keys import Keys
from espalier.solver.batch.queue import JobQueue
from espalier.solver.batch.scripts import FORMAT, QueueFormatError
from tests.solver.batch.server import RedisServer
from tests.solver.batch.working import NoWork, ended, problems, working

if TYPE_CHECKING:
    from redis.asyncio import Redis

KEYS = Keys()
NEWER = str(FORMAT + 1)


async def test_who_uses_a_queue_first_says_in_which_format(redis: Redis) -> None:
    await JobQueue(redis).submit(problems(1))
    assert await redis.get(KEYS.format) == str(FORMAT).encode()


async def test_nothing_of_another_format_is_changed(redis: Redis) -> None:
    queue = JobQueue(redis)
    (job,) = (await queue.submit(problems(1), key="mine")).job_ids
    batch = await queue.batch("mine")
    await redis.set(KEYS.format, NEWER)
    before = await redis.hgetall(KEYS.job(job))
    for change in (
        queue.check_format(),
        queue.submit(problems(1)),
        queue.cancel(job),
        queue.cancel_batch(batch),
        queue.files.add("", "in.jsonl", "batch", b"x"),
        queue.repair(),
    ):
        with pytest.raises(QueueFormatError, match=f"in format {NEWER}, and this version of Espalier reads"):
            await change
    assert await redis.hgetall(KEYS.job(job)) == before
    assert len(await redis.keys("*:job:*")) == 1


async def test_a_queue_in_which_nothing_is_left_takes_the_format_of_who_comes(redis: Redis) -> None:
    queue = JobQueue(redis)
    await redis.set(KEYS.format, NEWER)
    await queue.check_format()
    await queue.submit(problems(1))
    assert await redis.get(KEYS.format) == str(FORMAT).encode()


async def test_a_worker_ends_where_the_format_has_changed(redis: Redis, server: RedisServer) -> None:
    (job,) = (await JobQueue(redis).submit(problems(1))).job_ids
    with pytest.raises(QueueFormatError):
        async with working(server, NoWork()) as worker:
            await ended(redis, job)
            await redis.set(KEYS.format, NEWER)
    assert worker.name
