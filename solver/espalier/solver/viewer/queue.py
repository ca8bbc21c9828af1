"""The job queue as operators look at it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import asdict
from hashlib import blake2b
from typing import Any

from espalier.solver.batch.batches import Batch
from espalier.solver.batch.connection import QueueUnavailableError, wait_out_outage
from espalier.solver.batch.dead_job import DeadJob
from espalier.solver.batch.queue import JobQueue
from espalier.solver.core.json_form import to_json
from espalier.solver.viewer.entries import Entry, EventCompactor
from espalier.v1 import solver_pb2 as pb
from espalier.verifiers.verdict import Status

LOOK_SECONDS = 1.0
"""Time between two looks at the queue, however many watch."""

JOBS = 100
LETTERS = 50
BATCHES = 1000
"""At most as many of each are shown."""

TEXT = 300
"""Characters of a problem that are shown."""


class QueueMonitor:
    """Looks at a queue for all watchers together."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._looking = asyncio.Lock()
        self._looked = float("-inf")
        self._seen: dict[str, Any] = {}

    async def follow(self, last: str) -> AsyncGenerator[tuple[str, str]]:
        """The queue as JSON whenever it has changed, with an id of what it is like.

        Args:
            last: Id of what the watcher has seen last; empty: nothing.
        """
        while True:
            text = json.dumps(await self._look(), ensure_ascii=True)
            digest = blake2b(text.encode(), digest_size=8).hexdigest()
            if digest != last:
                last = digest
                yield digest, text
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> dict[str, Any]:
        async with self._looking:
            now = asyncio.get_running_loop().time()
            if now - self._looked >= LOOK_SECONDS / 2:
                try:
                    self._seen = await snapshot(self._queue)
                except QueueUnavailableError as error:
                    self._seen = {"away": str(error)}
                self._looked = asyncio.get_running_loop().time()
        return self._seen


async def snapshot(queue: JobQueue) -> dict[str, Any]:
    """Depth, workers, all batches, the jobs that run and then the newest others, the oldest dead jobs.

    Raises:
        QueueUnavailableError: Redis is gone.
    """
    depth, workers, dead_jobs = await queue.depth(), await queue.workers(), await queue.dead_jobs(LETTERS)
    running, newest = await queue.running(JOBS), (await queue.list(page_size=JOBS)).jobs
    held = {job.id for job in running}
    jobs = [*running, *(job for job in newest if job.id not in held)][:JOBS]
    batches, _ = await queue.batches(BATCHES)
    return {
        "depth": asdict(depth),
        "workers": [asdict(worker) for worker in workers],
        "batches": [_batch(batch) for batch in batches],
        "jobs": [status_to_json(job) for job in jobs],
        "dead": [_dead_job(job) for job in dead_jobs],
    }


async def job_events(queue: JobQueue, job: str, last: str) -> AsyncGenerator[tuple[str, Entry]]:
    """What happens to a job, as entries of a trace, each with the id of its event; the result comes last.

    Args:
        queue: Has the job.
        job: Its id.
        last: Id of the last event that is known; empty: none.

    Raises:
        UnknownJobError: There is no such job.
    """
    event = None
    compactor = EventCompactor()
    async for event in queue.watch(job, last):
        if event.HasField("solve"):
            if (entry := compactor.feed(to_json(event.solve))) is not None:
                yield event.event_id, entry
        else:
            yield event.event_id, {"seconds": 0.0, "status": status_to_json(event.status)}
    response = await wait_out_outage(lambda: queue.get(job))
    if response.HasField("result"):
        solved = pb.SolveEvent(seconds=response.result.spent.seconds, solve_id=job, solved=response.result)
        if (entry := compactor.feed(to_json(solved))) is not None:
            yield (event.event_id if event else last), entry


def status_to_json(status: pb.JobStatus) -> dict[str, Any]:
    """How a job stands."""
    return {
        "id": status.id,
        "state": pb.JobState.Name(status.state).removeprefix("JOB_STATE_").lower(),
        "submitted": status.submitted,
        "started": status.started if status.HasField("started") else None,
        "finished": status.finished if status.HasField("finished") else None,
        "attempts": status.attempts,
        "candidates": status.candidates,
        "reason": status.reason,
    }


def _batch(batch: Batch) -> dict[str, Any]:
    states: Mapping[int, int] = batch.states
    names = ((pb.JobState.Name(pb.JobState.ValueType(state)), count) for state, count in states.items() if count)
    counts = {name.removeprefix("JOB_STATE_").lower(): count for name, count in names}
    return {"id": batch.id, "key": batch.key, "jobs": batch.count, "gone": batch.gone, "states": counts}


def _dead_job(dead: DeadJob) -> dict[str, Any]:
    judged = [entry.verdict.status for entry in dead.entries if entry.verdict is not None]
    return {
        "id": dead.job.id,
        "text": dead.job.problem.text[:TEXT],
        "reason": dead.reason,
        "error": dead.error,
        "attempts": dead.attempts,
        "candidates": len(dead.entries),
        "verdicts": {status.value: judged.count(status) for status in Status if status in judged},
    }
