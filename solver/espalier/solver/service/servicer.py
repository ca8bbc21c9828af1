"""`espalier.v1.Solver`: live solves over the desk, jobs over the queue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import structlog
from prometheus_client import CollectorRegistry

from espalier.common.errors import FieldError
from espalier.common.grpc_errors import MAX_MESSAGE, refuse_field, refuse_for_now, request_id_of, seconds_left
from espalier.runtime.engine import RequestRefused
from espalier.solver.batch.connection import QueueUnavailable
from espalier.solver.batch.status import UnknownJob
from espalier.solver.core import proto
from espalier.solver.service.admission import Closed, Full
from espalier.solver.service.jobs import Jobs
from espalier.solver.service.readiness import Readiness
from espalier.solver.session.metrics import Metrics
from espalier.solver.session.session import SlowReader, SolveRequest, SolveSession, Unavailable
from espalier.v1 import solver_pb2 as pb
from espalier.v1 import solver_pb2_grpc

if TYPE_CHECKING:
    from espalier.common.grpc_errors import Context

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["Solver"].full_name

SLOW_READER_SECONDS = 1.0
"""When a client that could not keep up may come back."""

log = structlog.get_logger()


class NoQueue(Exception):
    """The server runs without a queue."""


class SolverService(solver_pb2_grpc.SolverServicer):
    """Answers the calls of the contract.

    Args:
        desk: Solves.
        readiness: Says whether it can.
        jobs: Answers the calls about jobs; None: there is no queue.
    """

    def __init__(self, desk: SolveSession, readiness: Readiness, jobs: Jobs | None = None) -> None:
        self._desk = desk
        self._readiness = readiness
        self._jobs = jobs

    async def Solve(self, request: pb.SolveRequest, context: Context) -> None:  # noqa: N802
        async with self._call("Solve", context):
            order = self._order(request, context)
            async with aclosing(self._desk.events(order, tokens=request.deltas)) as events:
                async for seconds, event in events:
                    message = proto.encode_event(order.id, event, seconds, deltas=request.deltas)
                    if message is not None:
                        await context.write(message)

    async def SolveOnce(self, request: pb.SolveRequest, context: Context) -> pb.SolveResponse:  # noqa: N802
        async with self._call("SolveOnce", context):
            order = self._order(request, context)
            return proto.encode_result(order.id, await self._desk.solve(order))

    async def SubmitJob(self, request: pb.SubmitJobRequest, context: Context) -> pb.SubmitJobResponse:  # noqa: N802
        async with self._call("SubmitJob", context):
            return await self._queue().submit(request)

    async def GetJob(self, request: pb.GetJobRequest, context: Context) -> pb.GetJobResponse:  # noqa: N802
        async with self._call("GetJob", context):
            return await self._queue().get(request)

    async def WatchJob(self, request: pb.WatchJobRequest, context: Context) -> None:  # noqa: N802
        async with self._call("WatchJob", context):
            async for event in self._queue().watch(request):
                await context.write(event)

    async def CancelJob(self, request: pb.CancelJobRequest, context: Context) -> pb.CancelJobResponse:  # noqa: N802
        async with self._call("CancelJob", context):
            return await self._queue().cancel(request)

    async def ListJobs(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:  # noqa: N802
        async with self._call("ListJobs", context):
            return await self._queue().list(request)

    # What its server has to know of it.

    @property
    def name(self) -> str:
        return SERVICE_NAME

    @property
    def metrics(self) -> Metrics:
        return self._desk.metrics

    @property
    def registry(self) -> CollectorRegistry:
        """Holds the metrics."""
        return self._desk.metrics.registry

    @property
    def health_check_requested(self) -> asyncio.Event:
        return self._desk.health_check_requested

    def add_to(self, server: grpc.aio.Server) -> None:
        solver_pb2_grpc.add_SolverServicer_to_server(self, server)  # type: ignore[no-untyped-call]

    async def check(self) -> Mapping[str, str]:
        """Reasons of what is not healthy, by name. A queue that is away keeps no problem from being solved."""
        if self._jobs is not None:
            with suppress(QueueUnavailable):
                self._desk.metrics.queued(await self._jobs.depth())
        return await self._readiness.check()

    async def drain(self, grace: float) -> bool:
        """Let no solve in, wait for those on their way, and say whether all ended within `grace` seconds."""
        return await self._desk.admission.drain(grace)

    async def close(self) -> None:
        """Engine and verifiers belong to who opened them."""

    def _queue(self) -> Jobs:
        if self._jobs is None:
            raise NoQueue("this server has no queue; start it with --redis URL")
        return self._jobs

    def _order(self, request: pb.SolveRequest, context: Context) -> SolveRequest:
        problem = proto.decode_problem(request.problem)
        plan = self._desk.house.plan(proto.decode_settings(request.settings), at="settings.")
        left = seconds_left(context)
        return SolveRequest(problem, plan, None if left is None else asyncio.get_running_loop().time() + left)

    @asynccontextmanager
    async def _call(self, method: str, context: Context) -> AsyncIterator[None]:
        """Request id, and a status for whatever goes wrong."""
        structlog.contextvars.bind_contextvars(request_id=request_id_of(context), method=method)  # a call is a task
        try:
            with self.metrics.call():
                yield
        except FieldError as error:
            self.metrics.refused("invalid")
            field = f"problem.{error.field}" if error.field.startswith("check") else error.field
            await refuse_field(context, FieldError(field, error.problem))
        except RequestRefused as error:
            self.metrics.refused("invalid")
            await refuse_field(context, FieldError("problem.text", str(error)))
        except Full as error:
            self.metrics.refused("load")
            await refuse_for_now(context, str(error), error.delay)
        except SlowReader as error:
            self.metrics.refused("slow_reader")
            await refuse_for_now(context, str(error), SLOW_READER_SECONDS)
        except Closed as error:
            self.metrics.refused("draining")
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        except NoQueue as error:
            self.metrics.refused("no_queue")
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except UnknownJob as error:
            self.metrics.refused("unknown_job")
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error)[:MAX_MESSAGE])
        except (Unavailable, QueueUnavailable) as error:
            self.metrics.refused("unavailable")
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error)[:MAX_MESSAGE])
        except Exception:
            log.exception("internal error")
            await context.abort(grpc.StatusCode.INTERNAL, "internal error; the server's log has it")
