"""The queue as the pages are told of it, over a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from espalier.solver.batch.handler import JobRefusedError
from espalier.solver.batch.queue import JobQueue
from espalier.v1 import common_pb2
from espalier.v1 import solver_pb2 as pb
from tests.solver.batch.server import RedisServer
from tests.solver.batch.working import CONFIG, NoWork, ended, problems, working
from tests.solver.scripted import ScriptedEngine
from tests.solver.viewer.paging import Paged, paged

if TYPE_CHECKING:
    from redis.asyncio import Redis


async def refuse(_: pb.Job) -> None:
    raise JobRefusedError("no worker can do this")


async def told(
    pages: Paged, holds: Callable[[dict[str, Any]], bool] = lambda _: True, last: str = ""
) -> tuple[str, dict[str, Any]]:
    """How the queue stands, as soon as that holds."""
    async for number, _, data in pages.events("queue/events", last):
        if holds(data):
            return number, data
    raise AssertionError


async def told_of_job(pages: Paged, job: str, last: str = "") -> list[tuple[str, dict[str, Any]]]:
    return [
        (number, data[0]) async for number, name, data in pages.events(f"jobs/{job}/events", last) if name == "message"
    ]


async def test_depth_workers_batches_jobs_and_dead_letters_are_told(redis: Redis, server: RedisServer) -> None:
    queue = JobQueue(redis, config=CONFIG)
    async with paged(ScriptedEngine.of("x"), queue=queue) as pages:
        (job,) = (await queue.submit(problems(1), key="monday")).job_ids
        _, waiting = await told(pages)
        assert waiting["depth"] == {"lag": 1, "pending": 0, "dead": 0}
        assert waiting["workers"] == []
        async with working(server, NoWork(before=refuse)):
            _, dead = await told(pages, lambda data: bool(data["dead"]))
            assert [worker["silent"] for worker in dead["workers"]] == [False]
        (entry,) = dead["dead"]
        assert (entry["id"], entry["text"]) == (job, "What is 0 + 1?")
        assert "no worker can do this" in entry["reason"]
        assert dead["batches"] == [
            {"id": job.rpartition("-")[0], "key": "monday", "jobs": 1, "gone": 0, "states": {"dead": 1}}
        ]
        assert (await pages.client.post("/ui/api/dead", json={"jobs": [job]})).json() == {"queued": 1}
        async with working(server, NoWork()):
            _, after = await told(pages, lambda data: data["jobs"][0]["state"] == "done")
        assert after["depth"]["dead"] == 0


async def test_running_jobs_come_first_and_every_batch_is_told(redis: Redis, server: RedisServer) -> None:
    queue = JobQueue(redis, config=CONFIG)
    release = asyncio.Event()

    async def wait(_: pb.Job) -> None:
        await release.wait()

    (first,) = (await queue.submit(problems(1), key="small")).job_ids
    async with paged(ScriptedEngine.of("x"), queue=queue) as pages, working(server, NoWork(wait), slots=1):
        await told(pages, lambda data: data["depth"]["pending"] == 1)
        for number in range(12):
            await queue.submit(problems(20), key=f"large {number}")
        _, seen = await told(pages, lambda data: len(data["batches"]) == 13)
        assert (seen["jobs"][0]["id"], seen["jobs"][0]["state"]) == (first, "running")
        assert [batch["key"] for batch in seen["batches"]] == [*(f"large {n}" for n in reversed(range(12))), "small"]
        for batch in (await queue.batches())[0]:
            for job in batch.jobs:
                await queue.cancel(job)
        release.set()


async def test_a_watcher_that_knows_how_the_queue_stands_is_told_only_when_it_changes(redis: Redis) -> None:
    queue = JobQueue(redis, config=CONFIG)
    async with paged(ScriptedEngine.of("x"), queue=queue) as pages:
        known, _ = await told(pages)
        news = asyncio.create_task(told(pages, last=known))
        await queue.submit(problems(2))
        number, data = await news
        assert number != known
        assert data["depth"]["lag"] == 2


async def test_an_idle_worker_is_not_silent(redis: Redis, server: RedisServer) -> None:
    async with working(server, NoWork()):
        (job,) = (await JobQueue(redis).submit(problems(1))).job_ids
        await ended(redis, job)
        await asyncio.sleep(2.5 * CONFIG.lease_seconds)
        assert [worker.silent for worker in await JobQueue(redis, config=CONFIG).workers()] == [False]


async def test_a_job_is_told_as_a_solve_and_goes_on_behind_an_event(redis: Redis, server: RedisServer) -> None:
    queue = JobQueue(redis, config=CONFIG)
    async with paged(ScriptedEngine.of("x"), queue=queue) as pages:
        (job,) = (await queue.submit([common_pb2.Problem(text="What is 6 times 7?")])).job_ids
        async with working(server, NoWork()):
            whole = await told_of_job(pages, job)
        states = [entry["status"]["state"] for _, entry in whole if "status" in entry]
        assert states == ["queued", "running", "done"]
        assert whole[-1][1]["solved"]["answer"] == "What is 6 times 7?"
        assert await told_of_job(pages, job, whole[0][0]) == whole[1:]


async def test_a_queued_job_can_be_cancelled(redis: Redis) -> None:
    queue = JobQueue(redis, config=CONFIG)
    async with paged(ScriptedEngine.of("x"), queue=queue) as pages:
        (job,) = (await queue.submit(problems(1))).job_ids
        assert (await pages.client.delete(f"/ui/api/jobs/{job}")).status_code == 204
        assert (await queue.get(job)).status.state == pb.JOB_STATE_CANCELLED


async def test_unknown_jobs_are_not_found(redis: Redis) -> None:
    async with paged(ScriptedEngine.of("x"), queue=JobQueue(redis)) as pages:
        assert (await pages.client.get("/ui/api/jobs/none/events")).status_code == 404
        assert (await pages.client.delete("/ui/api/jobs/none")).status_code == 404
        assert (await pages.client.post("/ui/api/dead", json={"jobs": "all"})).status_code == 400
