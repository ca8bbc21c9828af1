"""The calls about jobs: requests are checked here, the queue does the rest."""

from __future__ import annotations

from collections.abc import AsyncIterator

from espalier.common.errors import FieldError
from espalier.solver.batch.queue import DEFAULT_PAGE, MAX_JOBS, MAX_PAGE, JobQueue, KeyTaken, is_event_id
from espalier.solver.core import proto
from espalier.solver.core.settings import ServerLimits
from espalier.v1 import solver_pb2 as pb

MAX_NAME = 256
"""Characters of a client's key, and of the id of a job."""


class Jobs:
    """Answers the calls about jobs.

    Args:
        queue: Keeps the jobs.
        house: What requests may ask for.
    """

    def __init__(self, queue: JobQueue, house: ServerLimits) -> None:
        self._queue = queue
        self._house = house

    async def submit(self, request: pb.SubmitJobRequest) -> pb.SubmitJobResponse:
        """Queue every problem, or none of them."""
        if not 0 < len(request.problems) <= MAX_JOBS:
            raise FieldError("problems", f"has {len(request.problems)} entries; give 1 to {MAX_JOBS}")
        for number, problem in enumerate(request.problems):
            proto.decode_problem(problem, f"problems[{number}]")
        self._house.plan(proto.decode_settings(request.settings), at="settings.")
        if len(request.key) > MAX_NAME:
            raise FieldError("key", f"has {len(request.key)} characters; give at most {MAX_NAME}")
        try:
            return await self._queue.submit(request.problems, request.settings, request.key)
        except KeyTaken as error:
            raise FieldError("key", str(error)) from None

    async def get(self, request: pb.GetJobRequest) -> pb.GetJobResponse:
        """How a job stands."""
        return await self._queue.get(_job_id(request.job_id))

    def watch(self, request: pb.WatchJobRequest) -> AsyncIterator[pb.JobEvent]:
        """What happens to a job, until it ends."""
        event = request.from_event_id
        if event and not is_event_id(event):
            raise FieldError("from_event_id", f"{event[:40]!r} is no id of an event; give one that was sent, or none")
        return self._queue.watch(_job_id(request.job_id), event)

    async def cancel(self, request: pb.CancelJobRequest) -> pb.CancelJobResponse:
        """End a job."""
        return pb.CancelJobResponse(status=await self._queue.cancel(_job_id(request.job_id)))

    async def list(self, request: pb.ListJobsRequest) -> pb.ListJobsResponse:
        """Jobs, page by page."""
        size = request.page_size if request.HasField("page_size") else DEFAULT_PAGE
        if not 0 < size <= MAX_PAGE:
            raise FieldError("page_size", f"is {size}; give 1 to {MAX_PAGE}")
        token = request.page_token
        if token and not (token.isascii() and token.isdecimal() and len(token) <= MAX_NAME):
            raise FieldError("page_token", f"{token[:40]!r} is none; give the one of the page before, or none")
        for number, state in enumerate(request.states):
            if state not in pb.JobState.values():
                raise FieldError(f"states[{number}]", f"has the unknown value {state}")
        return await self._queue.list(request.states, size, token)

    async def depth(self) -> int:
        """Jobs that are not done yet."""
        return (await self._queue.depth()).total


def _job_id(text: str) -> str:
    if not text.strip():
        raise FieldError("job_id", "is empty; give the id of a job")
    if len(text) > MAX_NAME:
        raise FieldError("job_id", f"has {len(text)} characters; ids have at most {MAX_NAME}")
    return text
