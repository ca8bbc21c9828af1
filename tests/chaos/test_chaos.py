"""Kill -9, dead and silent Redis, fatal jobs, drains: every job ends exactly once and nothing kept is done again.

Real redis-server and worker processes; the engine is scripted, because the model does not matter here.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from espalier.solver.batch.connection import connect, wait_out_outage
from espalier.solver.batch.queue import JobQueue
from espalier.v1 import common_pb2
from espalier.v1 import solver_pb2 as pb
from tests.chaos.conftest import FULL, LEASE
from tests.chaos.crew import Crew, done_again
from tests.chaos.worker import FATAL
from tests.solver.batch.server import RedisServer

JOBS = 200 if FULL else 30
KILLS = 24 if FULL else 3
SILENCE = LEASE + (5.0 if FULL else 1.5)
CANDIDATES = 3
SETTINGS = pb.Settings(policy="best_of_k", k=CANDIDATES)
END_SECONDS = 480.0
"""What takes longer hangs."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


async def test_killed_workers_lose_nothing_and_repeat_nothing(
    own_server: RedisServer, tmp_path: Path, rng: Random
) -> None:
    points = sorted(rng.sample(range(5, JOBS), KILLS))
    plan = [(point, rng.sample(range(3), 3), rng.uniform(0, 0.3)) for point in points]
    print("kills as (candidates stored, the first busy one of these workers, seconds later):", plan)
    async with queue_on(own_server) as queue:
        with Crew(own_server.url, tmp_path / "log", seconds=1.5 if FULL else 1.0) as crew:
            await crew.ready()
            jobs = await submit(queue, JOBS)
            for point, order, later in plan:
                await asyncio.wait_for(crew.reach(point), END_SECONDS)
                await asyncio.sleep(later)
                victim = await asyncio.wait_for(crew.busy(order), END_SECONDS)
                assert (await queue.depth()).pending > 0
                crew.kill(victim)
            await check_all(queue, jobs, crew)
            assert sum(crew.counts("deliver").values()) > len(jobs)  # what was killed was at work


async def test_a_restart_of_redis_loses_nothing_and_repeats_nothing(
    own_server: RedisServer, tmp_path: Path, rng: Random
) -> None:
    """Killed and started again on its append-only file; `appendfsync always`, so that all it confirmed is in it.

    Leases run out meanwhile; still no worker takes the job of a worker that is alive.
    """
    points = sorted(rng.sample(range(5, JOBS // 2), 3 if FULL else 1))
    print("restarts at candidates stored:", points)
    async with queue_on(own_server) as queue:
        with Crew(own_server.url, tmp_path / "log") as crew:
            await crew.ready()
            jobs = await submit(queue, JOBS)
            for point in points:
                await asyncio.wait_for(crew.reach(point), END_SECONDS)
                own_server.kill()
                await asyncio.sleep(LEASE + rng.uniform(0.2, 1.5))
                own_server.start()
            await check_all(queue, jobs, crew)
            assert set(crew.counts("deliver").values()) == {1}


async def test_a_silent_redis_is_waited_for(own_server: RedisServer, tmp_path: Path, rng: Random) -> None:
    """Solves go on meanwhile, as far as they get without storing; afterwards no worker takes the job of another."""
    point = rng.randrange(5, JOBS // 2)
    print("silence at candidates stored:", point)
    async with queue_on(own_server) as queue:
        with Crew(own_server.url, tmp_path / "log") as crew:
            await crew.ready()
            jobs = await submit(queue, JOBS)
            await asyncio.wait_for(crew.reach(point), END_SECONDS)
            own_server.freeze()
            try:
                await asyncio.sleep(SILENCE)
            finally:
                own_server.thaw()
            await check_all(queue, jobs, crew)
            assert set(crew.counts("deliver").values()) == {1}


async def test_poison_ends_in_the_dead_letters_and_stops_nobody(
    own_server: RedisServer, tmp_path: Path, rng: Random
) -> None:
    async with queue_on(own_server) as queue:
        jobs = await submit(queue, JOBS // 3)
        (fatal,) = (await queue.submit([common_pb2.Problem(id="fatal", text=FATAL)])).job_ids
        more = await submit(queue, JOBS // 3)
        with Crew(own_server.url, tmp_path / "log", deliveries=3) as crew:
            watching = asyncio.create_task(ended(queue, fatal))
            async with asyncio.timeout(END_SECONDS):
                while not watching.done():
                    await asyncio.sleep(0.05)
                    crew.replace_the_dead()
            dead = watching.result().status
            await check_all(queue, [*jobs, *more], crew)
            assert crew.counts("deliver")[fatal] == crew.replaced == 3
        assert dead.state == pb.JOB_STATE_DEAD
        assert "delivered 3 times" in dead.reason
        (dead,) = await queue.dead_jobs()
        assert dead.job.problem.text == FATAL


async def test_a_drain_ends_what_runs_and_takes_nothing_new(
    own_server: RedisServer, tmp_path: Path, rng: Random
) -> None:
    point = rng.randrange(5, JOBS // 2)
    print("drain at candidates stored:", point)
    async with queue_on(own_server) as queue:
        with Crew(own_server.url, tmp_path / "first") as crew:
            await crew.ready()
            jobs = await submit(queue, JOBS)
            await asyncio.wait_for(crew.reach(point), END_SECONDS)
            for number in range(crew.size):
                crew.signal(number, signal.SIGTERM)
            assert await crew.left() == [0, 0, 0]
            begun, solved = crew.counts("deliver"), crew.counts("solved")
        assert begun == solved
        depth = await queue.depth()
        assert (depth.pending, depth.lag) == (0, JOBS - len(solved))
        with Crew(own_server.url, tmp_path / "second") as crew:
            await asyncio.gather(*(ended(queue, job) for job in jobs))
            assert set(crew.counts("deliver").values()) <= {1}
            assert not begun.keys() & crew.counts("deliver").keys()


async def test_a_worker_that_wakes_up_after_its_lease_is_fenced_off(
    own_server: RedisServer, tmp_path: Path, rng: Random
) -> None:
    point, sleeper = rng.randrange(5, JOBS // 2), rng.randrange(3)
    print("worker", sleeper, "sleeps at candidates stored:", point)
    async with queue_on(own_server) as queue:
        with Crew(own_server.url, tmp_path / "log", seconds=0.5) as crew:
            await crew.ready()
            jobs = await submit(queue, JOBS)
            await asyncio.wait_for(crew.reach(point), END_SECONDS)
            async with asyncio.timeout(END_SECONDS):
                await crew.taken_over(await crew.stop_at_work(sleeper), sleeper)
            crew.signal(sleeper, signal.SIGCONT)
            await check_all(queue, jobs, crew, overlap=True)


@asynccontextmanager
async def queue_on(server: RedisServer) -> AsyncIterator[JobQueue]:
    async with connect(server.url) as redis:
        yield JobQueue(redis)


async def submit(queue: JobQueue, count: int) -> Sequence[str]:
    check = common_pb2.Check(reference=common_pb2.ReferenceCheck(answer="0"))
    problems = [common_pb2.Problem(id=str(i), text=f"Problem {i}", check=check) for i in range(count)]
    return (await queue.submit(problems, SETTINGS)).job_ids


async def ended(queue: JobQueue, job: str) -> pb.GetJobResponse:
    async for _ in queue.watch(job):
        pass
    return await wait_out_outage(lambda: queue.get(job))


async def check_all(queue: JobQueue, jobs: Sequence[str], crew: Crew, *, overlap: bool = False) -> None:
    """Every job has ended once with all that was stored of it, and nothing that was kept was done again.

    Args:
        queue: Of the jobs.
        jobs: All of them.
        crew: Who works on them.
        overlap: Whether an old owner may still work, in vain, while the new one does.
    """
    async with asyncio.timeout(END_SECONDS):
        results = await asyncio.gather(*(ended(queue, job) for job in jobs))
    assert [result.status.state for result in results] == [pb.JOB_STATE_DONE] * len(jobs)
    for job in jobs:
        states = [event.status.state async for event in queue.watch(job) if event.HasField("status")]
        assert states.count(pb.JOB_STATE_DONE) == 1
    depth = await queue.depth()
    assert depth.total == 0
    lines = crew.lines()
    answers = [candidate.answer for result in results for candidate in result.result.candidates if candidate.answer]
    assert len(answers) == len(set(answers))
    stored = {line.whom for line in lines if line.what in ("stored", "judged")}
    assert stored <= set(answers)
    if not overlap:
        assert done_again(lines, "generate", "stored") == []
        assert done_again(lines, "judge", "judged") == []
