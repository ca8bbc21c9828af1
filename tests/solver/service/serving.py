"""A solving server on free ports, for the length of a `with`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio

from espalier.common.grpc_server import Listening
from espalier.common.security import ServerSecurity
from espalier.solver.batch.queue import JobQueue
from espalier.solver.batch.webhooks import WebhookSettings
from espalier.solver.core.loop import Solver, Verifiers
from espalier.solver.core.settings import ServerLimits
from espalier.solver.service.batch_routes import BatchRoutes
from espalier.solver.service.http import Endpoint, HttpServer
from espalier.solver.service.queue_access import QueueAccess
from espalier.solver.service.readiness import Readiness
from espalier.solver.service.server import SolverServer
from espalier.solver.service.servicer import SolverService
from espalier.solver.session.admission import Admission
from espalier.solver.session.metrics import SolverMetrics
from espalier.solver.session.session import SolveSession
from espalier.v1 import common_pb2, solver_pb2, solver_pb2_grpc
from espalier.verifiers.local import LocalVerifiers
from tests.verifiers.running import SERVING, until_health

LIMITS = ServerLimits(k=4, max_k=8, seconds=60.0, candidate_tokens=512)
LISTENING = Listening("127.0.0.1:0", grace_seconds=5.0)


@dataclass(frozen=True, slots=True)
class Served:
    """A server that runs."""

    server: SolverServer
    session: SolveSession
    address: str
    http: str
    channel: grpc.aio.Channel

    @property
    def stub(self) -> Any:
        return solver_pb2_grpc.SolverStub(self.channel)

    def ended(self, end: str) -> int:
        """Solves that ended in this way so far. A solve that was left alone and ran to its limits is none cancelled."""
        samples = (sample for metric in self.session.metrics.registry.collect() for sample in metric.samples)
        return sum(int(s.value) for s in samples if s.name == "espalier_solves_total" and s.labels["end"] == end)


@asynccontextmanager
async def serving(
    engine: Any,
    judge: Verifiers | LocalVerifiers,
    *,
    limits: ServerLimits = LIMITS,
    listening: Listening = LISTENING,
    security: ServerSecurity = ServerSecurity(),
    slots: int = 4,
    places: int = 4,
    traces: Path | None = None,
    queue: JobQueue | None = None,
    check_queue: Callable[[], Awaitable[None]] | None = None,
    webhooks: WebhookSettings | None = None,
    warm: bool = True,
) -> AsyncIterator[Served]:
    """A server over an engine and a judge, drained at the end; `warm` waits until it has warmed up."""
    admission = Admission(slots, places)
    session = SolveSession(Solver(engine, judge), limits, SolverMetrics(), admission, traces)
    verifiers = judge.check if isinstance(judge, LocalVerifiers) else _nothing
    readiness = Readiness(session.solver, verifiers, lambda: admission.running > 0)
    access = QueueAccess(queue, check_queue, webhooks)
    endpoint = Endpoint(session, security, listening.max_message_mib << 20)
    endpoint.add(BatchRoutes(session, access, listening.max_message_mib << 20))
    http = HttpServer(endpoint, "127.0.0.1:0", security)
    service = SolverService(session, admission, readiness, security, access)
    server = SolverServer(service, listening, security, http)
    port = await server.start()
    address = f"127.0.0.1:{port}"
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            if warm:
                await until_health(channel, SERVING)
            yield Served(server, session, address, f"http://127.0.0.1:{http.port}/v1", channel)
    finally:
        await server.drain()


async def _nothing() -> tuple[()]:
    return ()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds that no event announces."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


def asking(
    text: str = "What is 6 times 7?", reference: str | None = "42", *, deltas: bool = False, **settings: Any
) -> solver_pb2.SolveRequest:
    """A request; without a reference there is nothing to check by."""
    check = None if reference is None else common_pb2.Check(reference=common_pb2.ReferenceCheck(answer=reference))
    problem = common_pb2.Problem(text=text, check=check)
    return solver_pb2.SolveRequest(problem=problem, settings=solver_pb2.Settings(**settings), deltas=deltas)
