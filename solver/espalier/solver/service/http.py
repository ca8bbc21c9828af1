"""OpenAI's endpoints and `GET /v1/models` over the session, for every client that speaks OpenAI's protocol."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, aclosing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, TypeVar

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from espalier.common.errors import FieldError, ListenError
from espalier.common.grpc_errors import REQUEST_ID, known_or_new
from espalier.common.security import UNAUTHENTICATED, ServerSecurity
from espalier.common.tracing import TRACEPARENT
from espalier.runtime.engine import RequestRefused
from espalier.solver.core.events import Solved, SolveEvent, Streamed
from espalier.solver.core.result import Result
from espalier.solver.service.chat import Chat
from espalier.solver.service.completions import Completions
from espalier.solver.service.fields import SolveCall, UnknownModelError, plans_of
from espalier.solver.service.http_error import HttpError
from espalier.solver.service.live_text import LiveText
from espalier.solver.service.replies import Dialect, Head, ReplyStream, pieces, progress_of, response_of
from espalier.solver.service.requests import read_json, require_same_origin
from espalier.solver.service.responses import Responses
from espalier.solver.session.admission import AdmissionFullError, DrainingError
from espalier.solver.session.idempotency import KEY
from espalier.solver.session.metrics import SolverMetrics
from espalier.solver.session.session import SlowReaderError, SolveRequest, SolveSession, SolveUnavailableError

ALIAS = "espalier"
"""A model name that every server answers to."""

DIALECTS: tuple[Dialect, ...] = (Chat(), Completions(), Responses())

BACKLOG = 1024

FLUSH_SECONDS = 1
"""Time for replies to leave once the server ends."""

HEAD_SECONDS = 30.0
"""A head of a request that takes longer does not come any more."""

MAX_PATH = 200
"""Characters of a path in the log."""

KEEP_ALIVE_SECONDS = 15.0
"""A stream that is silent for so long says that it is still there."""

Made = TypeVar("Made")

Handler = Callable[[Request], Awaitable[Response]]

ExceptionHandler = Callable[[Request, Exception], Awaitable[Response]]

Guard = Callable[[Handler], Handler]
"""Makes a handler one that asks for the token, counts calls and turns errors into replies."""

log = structlog.get_logger()


def model_name(session: SolveSession) -> str:
    """What the model is called: as the engine calls it."""
    return Path(session.solver.engine.info.model).name or ALIAS


class ClientGoneError(Exception):
    """The client has left."""


class Addition(Protocol):
    """More to serve. Handlers that are for callers with the token only go through the guard."""

    def routes(self, guard: Guard) -> Sequence[BaseRoute]: ...


class Endpoint:
    """The handlers.

    Args:
        session: Solves.
        security: Who may call.
        max_body: Largest body in bytes.
    """

    def __init__(self, session: SolveSession, security: ServerSecurity, max_body: int) -> None:
        self._session = session
        self._security = security
        self._max_body = max_body
        self._more: list[BaseRoute] = []
        self._created = int(time.time())
        self.serving: Callable[[], bool] = lambda: True
        """Whether engine and verifiers work, for `/healthz`."""
        self._model = model_name(session)

    def app(self) -> Starlette:
        """As an ASGI application."""
        return Starlette(
            routes=[
                *(Route(one.path, self._guarded(self._solving(one)), methods=["POST"]) for one in DIALECTS),
                Route("/v1/models", self._guarded(self._models), methods=["GET"]),
                Route("/v1/models/{model}", self._guarded(self._one_model), methods=["GET"]),
                Route("/healthz", self._health, methods=["GET"]),
                *self._more,
            ],
            exception_handlers={404: self._unrouted(_no_such_path), 405: self._unrouted(_no_such_method)},
        )

    def add(self, pages: Addition) -> None:
        """Serve more, before it starts."""
        self._more.extend(pages.routes(self._guarded))

    def _solving(self, dialect: Dialect) -> Handler:
        """The handler of an endpoint that solves."""

        async def complete(request: Request) -> Response:
            body = await read_json(request, self._max_body)
            call = dialect.read(body, (self._model, ALIAS))
            requests = self._requests(call, request)
            head = Head(tuple(one.id for one in requests), self._model, int(time.time()))
            key = request.headers.get(KEY)
            if not call.stream:

                async def solve_all() -> dict[str, Any]:
                    return dialect.reply(head, call, await self._session.solve_all(requests))

                if key is None:
                    return JSONResponse(await _unless_gone(request, solve_all()))
                asked = json.dumps([dialect.path, body], sort_keys=True).encode()
                name = request.state.caller.name
                return JSONResponse(await _unless_gone(request, self._session.calls.reply(name, key, asked, solve_all)))
            if key is not None:
                raise FieldError(KEY, "is for replies that are not streamed; leave it out, or set stream to false")
            chunks = self._chunks(dialect, call, requests, head)
            # Whatever keeps a solve from beginning is still an ordinary reply: the first chunk is made before the head.
            first = await _unless_gone(request, anext(chunks))
            return EventStream(first, kept_alive(chunks))

        return complete

    def _requests(self, call: SolveCall, request: Request) -> list[SolveRequest]:
        """A solve for each choice. Once the first is admitted the others wait: a call is refused as a whole or not."""
        return [
            SolveRequest(
                call.problem,
                plan,
                caller=request.state.caller,
                traceparent=request.headers.get(TRACEPARENT, ""),
                admitted=number > 0,
            )
            for number, plan in enumerate(plans_of(call, self._session.limits))
        ]

    async def _chunks(
        self, dialect: Dialect, call: SolveCall, requests: Sequence[SolveRequest], head: Head
    ) -> AsyncGenerator[str]:
        """The stream as server-sent events."""
        reply = dialect.stream(head, call)
        live = [LiveText() if request.plan.single and not request.plan.stop else None for request in requests]
        results: dict[int, Result] = {}
        started = False
        streams = [
            self._session.events(request, tokens=text is not None) for request, text in zip(requests, live, strict=True)
        ]
        async with aclosing(merged(streams)) as events:
            try:
                async for choice, (seconds, event) in events:
                    if not started:
                        for chunk in reply.begin():
                            yield chunk
                        started = True
                    for chunk in _told(reply, choice, head.solve_ids[choice], live[choice], event, seconds):
                        yield chunk
                    if isinstance(event, Solved):
                        results[choice] = event.result
                for chunk in reply.end([result for _, result in sorted(results.items())]):
                    yield chunk
            except Exception as error:
                if not started:
                    raise
                for chunk in reply.failed(_refusal_of(error).body):
                    yield chunk

    async def _health(self, _: Request) -> Response:
        """For probes: they carry no token, and learn nothing but this."""
        serving = self.serving()
        return JSONResponse({"status": "serving" if serving else "not serving"}, 200 if serving else 503)

    async def _models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._described()]})

    async def _one_model(self, request: Request) -> Response:
        wanted = request.path_params["model"]
        if wanted not in (self._model, ALIAS):
            raise UnknownModelError(wanted)
        return JSONResponse(self._described())

    def _described(self) -> dict[str, Any]:
        return {"id": self._model, "object": "model", "created": self._created, "owned_by": ALIAS}

    def _guarded(self, handle: Handler) -> Handler:
        """A handler for our own pages and callers with the token, with a request id and errors in OpenAI's shape."""

        async def guarded(request: Request) -> Response:
            request_id = _bind_id(request)
            access = AccessLog(request, self._session.metrics)
            try:
                require_same_origin(request, self._security)
                caller = self._security.identify(request.headers.get("authorization", ""))
                if caller is None:
                    raise HttpError(
                        401,
                        "authentication_error",
                        "send the bearer token as the API key",
                        code="invalid_api_key",
                        reason=UNAUTHENTICATED,
                    )
                request.state.caller = caller
                response = await handle(request)
            except ClientGoneError:
                access.end(499, "client_gone")
                return Response(status_code=499)
            except asyncio.CancelledError:
                access.end(499, "client_gone")
                raise
            except Exception as error:
                refusal = _refusal_of(error)
                self._session.metrics.refused(refusal.reason)
                response = refusal.response()
                access.end(refusal.status, refusal.reason)
            if isinstance(response, EventStream):
                response.ended = lambda: access.end(response.status_code, "ok")
            else:
                access.end(response.status_code, "ok")
            response.headers[REQUEST_ID] = request_id
            return response

        return guarded

    def _unrouted(self, describe: Callable[[Request, HTTPException], HttpError]) -> ExceptionHandler:
        """Refuses what no handler is for, counted and logged as every request."""

        async def refuse(request: Request, error: Exception) -> Response:
            assert isinstance(error, HTTPException)  # noqa: S101 (it has the status that this is for)
            request_id = _bind_id(request)
            access = AccessLog(request, self._session.metrics)
            refusal = describe(request, error)
            self._session.metrics.refused(refusal.reason)
            access.end(refusal.status, refusal.reason)
            response = refusal.response()
            response.headers.update({**(error.headers or {}), REQUEST_ID: request_id})
            return response

        return refuse


def _bind_id(request: Request) -> str:
    """The request's id; from now on it stands in the log, with the path."""
    request_id = known_or_new(request.headers.get(REQUEST_ID))
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id, method=request.scope["path"][:MAX_PATH])
    return request_id


class AccessLog:
    """One line of the log a request, when its reply has been sent; until then it counts as in flight.

    Args:
        request: Begins now.
        metrics: Counts it.
    """

    def __init__(self, request: Request, metrics: SolverMetrics) -> None:
        self._request = request
        self._start = time.perf_counter()
        self._in_flight = ExitStack()
        self._in_flight.enter_context(metrics.call())
        self._ended = False

    def end(self, status: int, outcome: str) -> None:
        """The request is over; only the first call counts."""
        if self._ended:
            return
        self._ended = True
        self._in_flight.close()
        told = {
            "verb": self._request.method,
            "peer": self._request.client.host if self._request.client else "",
            "status": status,
            "outcome": outcome,
            "seconds": round(time.perf_counter() - self._start, 4),
        }
        # In the loop's next turn: the reply is sent first.
        asyncio.get_running_loop().call_soon(partial(log.info, "request", **told))


class HttpServer:
    """Serves an endpoint in the running event loop.

    Args:
        endpoint: The handlers.
        address: `host:port`; port 0 takes any free one.
        security: What protects the address.
    """

    def __init__(self, endpoint: Endpoint, address: str, security: ServerSecurity) -> None:
        self._endpoint = endpoint
        self._address = address
        self._security = security

    def start(self) -> None:
        """Listen; afterwards `port` says where.

        Raises:
            UnsafeAddressError: The address is not loopback and nothing protects it.
            OSError: The address cannot be listened on.
        """
        self._security.require_safe(self._address)
        listener = _listen(self._address)
        with _tls(self._security) as tls:
            config = uvicorn.Config(
                self._endpoint.app(),
                lifespan="off",
                ws="none",
                http=_Connection,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=FLUSH_SECONDS,
                **tls,
            )
            config.load()
        self._server = _Embedded(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        self.port: int = listener.getsockname()[1]
        log.info("listening", protocol="http", address=self._address, port=self.port)

    def show_health(self, serving: Callable[[], bool]) -> None:
        """Where `/healthz` is to look."""
        self._endpoint.serving = serving

    async def close(self) -> None:
        """End; replies on their way get a moment, then they are cut."""
        self._server.should_exit = True
        await asyncio.wait([self._serving])


class _Connection(H11Protocol):
    """A connection that is closed when the head of a request does not come, or takes too long; uvicorn itself only
    ends connections that rest between two requests.

    uvicorn's other parser, httptools, is faster, but loses the body of a request that offers HTTP/2, as every one of
    Java's own client does.
    """

    _closing: asyncio.TimerHandle | None = None
    _begun: object = None
    """The last request whose head is complete."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not self._begun:
            self._begun = self.cycle
            self._stop_waiting()
        elif self._closing is None and (self.cycle is None or self.cycle.response_complete):
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        self._closing = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None


class _Embedded(uvicorn.Server):
    """A server whose process has its own mind about signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class EventStream(StreamingResponse):
    """Server-sent events, the first of which is there already. However it ends, their source is closed."""

    def __init__(self, first: str, rest: AsyncGenerator[str]) -> None:
        super().__init__(_joined(first, rest), media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        self._rest = rest
        self.ended: Callable[[], None] = lambda: None
        """Called once the stream is over, however that comes."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with aclosing(self._rest):
                await super().__call__(scope, receive, send)
        finally:
            self.ended()


async def kept_alive(chunks: AsyncGenerator[str]) -> AsyncGenerator[str]:
    """The same chunks, with a comment whenever there was none for a while, so that proxies keep the stream open."""
    coming: asyncio.Future[str | None] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(anext(chunks, None))
            done, _ = await asyncio.wait([coming], timeout=KEEP_ALIVE_SECONDS)
            if not done:
                yield ": still here\n\n"
            elif (made := coming.result()) is None:
                return
            else:
                coming = None
                yield made
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.wait([coming])
        await chunks.aclose()


async def _joined(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for one in rest:
        yield one


async def _unless_gone(request: Request, made: Awaitable[Made]) -> Made:
    """What is being made, unless the client leaves first: then it is cancelled.

    Raises:
        ClientGoneError: The client left.
    """
    making = asyncio.ensure_future(made)
    leaving = asyncio.create_task(_disconnect(request))
    leaving.add_done_callback(lambda _: making.cancel())  # not asyncio.wait: that is most of what a call costs here
    try:
        return await making
    except (Exception, asyncio.CancelledError):
        if leaving.done():
            raise ClientGoneError from None
        raise
    finally:
        leaving.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _told(
    reply: ReplyStream, choice: int, solve_id: str, live: LiveText | None, event: SolveEvent, seconds: float
) -> Iterator[str]:
    """What a stream says of an event.

    Args:
        reply: Makes the server-sent events.
        choice: Which of the reply's.
        solve_id: Of the choice.
        live: Tells the response on its way, where it is decided from the beginning whose it is.
        event: What happened.
        seconds: When, since the solve began.
    """
    if isinstance(event, Solved):
        response = response_of(event.result)
        for piece in pieces(response if live is None else live.rest(response)):
            yield from reply.response(choice, piece)
        yield from reply.solved(choice, event.result)
    elif isinstance(event, Streamed):
        if live is not None and (text := live.feed(event)):
            yield from reply.response(choice, text)
    elif (said := progress_of(solve_id, event, seconds)) is not None:
        yield from reply.progress(choice, said)


async def merged(streams: Sequence[AsyncGenerator[Made]]) -> AsyncGenerator[tuple[int, Made]]:
    """What several streams yield as it comes, each with its stream's number; the first failure ends all of them."""
    if len(streams) == 1:  # as mostly: without a task for each event
        async with aclosing(streams[0]) as only:
            async for item in only:
                yield 0, item
        return
    coming = {asyncio.ensure_future(anext(stream)): number for number, stream in enumerate(streams)}
    try:
        while coming:
            done, _ = await asyncio.wait(coming, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                number = coming.pop(one)
                try:
                    item = one.result()
                except StopAsyncIteration:
                    continue
                yield number, item
                coming[asyncio.ensure_future(anext(streams[number]))] = number
    finally:
        for one in coming:
            one.cancel()
        if coming:
            await asyncio.wait(coming)
        for one in coming:
            if not one.cancelled():
                one.exception()  # the first failure is told
        for stream in streams:
            await stream.aclose()


def _refusal_of(error: Exception) -> HttpError:
    """An error in OpenAI's shape."""
    match error:
        case HttpError():
            return error
        case FieldError():
            return HttpError(400, "invalid_request_error", str(error), param=error.field, code="invalid_value")
        case RequestRefused():
            return HttpError(400, "invalid_request_error", str(error), param="messages", code="invalid_value")
        case UnknownModelError():
            return HttpError(404, "invalid_request_error", str(error), param="model", code="model_not_found")
        case AdmissionFullError():
            return HttpError(
                429, "rate_limit_error", str(error), code="rate_limit_exceeded", delay=error.delay, reason="load"
            )
        case SlowReaderError():
            return HttpError(429, "rate_limit_error", str(error), code="slow_reader", reason="slow_reader")
        case DrainingError():
            return HttpError(503, "server_error", str(error), code="unavailable", reason="draining")
        case SolveUnavailableError():
            return HttpError(503, "server_error", str(error), code="unavailable", reason="unavailable")
    log.error("internal error", exc_info=error)
    message = "internal error; the server's log has it"
    return HttpError(500, "server_error", message, code="internal_error", reason="internal")


def _no_such_path(request: Request, _: HTTPException) -> HttpError:
    message = f"there is no {request.method} {request.url.path}"
    return HttpError(404, "invalid_request_error", message, code="unknown_url", reason="not_found")


def _no_such_method(request: Request, error: HTTPException) -> HttpError:
    allowed = (error.headers or {}).get("Allow", "another method")
    message = f"{request.url.path} takes {allowed}, not {request.method}"
    return HttpError(405, "invalid_request_error", message, code="method_not_allowed")


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ListenError(f"cannot listen on {address!r}: give HOST:PORT")
    host = host.strip("[]")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
        # Not create_server: asyncio turns Nagle's algorithm off only where the socket says that it is TCP.
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(BACKLOG)
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error}") from error
    listener.setblocking(False)
    return listener


@contextmanager
def _tls(security: ServerSecurity) -> Iterator[dict[str, Any]]:
    """What uvicorn wants to know: files, because Python's `ssl` reads nothing else."""
    if security.certificate is None or security.key is None:
        yield {}
        return
    import ssl

    with TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "certificate").write_bytes(security.certificate)
        (directory / "key").write_bytes(security.key)
        settings: dict[str, Any] = {"ssl_certfile": directory / "certificate", "ssl_keyfile": directory / "key"}
        if security.client_authority is not None:
            (directory / "authority").write_bytes(security.client_authority)
            settings |= {"ssl_ca_certs": directory / "authority", "ssl_cert_reqs": ssl.CERT_REQUIRED}
        yield settings
