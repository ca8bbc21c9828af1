"""Workers inside the test's process, on scripted work where the model does not matter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from espalier.solver.batch.config import QueueConfig
from espalier.solver.batch.connection import connect
from espalier.solver.batch.handler import JobHandler, SolveJobHandler
from espalier.solver.batch.queue import JobQueue
from espalier.solver.batch.worker import JobMetrics, Worker
from espalier.solver.core.events import Observer
from espalier.solver.core.journal import Entry, Journal
from espalier.solver.core.loop import Solver
from espalier.solver.core.settings import ServerLimits
from espalier.solver.session.metrics import SolverMetrics
from espalier.solver.session.session import SolveSession
from espalier.v1 import common_pb2
from espalier.v1 import solver_pb2 as pb
from tests.solver.batch.server import RedisServer
from tests.solver.scripted import FAIL, PASS, ScriptedEngine, ScriptedJudge

if TYPE_CHECKING:
    from redis.asyncio import Redis

CONFIG = QueueConfig(lease_seconds=1.0, max_deliveries=3)


def problems(count: int) -> list[common_pb2.Problem]:
    return [common_pb2.Problem(id=str(number), text=f"What is {number} + 1?") for number in range(count)]


@dataclass
class NoWork:
    """Answers every problem with its text, without any engine; `before` is awaited first, with the job."""

    before: Callable[[pb.Job], Awaitable[None]] | None = None
    seen: list[str] = field(default_factory=list)

    async def __call__(
        self, job: pb.Job, observer: Observer, journal: Journal, entries: Sequence[Entry]
    ) -> pb.SolveResponse:
        self.seen.append(job.id)
        if self.before is not None:
            await self.before(job)
        return pb.SolveResponse(solve_id=job.id, answer=job.problem.text)


def solving(engine: ScriptedEngine, judge: ScriptedJudge | None = None) -> SolveJobHandler:
    """What a worker does with a job: solve it on this engine, by these verdicts."""
    judge = judge or ScriptedJudge({"42": PASS, "41": FAIL, "40": FAIL, "39": FAIL})
    solver = Solver(engine, judge)
    return SolveJobHandler(SolveSession(solver, ServerLimits(candidate_tokens=1 << 16), SolverMetrics()))


@asynccontextmanager
async def working(
    server: RedisServer,
    work: JobHandler,
    *,
    slots: int = 4,
    grace: float = 5.0,
    config: QueueConfig = CONFIG,
    metrics: JobMetrics | None = None,
) -> AsyncIterator[Worker]:
    """A worker that runs meanwhile, and drains at the end."""
    stop = asyncio.Event()
    async with connect(server.url, retries=0) as redis:
        worker = Worker(redis, server.url, work, slots=slots, grace=grace, config=config, metrics=metrics)
        running = asyncio.create_task(worker.run(stop))
        try:
            yield worker
        finally:
            stop.set()
            await running


async def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for what no event tells of."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def ended(redis: Redis, job: str, seconds: float = 60.0) -> pb.GetJobResponse:
    """The job, once it has ended."""
    queue = JobQueue(redis)
    async with asyncio.timeout(seconds):
        async for _ in queue.watch(job):
            pass
    return await queue.get(job)
