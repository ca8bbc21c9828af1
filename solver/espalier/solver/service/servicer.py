"""`espalier.v1.Solver`: live solves in a session, jobs in the queue. Requests are checked here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import structlog
from prometheus_client import CollectorRegistry

from espalier.common.callers import ANYONE, Caller
from espalier.common.errors import FieldError
from espalier.common.grpc_errors import (
    MAX_MESSAGE,
    Metadata,
    metadata_of,
    refuse_field,
    refuse_for_now,
    request_id_of,
    seconds_left,
)
from espalier.common.security import ServerSecurity
from espalier.common.tracing import TRACEPARENT
from espalier.runtime.engine import RequestRefused
from espalier.solver.batch.batches import Batch, BatchInfo
from espalier.solver.batch.connection import QueueUnavailableError, UnusableQueueError
from espalier.solver.batch.limits import OverLimitError, QueueLimits
from espalier.solver.batch.queue import (
    DEFAULT_PAGE,
    MAX_JOBS,
    MAX_PAGE,
    JobQueue,
    KeyTakenError,
    is_event_id,
    is_page_token,
)
from espalier.solver.batch.status import UnknownJobError
from espalier.solver.core import proto
from espalier.solver.core.limits import MAX_NAME, require_name
from espalier.solver.service.queue_access import QUEUE_SECONDS, NoQueueError, QueueAccess
from espalier.solver.service.readiness import Readiness
from espalier.solver.session.admission import Admission, AdmissionFullError, DrainingError
from espalier.solver.session.idempotency import KEY
from espalier.solver.session.metrics import SolverMetrics
from espalier.solver.session.session import SlowReaderError, SolveRequest, SolveSession, SolveUnavailableError
from espalier.v1 import solver_pb2 as pb
from espalier.v1 import solver_pb2_grpc

if TYPE_CHECKING:
    from espalier.common.grpc_errors import Context

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["Solver"].full_name

SLOW_READER_SECONDS = 1.0
"""When a client that could not keep up may come back."""

log = structlog.get_logger()


class SolverService(solver_pb2_grpc.SolverServicer):
    """Answers the calls of the contract.

    Args:
        session: Solves.
        admission: Bounds the session's solves; closed when the server drains.
        readiness: Checks engine and verifiers.
        security: Tells who calls.
        access: Has the queue; without one the calls about jobs are refused.
    """

    def __init__(
        self,
        session: SolveSession,
        admission: Admission,
        readiness: Readiness,
        security: ServerSecurity,
        access: QueueAccess = QueueAccess(),
    ) -> None:
        self._session = session
        self._admission = admission
        self._readiness = readiness
        self._access = access
        self._security = security

    async def Solve(self, request: pb.SolveRequest, context: Context) -> None:  # noqa: N802
        async with self._call("Solve", context) as metadata:
            solve_request = self._solve_request(request, context, metadata)
            async with aclosing(self._session.events(solve_request, tokens=request.deltas)) as events:
                async for seconds, event in events:
                    message = proto.encode_event(solve_request.id, event, seconds, deltas=request.deltas)
                    if message is not None:
                        await context.write(message)

    async def SolveOnce(self, request: pb.SolveRequest, context: Context) -> pb.SolveResponse:  # noqa: N802
        async with self._call("SolveOnce", context) as metadata:
            solve_request = self._solve_request(request, context, metadata)

            async def solve() -> pb.SolveResponse:
                return proto.encode_result(solve_request.id, await self._session.solve(solve_request))

            key = metadata.get(KEY)
            if key is None:
                return await solve()
            asked = request.SerializeToString(deterministic=True)
            reply: pb.SolveResponse = await self._session.calls.reply(solve_request.caller.name, str(key), asked, solve)
            return reply

    async def SubmitJob(self, request: pb.SubmitJobRequest, context: Context) -> pb.SubmitJobResponse:  # noqa: N802
        async with self._call("SubmitJob", context) as metadata:
            queue, caller = await self._access.queue(), self._caller(metadata)
            await self._check_submission(request)
            info = BatchInfo(caller.name, self._access.webhook(request.webhook), priority=request.priority)
            try:
                return await queue.submit(
                    request.problems,
                    request.settings,
                    request.key,
                    _traceparent(metadata),
                    info,
                    QueueLimits.of(caller),
                )
            except KeyTakenError as error:
                raise FieldError("key", str(error)) from None

    async def GetJob(self, request: pb.GetJobRequest, context: Context) -> pb.GetJobResponse:  # noqa: N802
        async with self._call("GetJob", context) as metadata:
            queue, job = await self._job(request.job_id, metadata)
            return await queue.get(job)

    async def WatchJob(self, request: pb.WatchJobRequest, context: Context) -> None:  # noqa: N802
        async with self._call("WatchJob", context) as metadata:
            queue, job = await self._job(request.job_id, metadata)
            last = request.from_event_id
            if last and not is_event_id(last):
                raise FieldError(
                    "from_event_id", f"{last[:40]!r} is no id of an event; give one that was sent, or none"
                )
            async for event in queue.watch(job, last):
                await context.write(event)

    async def CancelJob(self, request: pb.CancelJobRequest, context: Context) -> pb.CancelJobResponse:  # noqa: N802
        async with self._call("CancelJob", context) as metadata:
            queue, job = await self._job(request.job_id, metadata)
            return pb.CancelJobResponse(status=await queue.cancel(job))

    async def ListJobs(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:  # noqa: N802
        async with self._call("ListJobs", context) as metadata:
            queue = await self._access.queue()
            size = request.page_size if request.HasField("page_size") else DEFAULT_PAGE
            _check_page(request, size)
            return await queue.list(request.states, size, request.page_token, self._caller(metadata).name)

    async def GetBatch(self, request: pb.GetBatchRequest, context: Context) -> pb.BatchStatus:  # noqa: N802
        async with self._call("GetBatch", context) as metadata:
            queue, key, caller = await self._batch(request.batch, metadata)
            return _encode_batch(await queue.batch(key, caller))

    async def WatchBatch(self, request: pb.GetBatchRequest, context: Context) -> None:  # noqa: N802
        async with self._call("WatchBatch", context) as metadata:
            queue, key, caller = await self._batch(request.batch, metadata)
            async for batch in queue.watch_batch(key, caller):
                await context.write(_encode_batch(batch))

    async def ListBatches(  # noqa: N802
        self, request: pb.ListBatchesRequest, context: Context
    ) -> pb.ListBatchesResponse:
        async with self._call("ListBatches", context) as metadata:
            queue = await self._access.queue()
            size = request.page_size if request.HasField("page_size") else DEFAULT_PAGE
            if not 0 < size <= MAX_PAGE:
                raise FieldError("page_size", f"is {size}; give 1 to {MAX_PAGE}")
            token = request.page_token
            if token and not is_page_token(token):
                raise FieldError("page_token", f"{token[:40]!r} is none; give the one of the page before, or none")
            batches, after = await queue.batches(size, token, self._caller(metadata).name)
            return pb.ListBatchesResponse(batches=map(_encode_batch, batches), next_page_token=after)

    async def CancelBatch(self, request: pb.CancelBatchRequest, context: Context) -> pb.BatchStatus:  # noqa: N802
        async with self._call("CancelBatch", context) as metadata:
            queue, key, caller = await self._batch(request.batch, metadata)
            await queue.cancel_batch(await queue.batch(key, caller))
            return _encode_batch(await queue.batch(key, caller))

    async def GetBatchResults(self, request: pb.GetBatchRequest, context: Context) -> None:  # noqa: N802
        async with self._call("GetBatchResults", context) as metadata:
            queue, key, caller = await self._batch(request.batch, metadata)
            async for row in queue.read(await queue.batch(key, caller)):
                message = pb.BatchResult(job_id=row.id)
                if row.job is not None and row.response is not None:
                    message.problem_id = row.job.problem.id
                    message.status.CopyFrom(row.response.status)
                    if row.response.HasField("result"):
                        message.result.CopyFrom(row.response.result)
                await context.write(message)

    # What its server has to know of it.

    @property
    def name(self) -> str:
        return SERVICE_NAME

    @property
    def metrics(self) -> SolverMetrics:
        return self._session.metrics

    @property
    def registry(self) -> CollectorRegistry:
        """Holds the metrics."""
        return self._session.metrics.registry

    @property
    def health_check_requested(self) -> asyncio.Event:
        return self._session.health_check_requested

    def add_to(self, server: grpc.aio.Server) -> None:
        solver_pb2_grpc.add_SolverServicer_to_server(self, server)  # type: ignore[no-untyped-call]

    def refused(self, reason: str) -> None:
        """Count a call that was refused before it came here."""
        self.metrics.refused(reason)

    async def check(self) -> Mapping[str, str]:
        """Reasons of what is not healthy, by name. A queue that is away keeps no problem from being solved."""
        if self._access.jobs is not None:
            with suppress(QueueUnavailableError):
                depth = await self._access.jobs.depth()
                self.metrics.queued(depth.total, depth.dead)
                self.metrics.stored(await self._access.jobs.stored())
        faults = await self._readiness.check()
        self.metrics.serving(engine="engine" not in faults, all_of_it=not faults)
        return faults

    async def drain(self, grace: float) -> bool:
        """Let no solve in, wait for those on their way, and say whether all ended within `grace` seconds."""
        return await self._admission.drain(grace)

    async def close(self) -> None:
        """Engine and verifiers belong to who opened them."""

    def _solve_request(self, request: pb.SolveRequest, context: Context, metadata: Metadata) -> SolveRequest:
        problem = proto.decode_problem(request.problem)
        plan = self._session.limits.plan(proto.decode_settings(request.settings), at="settings.")
        left = seconds_left(context)
        deadline = None if left is None else asyncio.get_running_loop().time() + left
        return SolveRequest(problem, plan, deadline, self._caller(metadata), _traceparent(metadata))

    def _caller(self, metadata: Metadata) -> Caller:
        """Who calls; the interceptor has turned others away."""
        return self._security.identify(metadata.get("authorization", "")) or ANYONE

    async def _job(self, job: str, metadata: Metadata) -> tuple[JobQueue, str]:
        """The queue, and the id of a job that the caller may know of."""
        queue, job = await self._access.queue(), _job_id(job)
        await queue.require_owner(job, self._caller(metadata).name)
        return queue, job

    async def _batch(self, batch: str, metadata: Metadata) -> tuple[JobQueue, str, str]:
        """The queue, the key or id of a batch, and the name of the caller."""
        return await self._access.queue(), _batch_key(batch), self._caller(metadata).name

    async def _check_submission(self, request: pb.SubmitJobRequest) -> None:
        if not 0 < len(request.problems) <= MAX_JOBS:
            raise FieldError("problems", f"has {len(request.problems)} entries; give 1 to {MAX_JOBS}")
        problems = [proto.decode_problem(problem, f"problems[{i}]") for i, problem in enumerate(request.problems)]
        self._session.limits.plan(proto.decode_settings(request.settings), at="settings.")
        await self._session.validate_all(problems)

    @asynccontextmanager
    async def _call(self, method: str, context: Context) -> AsyncIterator[Metadata]:
        """The metadata of the call, its request id in the log, and a status for whatever goes wrong."""
        metadata = metadata_of(context)
        structlog.contextvars.bind_contextvars(request_id=request_id_of(metadata), method=method)  # a call is a task
        start, outcome = time.perf_counter(), "ok"

        def refuse(reason: str) -> None:
            nonlocal outcome
            outcome = reason
            self.metrics.refused(reason)

        try:
            with self.metrics.call():
                yield metadata
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        except FieldError as error:
            refuse("invalid")
            parts = {"check": "problem.", "rejoins": "settings."}  # as the solve itself names them
            part = parts.get(error.field.partition(".")[0], "")
            await refuse_field(context, FieldError(f"{part}{error.field}", error.problem))
        except RequestRefused as error:
            refuse("invalid")
            await refuse_field(context, FieldError("problem.text", str(error)))
        except AdmissionFullError as error:
            refuse("load")
            await refuse_for_now(context, str(error), error.delay)
        except OverLimitError as error:
            refuse("load")
            await refuse_for_now(context, str(error), QUEUE_SECONDS)
        except SlowReaderError as error:
            refuse("slow_reader")
            await refuse_for_now(context, str(error), SLOW_READER_SECONDS)
        except DrainingError as error:
            refuse("draining")
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        except (NoQueueError, UnusableQueueError) as error:
            refuse("no_queue")
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except UnknownJobError as error:
            refuse("unknown_job")
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error)[:MAX_MESSAGE])
        except (SolveUnavailableError, QueueUnavailableError) as error:
            refuse("unavailable")
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error)[:MAX_MESSAGE])
        except Exception:
            refuse("internal")
            log.exception("internal error")
            await context.abort(grpc.StatusCode.INTERNAL, "internal error; the server's log has it")
        finally:
            told = {"peer": context.peer(), "outcome": outcome, "seconds": round(time.perf_counter() - start, 4)}
            # In the loop's next turn: the reply is sent first.
            asyncio.get_running_loop().call_soon(partial(log.info, "call", **told))


def _check_page(request: pb.ListJobsRequest, size: int) -> None:
    if not 0 < size <= MAX_PAGE:
        raise FieldError("page_size", f"is {size}; give 1 to {MAX_PAGE}")
    token = request.page_token
    if token and not (token.isascii() and token.isdecimal() and len(token) <= MAX_NAME):
        raise FieldError("page_token", f"{token[:40]!r} is none; give the one of the page before, or none")
    for number, state in enumerate(request.states):
        if state not in pb.JobState.values():
            raise FieldError(f"states[{number}]", f"has the unknown value {state}")


def _traceparent(metadata: Metadata) -> str:
    """The caller's span, if it names one."""
    return str(metadata.get(TRACEPARENT, ""))


def _batch_key(text: str) -> str:
    require_name(text, "batch", what="the key or the id of a batch")
    return text


def _encode_batch(batch: Batch) -> pb.BatchStatus:
    states = batch.states
    return pb.BatchStatus(
        id=batch.id,
        key=batch.key,
        jobs=batch.count,
        queued=states[pb.JOB_STATE_QUEUED],
        running=states[pb.JOB_STATE_RUNNING],
        done=states[pb.JOB_STATE_DONE],
        cancelled=states[pb.JOB_STATE_CANCELLED],
        dead=states[pb.JOB_STATE_DEAD],
        gone=batch.gone,
        submitted=batch.submitted,
        finished=batch.finished,
        caller=batch.info.caller,
        webhook=batch.info.webhook,
        priority=batch.info.priority,
    )


def _job_id(text: str) -> str:
    require_name(text, "job_id", what="the id of a job")
    return text
