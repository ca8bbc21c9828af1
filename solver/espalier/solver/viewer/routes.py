"""The live pages over HTTP: the pages themselves for anyone, all that they show only for those with the token."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from espalier.common.errors import FieldError
from espalier.common.security import UNAUTHENTICATED
from espalier.solver.batch.connection import QueueUnavailableError
from espalier.solver.batch.queue import JobQueue, is_event_id
from espalier.solver.batch.status import UnknownJobError
from espalier.solver.core.limits import MAX_TEXT, require_text
from espalier.solver.core.problem import Problem
from espalier.solver.core.settings import Settings
from espalier.solver.service.http import Guard, Handler
from espalier.solver.service.http_error import HttpError
from espalier.solver.service.requests import read_json
from espalier.solver.session.session import SolveRequest, SolveSession
from espalier.solver.viewer.live import LiveSolve, LiveSolves
from espalier.solver.viewer.page import NOTICES, POLICY, SCRIPT, STATIC, STYLE, shell
from espalier.solver.viewer.queue import QueueMonitor, job_events
from espalier.solver.viewer.runs import Runs, UnknownRunError
from espalier.solver.viewer.sse import event_stream
from espalier.verifiers.check_text import CheckError, parse_check

ROOT = "/ui"

MAX_BODY = 4 * MAX_TEXT + (1 << 16)

HEADERS = {
    "Content-Security-Policy": POLICY.format(script="'self'", style="'self'", connect="'self'")
    + "; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@dataclass(slots=True)
class Pages:
    """The handlers.

    Attributes:
        session: Solves what is asked for on the page.
        live_solves: Has the solves that can be watched.
        queue: Of jobs; None: there is none.
        runs: Of training; None: there are none.
    """

    session: SolveSession
    live_solves: LiveSolves
    queue: JobQueue | None = None
    runs: Runs | None = None
    _asked: dict[str, asyncio.Task[Any]] = field(default_factory=dict)
    _overview: QueueMonitor | None = None

    def routes(self, guard: Guard) -> Sequence[BaseRoute]:
        """Everything below `/ui`."""

        def api(path: str, handle: Handler, method: str = "GET") -> Route:
            return Route(f"{ROOT}/api/{path}", guard(self._in_words(handle)), methods=[method])

        return (
            Route("/", _home),
            Route(ROOT, _home),
            Route(f"{ROOT}/", _page),
            Route(f"{ROOT}/{SCRIPT}", _file),
            Route(f"{ROOT}/{STYLE}", _file),
            Route(f"{ROOT}/{NOTICES}", _file),
            api("about", self._about),
            api("solves", self._solves),
            api("solves", self._ask, "POST"),
            api("solves/{id}", self._cancel, "DELETE"),
            api("solves/{id}/events", self._watch),
            api("queue/events", self._watch_queue),
            api("jobs/{id}/events", self._watch_job),
            api("jobs/{id}", self._cancel_job, "DELETE"),
            api("dead", self._retry, "POST"),
            api("runs", self._list_runs),
            api("runs/{id:path}", self._read_run),
        )

    # Solves.

    async def _about(self, _: Request) -> Response:
        limits = self.session.limits
        return JSONResponse(
            {
                "model": self.session.solver.engine.info.model,
                "policy": limits.policy,
                "k": limits.k,
                "max_k": limits.max_k,
                "queue": self.queue is not None,
                "runs": self.runs is not None,
            }
        )

    async def _solves(self, _: Request) -> Response:
        return JSONResponse({"solves": [live.to_json() for live in self.live_solves.newest()]})

    async def _ask(self, request: Request) -> Response:
        asked = await _body(request)
        solve_request = SolveRequest(
            _problem(asked), self.session.limits.plan(_settings(asked)), caller=request.state.caller
        )
        await self.session.validate(solve_request.problem)
        live = self.live_solves.open(solve_request)
        solving = asyncio.create_task(self.session.solve(solve_request))
        self._asked[solve_request.id] = solving
        solving.add_done_callback(lambda task: self._answered(live, task))
        await asyncio.sleep(0)  # a refusal is told at once
        if solving.done() and not solving.cancelled() and (error := solving.exception()) is not None:
            raise error
        return JSONResponse({"id": solve_request.id}, 201)

    def _answered(self, live: LiveSolve, task: asyncio.Task[Any]) -> None:
        del self._asked[live.id]
        if task.cancelled():
            live.break_off("cancelled")
        elif (error := task.exception()) is not None:
            live.break_off(f"failed: {error}")

    async def _cancel(self, request: Request) -> Response:
        solving = self._asked.get(request.path_params["id"])
        if solving is None:
            raise _missing("this page has asked for no solve of that name that is still on its way")
        solving.cancel()
        return Response(status_code=204)

    async def _watch(self, request: Request) -> Response:
        live = self.live_solves.get(request.path_params["id"])
        if live is None:
            raise _missing("there is no such solve, or it ended too long ago")
        seen = _last_event(request)

        async def events() -> AsyncGenerator[tuple[str, str]]:
            async for number, entries in live.follow(int(seen) if seen.isdecimal() else 0):
                yield str(number), f"[{','.join(entries)}]"

        return await event_stream(events())

    # The queue.

    async def _watch_queue(self, request: Request) -> Response:
        queue = self._need_queue()
        if self._overview is None:
            self._overview = QueueMonitor(queue)
        return await event_stream(self._overview.follow(_last_event(request)))

    async def _watch_job(self, request: Request) -> Response:
        last = _last_event(request)
        if last and not is_event_id(last):
            raise FieldError("last-event-id", "is none of ours")

        async def events() -> AsyncGenerator[tuple[str, str]]:
            async for number, entry in job_events(self._need_queue(), request.path_params["id"], last):
                yield number, json.dumps([entry])

        return await event_stream(events())

    async def _cancel_job(self, request: Request) -> Response:
        await self._need_queue().cancel(request.path_params["id"])
        return Response(status_code=204)

    async def _retry(self, request: Request) -> Response:
        asked = await _body(request)
        jobs = asked.get("jobs")
        if not isinstance(jobs, list) or not all(isinstance(job, str) for job in jobs):
            raise FieldError("jobs", "is no list of ids; give those of dead jobs, or none for all")
        return JSONResponse({"queued": await self._need_queue().retry_dead(jobs)})

    def _need_queue(self) -> JobQueue:
        if self.queue is None:
            raise _missing("this server has no queue; start it with --redis URL")
        return self.queue

    # Training.

    async def _list_runs(self, _: Request) -> Response:
        return JSONResponse({"runs": await asyncio.to_thread(self._need_runs().list)})

    async def _read_run(self, request: Request) -> Response:
        offset = request.query_params.get("from", "0")
        if not offset.isdecimal():
            raise FieldError("from", "is no number of bytes")
        return JSONResponse(await asyncio.to_thread(self._need_runs().read, request.path_params["id"], int(offset)))

    def _need_runs(self) -> Runs:
        if self.runs is None:
            raise _missing("this server shows no training runs; start it with --runs DIR")
        return self.runs

    def _in_words(self, handle: Handler) -> Handler:
        """Turn named callers away, who would see and cancel what is others', and put errors of the queue into words."""

        async def handled(request: Request) -> Response:
            if request.state.caller.name:
                message = "these pages show what all callers do; ask with the token of the server (--token-file)"
                raise HttpError(403, "permission_error", message, code="not_for_callers", reason=UNAUTHENTICATED)
            try:
                return await handle(request)
            except (UnknownJobError, UnknownRunError) as error:
                raise _missing(str(error)) from None
            except QueueUnavailableError as error:
                raise HttpError(503, "server_error", str(error), code="unavailable", reason="unavailable") from None

        return handled


def _missing(message: str) -> HttpError:
    return HttpError(404, "invalid_request_error", message, code="not_found", reason="not_found")


async def _home(_: Request) -> Response:
    return RedirectResponse(f"{ROOT}/")


async def _page(_: Request) -> Response:
    return HTMLResponse(shell(), headers=HEADERS)


async def _file(request: Request) -> Response:
    return FileResponse(STATIC / request.url.path.rpartition("/")[2], headers=HEADERS)


async def _body(request: Request) -> dict[str, Any]:
    value = await read_json(request, MAX_BODY)
    if not isinstance(value, dict):
        raise FieldError("body", "is no object")
    return value


def _problem(asked: dict[str, Any]) -> Problem:
    text, check = asked.get("text"), asked.get("check") or ""
    if not isinstance(text, str):
        raise FieldError("text", "is no text")
    require_text(text, "text")
    if not isinstance(check, str):
        raise FieldError("check", "is no text")
    try:
        return Problem("", text, parse_check(check) if check.strip() else None)
    except CheckError as error:
        raise FieldError("check", str(error)) from None


def _settings(asked: dict[str, Any]) -> Settings:
    k, policy, seed = asked.get("k"), asked.get("policy"), asked.get("seed")
    for name, value in (("k", k), ("seed", seed)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise FieldError(name, "is no whole number")
    if policy is not None and not isinstance(policy, str):
        raise FieldError("policy", "is no text")
    return Settings(k=k, policy=policy or None, seed=seed)


def _last_event(request: Request) -> str:
    return request.headers.get("last-event-id", "")
