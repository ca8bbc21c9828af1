"""The live pages on a free port, for the length of a `with`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx

from espalier.common.security import ServerSecurity
from espalier.solver.batch.queue import JobQueue
from espalier.solver.core.loop import Solver
from espalier.solver.core.settings import ServerLimits
from espalier.solver.service.http import Endpoint, HttpServer
from espalier.solver.session.admission import Admission
from espalier.solver.session.metrics import SolverMetrics
from espalier.solver.session.session import SolveSession
from espalier.solver.viewer.live import LiveSolves
from espalier.solver.viewer.routes import Pages
from espalier.solver.viewer.runs import Runs
from tests.solver.scripted import ScriptedEngine, ScriptedJudge

LIMITS = ServerLimits(k=2, max_k=4, seconds=60.0, candidate_tokens=512)


@dataclass(frozen=True, slots=True)
class Paged:
    """Live pages, and a client of them."""

    session: SolveSession
    live_solves: LiveSolves
    client: httpx.AsyncClient

    async def ask(self, text: str = "What is 6 times 7?", **more: Any) -> str:
        """Ask for a solve; its id."""
        reply = await self.client.post("/ui/api/solves", json={"text": text, "check": "reference:42", **more})
        assert reply.status_code == 201, reply.text
        return str(reply.json()["id"])

    async def events(self, path: str, last: str = "") -> AsyncIterator[tuple[str, str, Any]]:
        """Ids, names and data of the events of a stream, until its end."""
        headers = {"Last-Event-ID": last} if last else {}
        async with self.client.stream("GET", f"/ui/api/{path}", headers=headers) as reply:
            assert reply.status_code == 200, (await reply.aread()).decode()
            assert reply.headers["content-type"].startswith("text/event-stream")
            event = {"id": "", "event": "message", "data": ""}
            async for line in reply.aiter_lines():
                name, _, value = line.partition(": ")
                if name in event:
                    event[name] = value
                elif not line and event["data"]:
                    yield event["id"], event["event"], json.loads(event["data"])
                    event = {"id": "", "event": "message", "data": ""}


@asynccontextmanager
async def paged(
    engine: ScriptedEngine,
    judge: ScriptedJudge | None = None,
    *,
    security: ServerSecurity = ServerSecurity(),
    queue: JobQueue | None = None,
    runs: Path | None = None,
    places: int = 4,
    headers: dict[str, str] | None = None,
) -> AsyncIterator[Paged]:
    """Live pages over a scripted engine."""
    live_solves = LiveSolves()
    session = SolveSession(
        Solver(engine, judge or ScriptedJudge()), LIMITS, SolverMetrics(), Admission(1, places), show=live_solves.show
    )
    endpoint = Endpoint(session, security, 1 << 20)
    endpoint.add(Pages(session, live_solves, queue, Runs(runs) if runs else None))
    server = HttpServer(endpoint, "127.0.0.1:0", security)
    server.start()
    try:
        base = f"http://127.0.0.1:{server.port}"
        async with httpx.AsyncClient(base_url=base, headers=headers, timeout=20) as client:
            yield Paged(session, live_solves, client)
    finally:
        await server.close()
