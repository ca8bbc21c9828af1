"""A worker process that tests kill. Its engine and judge are scripted; all that they do is noted in a log.

    python -m tests.chaos.worker URL LOG LEASE_SECONDS MAX_DELIVERIES SECONDS_PER_CANDIDATE KEEP_SECONDS

A line of the log is `nanoseconds pid what job-or-seed`. A candidate is known by its seed, which is its answer too.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from espalier.common.logging import configure_logging
from espalier.runtime.engine import Event, GenerateRequest
from espalier.solver.batch.config import QueueConfig
from espalier.solver.batch.handler import SolveJobHandler
from espalier.solver.batch.run import run_worker
from espalier.solver.core.candidate import Candidate
from espalier.solver.core.events import Observer
from espalier.solver.core.journal import Entry, Journal
from espalier.solver.core.loop import Solver
from espalier.solver.core.settings import ServerLimits
from espalier.solver.session.metrics import SolverMetrics
from espalier.solver.session.session import SolveSession
from espalier.v1 import solver_pb2 as pb
from espalier.verifiers.check import Check, Claim
from espalier.verifiers.verdict import Verdict
from tests.solver.scripted import FAIL, PASS, ScriptedEngine, ScriptedJudge, boxed

SLOTS = 4
GRACE = 120.0
"""Seconds that a drain waits for jobs, which take less than one: it ends when they have ended."""
FATAL = "fatal"
"""A problem with this text kills the worker that gets it."""


@dataclass(frozen=True, slots=True)
class Log:
    """Lines that survive a kill: each is one write to a file opened for appending."""

    file: int

    def note(self, what: str, whom: object) -> None:
        os.write(self.file, f"{time.monotonic_ns()} {os.getpid()} {what} {whom}\n".encode())


class NotedEngine(ScriptedEngine):
    """Answers with the seed of the request, after a while."""

    def __init__(self, log: Log, seconds: float) -> None:
        super().__init__(lambda request, _: boxed(str(request.sampling.seed)))
        self._log = log
        self._seconds = seconds

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Event]:
        self._log.note("generate", request.sampling.seed)
        await asyncio.sleep(self._seconds * (0.5 + (request.sampling.seed or 0) % 100 / 100))
        async for event in super().generate(request):
            yield event


class NotedJudge(ScriptedJudge):
    """Passes one answer in five."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    async def verify(self, claim: Claim, check: Check, *, timeout: float | None = None) -> Verdict:
        self._log.note("judge", claim.text)
        await asyncio.sleep(0.005)
        return PASS if int(claim.text) % 5 == 0 else FAIL


@dataclass(frozen=True, slots=True)
class NotedJournal:
    """Notes what the journal has confirmed."""

    journal: Journal
    log: Log

    async def generated(self, candidate: Candidate) -> None:
        await self.journal.generated(candidate)
        self.log.note("stored", candidate.spec.seed)

    async def judged(self, candidate: Candidate, verdict: Verdict) -> None:
        await self.journal.judged(candidate, verdict)
        self.log.note("judged", candidate.spec.seed)


@dataclass(frozen=True, slots=True)
class NotedWork:
    """Notes deliveries with what they bring, and dies of a fatal job."""

    handler: SolveJobHandler
    log: Log

    async def __call__(
        self, job: pb.Job, observer: Observer, journal: Journal, entries: Sequence[Entry]
    ) -> pb.SolveResponse:
        self.log.note("deliver", job.id)
        for entry in entries:
            self.log.note("stored" if entry.verdict is None else "judged", entry.candidate.spec.seed)
        if job.problem.text == FATAL:
            os.kill(os.getpid(), signal.SIGKILL)
        result = await self.handler(job, observer, NotedJournal(journal, self.log), entries)
        self.log.note("solved", job.id)
        return result


def main(url: str, path: str, lease: str, deliveries: str, seconds: str, keep: str) -> None:
    configure_logging("warning")
    log = Log(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT))
    solver = Solver(NotedEngine(log, float(seconds)), NotedJudge(log))
    work = NotedWork(SolveJobHandler(SolveSession(solver, ServerLimits(), SolverMetrics())), log)
    config = QueueConfig(lease_seconds=float(lease), max_deliveries=int(deliveries), keep_seconds=int(keep))

    async def run() -> None:
        serving = asyncio.create_task(run_worker(url, work, slots=SLOTS, grace=GRACE, config=config))
        await asyncio.sleep(0)
        log.note("ready", "-")  # for signals
        await serving

    asyncio.run(run())


if __name__ == "__main__":
    main(*sys.argv[1:])
