"""Workers on a real Redis: nothing lost, nothing twice, and everything comes to an end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from espalier.runtime.engine import EngineUnavailable, GenerateRequest
from espalier.solver.batch.config import QueueConfig
from espalier.solver.batch.connection import connect
from espalier.solver.batch.handler import JobRefusedError
from espalier.solver.batch.keys import Keys
from espalier.solver.batch.lease.store import LeaseStore
from espalier.solver.batch.queue import JobQueue
from espalier.solver.batch.worker import Worker
from espalier.solver.core.journal import Entry
from espalier.solver.core.program_evidence import FIRST_INDEX
from espalier.solver.session.metrics import SolverMetrics
from espalier.v1 import common_pb2
from espalier.v1 import solver_pb2 as pb
from tests.solver.batch.server import RedisServer
from tests.solver.batch.working import CONFIG, NoWork, ended, problems, solving, until, working
from tests.solver.scripted import FAIL, PASS, ScriptedEngine, ScriptedJudge, boxed, response

if TYPE_CHECKING:
    from redis.asyncio import Redis

CHECKED = common_pb2.Problem(
    id="p", text="What is 6 times 7?", check=common_pb2.Check(reference=common_pb2.ReferenceCheck(answer="42"))
)
FOUR = pb.Settings(policy="best_of_k", k=4, seed=1)


async def test_a_problem_comes_back_solved_with_its_progress(redis: Redis, server: RedisServer) -> None:
    queue = JobQueue(redis)
    (job,) = (await queue.submit([CHECKED], FOUR)).job_ids
    async with working(server, solving(ScriptedEngine.of(response(boxed("41"), "x", answer=boxed("42"))))):
        done = await ended(redis, job)
    assert (done.status.state, done.status.attempts) == (pb.JOB_STATE_DONE, 1)
    assert (done.result.outcome, done.result.answer) == (pb.SolveResponse.OUTCOME_VERIFIED, "42")
    assert done.status.submitted <= done.status.started <= done.status.finished
    events = [event async for event in queue.watch(job)]
    kinds = [event.solve.WhichOneof("kind") or pb.JobState.Name(event.status.state) for event in events]
    assert kinds[:3] == ["JOB_STATE_QUEUED", "JOB_STATE_RUNNING", "accepted"]
    assert kinds[-1] == "JOB_STATE_DONE"
    assert {"candidate_started", "branch_opened", "answer_judged", "candidate_finished"} <= set(kinds)
    assert not {"delta", "solved"} & set(kinds)


async def test_no_more_jobs_are_held_than_there_are_slots(redis: Redis, server: RedisServer) -> None:
    queue = JobQueue(redis)
    jobs = (await queue.submit(problems(10))).job_ids
    go, running, most = asyncio.Event(), 0, 0

    async def wait(job: pb.Job) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await go.wait()
        running -= 1

    work = NoWork(wait)
    async with working(server, work, slots=3):
        await until(lambda: len(work.seen) == 3)
        await asyncio.sleep(0.2)
        assert (await queue.depth()).pending == 3
        go.set()
        for job in jobs:
            await ended(redis, job)
    assert most == 3
    assert sorted(work.seen) == sorted(jobs)


async def test_a_redelivered_job_generates_and_judges_only_what_is_missing(redis: Redis, server: RedisServer) -> None:
    """A first worker stores two candidates, one of them judged, and is never heard of again."""
    queue = JobQueue(redis)
    (job,) = (await queue.submit([CHECKED], FOUR)).job_ids
    made = ScriptedEngine.of(boxed("41"), boxed("40"), boxed("39"), boxed("38"))
    entries = await _first_half(redis, made)
    assert [entry.verdict is None for entry in entries] == [False, True]
    engine, judge = ScriptedEngine.of(boxed("42")), ScriptedJudge({"42": PASS, "41": FAIL, "40": FAIL})
    async with working(server, solving(engine, judge)):
        done = await ended(redis, job)
    assert (done.status.attempts, done.result.answer) == (2, "42")
    assert {request.sampling.seed for request in engine.requests} == {
        request.sampling.seed for request in made.requests[2:]
    }
    assert judge.asked == Counter({"40": 1, "42": 1})
    assert [candidate.answer for candidate in done.result.candidates] == ["41", "40", "42", "42"]


async def test_a_redelivered_job_writes_no_test_again_that_it_has_stored(redis: Redis, server: RedisServer) -> None:
    """A first worker stores the tests of one response and two programs, and is never heard of again."""

    def script(request: GenerateRequest, number: int) -> str:
        tests = "/tests/" in request.request_id
        return f"assert f({number}) == {number}" if tests else f"```python\ndef f(x):\n    return x + {number}\n```"

    queue = JobQueue(redis)
    problem = common_pb2.Problem(id="p", text="Write f.")
    settings = pb.Settings(policy="best_of_k", k=4, seed=1, generated_tests=10)
    (job,) = (await queue.submit([problem], settings)).job_ids
    made = ScriptedEngine(script)
    entries = await _first_half(redis, made, lambda index: index < 2 or index == FIRST_INDEX)
    assert sorted(entry.candidate.spec.index for entry in entries) == [0, 1, FIRST_INDEX]
    engine = ScriptedEngine(script)
    async with working(server, solving(engine)):
        done = await ended(redis, job)
    assert (done.status.state, done.status.attempts) == (pb.JOB_STATE_DONE, 2)
    written, missing = ([one for one in each.requests if "/tests/" in one.request_id] for each in (made, engine))
    assert (len(written), len(missing)) == (2, 1)
    assert missing[0].sampling.seed in {one.sampling.seed for one in written}
    assert len(engine.requests) == 1 + 2
    assert [candidate.spec.index for candidate in done.result.candidates] == [0, 1, 2, 3]


async def _first_half(
    redis: Redis, engine: ScriptedEngine, kept: Callable[[int], bool] = lambda index: index < 2
) -> tuple[Entry, ...]:
    leases = LeaseStore(redis, "gone", Keys(), CONFIG)
    await leases.register()
    (lease,) = await leases.read(1, 1.0)
    delivery = await leases.start(lease)

    class Half:
        async def generated(self, candidate: Any) -> None:
            if kept(candidate.spec.index):
                await leases.store(lease, Entry(candidate))

        async def judged(self, candidate: Any, verdict: Any) -> None:
            if candidate.spec.index == 0:
                await leases.store(lease, Entry(candidate, verdict))

    await solving(engine)(delivery.job, lambda _: None, Half(), ())
    return (await leases.start(lease)).entries


async def test_a_cancelled_job_is_aborted_in_the_engine_at_once(redis: Redis, server: RedisServer) -> None:
    queue = JobQueue(redis)
    (job,) = (await queue.submit([CHECKED], FOUR)).job_ids
    engine = ScriptedEngine.of(None)
    async with working(server, solving(engine), config=QueueConfig(lease_seconds=60)):
        await engine.busy.wait()
        assert (await queue.cancel(job)).state == pb.JOB_STATE_CANCELLED
        await until(lambda: not engine.running, 15.0)  # the next heartbeat is 20 s away
    assert (await queue.get(job)).status.state == pb.JOB_STATE_CANCELLED
    assert (await queue.depth()).total == 0


async def test_a_cancel_that_nobody_hears_is_noticed_by_the_heartbeat(redis: Redis, server: RedisServer) -> None:
    queue = JobQueue(redis)
    (job,) = (await queue.submit([CHECKED], FOUR)).job_ids
    engine = ScriptedEngine.of(None)
    async with working(server, solving(engine)) as worker:
        await engine.busy.wait()
        worker._cancelled = lambda job: None  # type: ignore[method-assign]  # the message is lost
        await queue.cancel(job)
        await until(lambda: not engine.running)


async def test_a_job_that_can_never_be_done_is_given_up_at_once(redis: Redis, server: RedisServer) -> None:
    queue = JobQueue(redis)
    (job,) = (await queue.submit([CHECKED], pb.Settings(policy="guesswork"))).job_ids
    async with working(server, solving(ScriptedEngine.of(boxed("42")))):
        dead = await ended(redis, job)
    assert (dead.status.state, dead.status.attempts) == (pb.JOB_STATE_DEAD, 1)
    assert "settings.policy" in dead.status.reason


async def test_a_job_that_fails_is_tried_again_up_to_the_maximum(redis: Redis, server: RedisServer) -> None:
    queue = JobQueue(redis)
    (job,) = (await queue.submit(problems(1))).job_ids

    async def fail(_: pb.Job) -> None:
        raise RuntimeError("the moon is full")

    work = NoWork(fail)
    async with working(server, work):
        dead = await ended(redis, job)
    assert len(work.seen) == CONFIG.max_deliveries
    assert dead.status.state == pb.JOB_STATE_DEAD
    assert "the moon is full" in dead.status.reason
    (dead,) = await queue.dead_jobs()
    assert "the moon is full" in dead.error


async def test_a_failed_job_succeeds_later_and_keeps_no_reason(redis: Redis, server: RedisServer) -> None:
    queue = JobQueue(redis)
    (job,) = (await queue.submit(problems(1))).job_ids

    async def fail_once(_: pb.Job) -> None:
        if len(work.seen) == 1:
            raise RuntimeError("not now")

    work = NoWork(fail_once)
    async with working(server, work):
        done = await ended(redis, job)
    assert (done.status.state, done.status.attempts, done.status.reason) == (pb.JOB_STATE_DONE, 2, "")


async def test_a_worker_whose_engine_is_gone_leaves_and_hands_its_jobs_back(redis: Redis, server: RedisServer) -> None:
    queue = JobQueue(redis)
    (job,) = (await queue.submit([CHECKED], FOUR)).job_ids
    with pytest.raises(EngineUnavailable):
        async with asyncio.timeout(60), working(server, solving(ScriptedEngine.of(boxed("42"), fails_after=3))):
            async for event in queue.watch(job):
                if event.status.reason:
                    break
    assert (await queue.get(job)).status.state == pb.JOB_STATE_QUEUED
    async with working(server, solving(ScriptedEngine.of(boxed("42")))):
        assert (await ended(redis, job)).result.answer == "42"


async def test_a_stop_lets_running_jobs_end_and_takes_no_new_ones(redis: Redis, server: RedisServer) -> None:
    queue = JobQueue(redis)
    go = asyncio.Event()
    jobs = (await queue.submit(problems(3))).job_ids
    work = NoWork(lambda _: go.wait())  # type: ignore[arg-type, return-value]
    async with working(server, work, slots=1):
        await until(lambda: bool(work.seen))
        asyncio.get_running_loop().call_later(0.3, go.set)
    assert (await queue.get(jobs[0])).status.state == pb.JOB_STATE_DONE
    assert work.seen == [jobs[0]]
    assert (await queue.depth()).lag == 2
    assert not await redis.xinfo_consumers(Keys().jobs, "workers")


async def test_what_does_not_end_within_the_grace_is_handed_back_uncounted(redis: Redis, server: RedisServer) -> None:
    queue = JobQueue(redis)
    (job,) = (await queue.submit([CHECKED], FOUR)).job_ids
    engine = ScriptedEngine.of(None)
    async with working(server, solving(engine), grace=0.1, config=QueueConfig(lease_seconds=60)):
        await engine.busy.wait()
    assert not engine.running
    status = (await queue.get(job)).status
    assert (status.state, status.attempts) == (pb.JOB_STATE_QUEUED, 0)
    async with working(server, solving(ScriptedEngine.of(boxed("42")))):
        assert (await ended(redis, job)).status.attempts == 1


async def test_a_redelivered_job_is_handed_back_like_any_other(redis: Redis, server: RedisServer) -> None:
    """It has more candidates that have ended than it has begun: neither its counts nor its handing back may fail."""
    queue = JobQueue(redis)
    (job,) = (await queue.submit([CHECKED], pb.Settings(policy="best_of_k", k=3))).job_ids
    await _first_half(redis, ScriptedEngine.of(boxed("41"), boxed("40"), boxed("39")))
    engine = ScriptedEngine.of(None)
    async with working(server, solving(engine), grace=0.0):
        finished = 0
        async for event in queue.watch(job):
            finished += event.solve.HasField("candidate_finished")
            if finished == 2:
                break
        await engine.busy.wait()
    status = (await queue.get(job)).status
    assert (status.state, status.attempts, status.reason) == (pb.JOB_STATE_QUEUED, 1, "")


async def test_a_suspect_runs_alone(redis: Redis, server: RedisServer) -> None:
    """Jobs that were delivered often may kill workers: they take no innocent along."""
    queue = JobQueue(redis)
    suspect = (await queue.submit(problems(1))).job_ids[0]
    for consumer in ("one", "two"):
        leases = LeaseStore(redis, consumer, Keys(), QueueConfig(lease_seconds=0.001))
        await leases.register()
        await asyncio.sleep(0.01)
        assert await leases.read(1, 0.01) or await leases.claim_expired(1)
    others = (await queue.submit(problems(4), key="others")).job_ids
    running: set[str] = set()
    together: list[set[str]] = []

    async def note(job: pb.Job) -> None:
        running.add(job.id)
        together.append(set(running))
        await asyncio.sleep(0.3)
        running.discard(job.id)

    async with working(server, NoWork(note)):
        for job in (suspect, *others):
            await ended(redis, job)
    assert max(map(len, together)) > 1
    assert [group for group in together if suspect in group] == [{suspect}]


async def test_a_job_is_finished_through_an_outage_of_redis(own_server: RedisServer) -> None:
    """Redis dies while a solve runs and comes back later: the result is written then."""
    started, go = asyncio.Event(), asyncio.Event()

    async def hold(_: pb.Job) -> None:
        started.set()
        await go.wait()

    work = NoWork(hold)
    async with connect(own_server.url) as client:
        queue = JobQueue(client)
        (job,) = (await queue.submit(problems(1))).job_ids
        async with working(own_server, work):
            await started.wait()
            own_server.kill()
            go.set()
            await asyncio.sleep(2.5)
            own_server.start()
            done = await ended(client, job)
    assert (done.status.state, done.status.attempts) == (pb.JOB_STATE_DONE, 1)
    assert len(work.seen) == 1


async def test_a_lost_consumer_group_is_made_again(redis: Redis, server: RedisServer) -> None:
    async with working(server, NoWork()):
        await asyncio.sleep(0.1)
        await redis.flushall()
        (job,) = (await JobQueue(redis).submit(problems(1))).job_ids
        assert (await ended(redis, job)).status.state == pb.JOB_STATE_DONE


async def test_workers_need_a_slot(server: RedisServer) -> None:
    async with connect(server.url) as client:
        with pytest.raises(ValueError, match="slots"):
            Worker(client, server.url, NoWork(), slots=0)


async def test_refused_work_says_why(redis: Redis, server: RedisServer) -> None:
    async def refuse(_: pb.Job) -> None:
        raise JobRefusedError("too long")

    (job,) = (await JobQueue(redis).submit(problems(1))).job_ids
    async with working(server, NoWork(refuse)):
        assert (await ended(redis, job)).status.reason == "too long"


async def test_what_becomes_of_deliveries_is_counted(redis: Redis, server: RedisServer) -> None:
    queue, metrics = JobQueue(redis), SolverMetrics()
    done, failed, cancelled = (await queue.submit(problems(3))).job_ids
    started = asyncio.Event()

    async def work(job: pb.Job) -> None:
        if job.id == failed:
            raise RuntimeError("the moon is full")
        if job.id == cancelled:
            started.set()
            await asyncio.Event().wait()

    patient = replace(CONFIG, lease_seconds=4.0)  # no lease ends because the machine is busy: that would count, too
    async with working(server, NoWork(work), metrics=metrics, config=patient):
        await ended(redis, done)
        await started.wait()
        await queue.cancel(cancelled)
        await ended(redis, cancelled)
        await until(lambda: _counted(metrics, "espalier_jobs_total", outcome="lost") == 1)
        await ended(redis, failed)
    assert _counted(metrics, "espalier_jobs_total", outcome="done") == 1
    assert _counted(metrics, "espalier_jobs_total", outcome="retried") == CONFIG.max_deliveries - 1
    assert _counted(metrics, "espalier_jobs_total", outcome="dead") == 1
    assert _counted(metrics, "espalier_wait_seconds_count", queue="jobs") == 3


def _counted(metrics: SolverMetrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0.0
