"""The queue behind a server: what clients do, over gRPC, without a way to Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc
import grpc.aio

from espalier.common.grpc_errors import field_of
from espalier.common.security import ClientSecurity
from espalier.solver.batch.batches import Batch, BatchInfo
from espalier.solver.batch.connection import QueueUnavailableError, backoff
from espalier.solver.batch.limits import OverLimitError
from espalier.solver.batch.queue import DEFAULT_PAGE, BatchRow
from espalier.solver.batch.status import UnknownJobError
from espalier.v1 import common_pb2, solver_pb2_grpc
from espalier.v1 import solver_pb2 as pb

CALL_SECONDS = 60.0
"""A reply that takes longer does not come any more."""

_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class RemoteQueue:
    """Has the methods of :class:`JobQueue` that need no operator, and raises the same errors.

    Args:
        channel: To a server of the solver that has a queue.
        metadata: What every call carries.
    """

    def __init__(self, channel: grpc.aio.Channel, metadata: Sequence[tuple[str, str]] = ()) -> None:
        self._stub: Any = solver_pb2_grpc.SolverStub(channel)  # type: ignore[no-untyped-call]
        self._metadata = tuple(metadata)

    async def submit(
        self,
        problems: Sequence[common_pb2.Problem],
        settings: pb.Settings,
        key: str = "",
        *,
        info: BatchInfo = BatchInfo(),
    ) -> pb.SubmitJobResponse:
        """See :meth:`JobQueue.submit`; the server knows who its caller is."""
        request = pb.SubmitJobRequest(
            problems=problems, settings=settings, key=key, webhook=info.webhook, priority=info.priority
        )
        submitted: pb.SubmitJobResponse = await self._call("SubmitJob", request)
        return submitted

    async def get(self, job: str) -> pb.GetJobResponse:
        """See :meth:`JobQueue.get`."""
        response: pb.GetJobResponse = await self._call("GetJob", pb.GetJobRequest(job_id=job))
        return response

    async def cancel(self, job: str) -> pb.JobStatus:
        """See :meth:`JobQueue.cancel`."""
        response: pb.CancelJobResponse = await self._call("CancelJob", pb.CancelJobRequest(job_id=job))
        return response.status

    async def batch(self, key: str) -> Batch:
        """See :meth:`JobQueue.batch`."""
        return _decode(await self._call("GetBatch", pb.GetBatchRequest(batch=key)))

    async def watch_batch(self, key: str) -> AsyncIterator[Batch]:
        """See :meth:`JobQueue.watch_batch`; also a server that is gone meanwhile is waited out."""
        seen: Batch | None = None
        waiting = backoff()
        while seen is None or seen.ended < seen.count:
            try:
                with _errors():
                    call = self._stub.WatchBatch(pb.GetBatchRequest(batch=key), metadata=self._metadata)
                    async for status in call:
                        before, seen, waiting = seen, _decode(status), backoff()
                        if seen != before:
                            yield seen
            except QueueUnavailableError:
                if seen is None:
                    raise
                await asyncio.sleep(next(waiting))

    async def batches(self, page_size: int = DEFAULT_PAGE, page_token: str = "") -> tuple[Sequence[Batch], str]:
        """See :meth:`JobQueue.batches`."""
        request = pb.ListBatchesRequest(page_size=page_size, page_token=page_token)
        response: pb.ListBatchesResponse = await self._call("ListBatches", request)
        return [_decode(batch) for batch in response.batches], response.next_page_token

    async def cancel_batch(self, batch: Batch) -> int:
        """See :meth:`JobQueue.cancel_batch`."""
        return _decode(await self._call("CancelBatch", pb.CancelBatchRequest(batch=batch.id))).gone

    async def read(self, batch: Batch) -> AsyncIterator[BatchRow]:
        """See :meth:`JobQueue.read`."""
        with _errors():
            async for row in self._stub.GetBatchResults(pb.GetBatchRequest(batch=batch.id), metadata=self._metadata):
                if row.HasField("status"):
                    job = pb.Job(id=row.job_id, problem=common_pb2.Problem(id=row.problem_id))
                    result = row.result if row.HasField("result") else None
                    yield BatchRow(row.job_id, job, pb.GetJobResponse(status=row.status, result=result))
                else:
                    yield BatchRow(row.job_id)

    async def _call(self, method: str, request: Any) -> Any:
        with _errors():
            return await getattr(self._stub, method)(request, timeout=CALL_SECONDS, metadata=self._metadata)


@asynccontextmanager
async def remote_queue(address: str, security: ClientSecurity = ClientSecurity()) -> AsyncIterator[RemoteQueue]:
    """The queue behind the server at `address`; nothing is sent yet."""
    async with security.channel(address, _OPTIONS) as channel:
        yield RemoteQueue(channel, security.metadata)


@contextmanager
def _errors() -> Iterator[None]:
    """Statuses of the server as the errors of the queue."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        code, details = error.code(), error.details() or error.code().name
        if code is grpc.StatusCode.NOT_FOUND:
            raise UnknownJobError(details) from None
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise OverLimitError(details) from None
        if code is grpc.StatusCode.INVALID_ARGUMENT:
            raise field_of(error) from None
        if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.FAILED_PRECONDITION):
            raise ValueError(f"the server refuses: {details}") from None
        raise QueueUnavailableError(f"the server cannot be asked ({code.name}): {details}") from error


def _decode(status: pb.BatchStatus) -> Batch:
    counts = {
        pb.JOB_STATE_UNSPECIFIED: 0,
        pb.JOB_STATE_QUEUED: status.queued,
        pb.JOB_STATE_RUNNING: status.running,
        pb.JOB_STATE_DONE: status.done,
        pb.JOB_STATE_CANCELLED: status.cancelled,
        pb.JOB_STATE_DEAD: status.dead,
    }
    return Batch(
        id=status.id,
        key=status.key,
        count=status.jobs,
        states={int(state): count for state, count in counts.items()},
        submitted=status.submitted,
        finished=status.finished if status.HasField("finished") else None,
        info=BatchInfo(status.caller, status.webhook, priority=status.priority),
    )
