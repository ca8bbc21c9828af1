"""`/v1/files` and `/v1/batches` over the queue, for every client that speaks OpenAI's protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from espalier.common.errors import FieldError
from espalier.common.tracing import TRACEPARENT
from espalier.solver.batch.batches import Batch, BatchInfo
from espalier.solver.batch.connection import QueueUnavailableError, UnusableQueueError
from espalier.solver.batch.files import UnknownFileError
from espalier.solver.batch.limits import OverLimitError, QueueLimits
from espalier.solver.batch.queue import DEFAULT_PAGE, BatchRow, JobQueue, KeyTakenError
from espalier.solver.batch.status import UnknownJobError
from espalier.solver.core.limits import require_name
from espalier.solver.core.proto import encode_problem, encode_settings
from espalier.solver.service.batch_lines import (
    described_batch,
    described_file,
    described_results,
    read_batch_request,
    read_lines,
    result_file_of,
    result_lines,
)
from espalier.solver.service.http import ALIAS, Guard, Handler, model_name
from espalier.solver.service.http_error import HttpError
from espalier.solver.service.queue_access import QUEUE_SECONDS, NoQueueError, QueueAccess
from espalier.solver.service.requests import BODY_SECONDS, read_json
from espalier.solver.session.idempotency import KEY
from espalier.solver.session.session import SolveSession

PURPOSE = "batch"
"""The one purpose that files have here."""

MAX_BATCHES, DEFAULT_BATCHES = 100, 20
MAX_FILES_LISTED = 10_000

FORM_BYTES = 1 << 16
"""What a form may have beside its file."""


class BatchRoutes:
    """The handlers.

    Args:
        session: Knows the limits of requests, and validates checks.
        access: Has the queue.
        max_file: Largest file in bytes.
    """

    def __init__(self, session: SolveSession, access: QueueAccess, max_file: int) -> None:
        self._session = session
        self._access = access
        self._max_file = max_file
        self._model = model_name(session)

    def routes(self, guard: Guard) -> Sequence[BaseRoute]:
        """See :class:`espalier.solver.service.http.Addition`."""

        def route(path: str, **handlers: Handler) -> Route:
            async def handle(request: Request) -> Response:
                method = "GET" if request.method == "HEAD" else request.method  # the server leaves the body out
                with _queue_errors():
                    return await handlers[method](request)

            return Route(path, guard(handle), methods=list(handlers))

        return [
            route("/v1/files", POST=self._upload, GET=self._files),
            route("/v1/files/{file}", GET=self._file, DELETE=self._delete),
            route("/v1/files/{file}/content", GET=self._content),
            route("/v1/batches", POST=self._create, GET=self._batches),
            route("/v1/batches/{batch}", GET=self._batch),
            route("/v1/batches/{batch}/cancel", POST=self._cancel),
        ]

    # Files.

    async def _upload(self, request: Request) -> Response:
        queue = await self._access.queue()
        form = await _read_form(request, self._max_file)
        upload, purpose = form.get("file"), form.get("purpose")
        if not isinstance(upload, UploadFile):
            raise FieldError("file", "is missing; send it as a part of multipart/form-data")
        if purpose != PURPOSE:
            raise FieldError("purpose", f"is not {PURPOSE!r}; files are for batches here")
        if unknown := sorted(form.keys() - {"file", "purpose"}):
            raise FieldError(unknown[0][:80], "is no field of a file here; leave it out")
        name = upload.filename or "file"
        require_name(name, "file")
        content = await upload.read()
        limits = QueueLimits.of(request.state.caller)
        return JSONResponse(described_file(await queue.files.add(_caller(request), name, PURPOSE, content, limits)))

    async def _files(self, request: Request) -> Response:
        files = [described_file(file) for file in await (await self._access.queue()).files.list(_caller(request))]
        if request.query_params.get("purpose", PURPOSE) != PURPOSE:
            files = []
        order = request.query_params.get("order", "desc")
        if order not in ("asc", "desc"):
            raise FieldError("order", "is neither asc nor desc")
        files = files if order == "desc" else files[::-1]
        limit = _limit(request, MAX_FILES_LISTED, MAX_FILES_LISTED)
        after = request.query_params.get("after")
        if after is not None:
            ids = [file["id"] for file in files]
            if after not in ids:
                raise FieldError("after", "is the id of no file")
            files = files[ids.index(after) + 1 :]
        return JSONResponse(_page(files[:limit], more=len(files) > limit))

    async def _file(self, request: Request) -> Response:
        queue, file = await self._access.queue(), request.path_params["file"]
        if (results := result_file_of(file)) is None:
            return JSONResponse(described_file(await queue.files.get(file, _caller(request))))
        batch = await self._ended(queue, request, *results)
        size = 0
        async for line in self._lines(queue, batch, results[1]):
            size += len(line)
        return JSONResponse(described_results(batch, results[1], size))

    async def _content(self, request: Request) -> Response:
        queue, file = await self._access.queue(), request.path_params["file"]
        media = "application/jsonl"
        if (results := result_file_of(file)) is None:
            return Response(await queue.files.content(file, _caller(request)), media_type=media)
        batch = await self._ended(queue, request, *results)
        return StreamingResponse(self._lines(queue, batch, results[1]), media_type=media)

    async def _delete(self, request: Request) -> Response:
        queue, file = await self._access.queue(), request.path_params["file"]
        if result_file_of(file) is not None:
            raise FieldError("file", "holds results of a batch, which are forgotten together; it cannot be deleted")
        await queue.files.delete(file, _caller(request))
        return JSONResponse({"id": file, "object": "file", "deleted": True})

    async def _ended(self, queue: JobQueue, request: Request, batch: str, kind: str) -> Batch:
        """The batch of a file of results, if it has that file by now."""
        found = await queue.batch(batch, _caller(request))
        if f"file-{found.id}-{kind}" not in (
            described_batch(found)["output_file_id"],
            described_batch(found)["error_file_id"],
        ):
            raise UnknownFileError(f"batch_{found.id} has no such file; see its output_file_id and error_file_id")
        return found

    async def _lines(self, queue: JobQueue, batch: Batch, kind: str) -> AsyncGenerator[bytes]:
        rows: list[BatchRow] = []
        async for row in queue.read(batch):
            rows.append(row)
            if len(rows) == DEFAULT_PAGE:
                yield b"".join(result_lines(rows, kind, self._model))
                rows = []
        yield b"".join(result_lines(rows, kind, self._model))

    # Batches.

    async def _create(self, request: Request) -> Response:
        queue, caller = await self._access.queue(), _caller(request)
        asked = read_batch_request(await read_json(request, self._max_file))
        webhook = self._access.webhook(asked.webhook)
        try:
            content = await queue.files.content(asked.input_file, caller)
        except UnknownFileError as error:
            raise FieldError("input_file_id", str(error)) from None
        lines = await asyncio.to_thread(read_lines, content, (self._model, ALIAS), self._session.limits)
        problems = [line.problem for line in lines]
        try:
            await self._session.validate_all(problems, lambda number: f"line {lines[number].number}: body.")
        except FieldError as error:
            raise FieldError("input_file_id", str(error)) from None
        try:
            submitted = await queue.submit(
                [encode_problem(problem) for problem in problems],
                [encode_settings(line.settings) for line in lines],
                request.headers.get(KEY, ""),
                request.headers.get(TRACEPARENT, ""),
                BatchInfo(caller, webhook, asked.input_file, asked.metadata, asked.priority),
                QueueLimits.of(request.state.caller),
            )
        except KeyTakenError as error:
            raise FieldError(KEY, str(error)) from None
        return JSONResponse(described_batch(await queue.batch(submitted.batch_id, caller)))

    async def _batch(self, request: Request) -> Response:
        return JSONResponse(described_batch(await self._found(await self._access.queue(), request)))

    async def _cancel(self, request: Request) -> Response:
        queue = await self._access.queue()
        await queue.cancel_batch(await self._found(queue, request))
        return JSONResponse(described_batch(await self._found(queue, request)))

    async def _batches(self, request: Request) -> Response:
        queue, caller = await self._access.queue(), _caller(request)
        limit, after = _limit(request, MAX_BATCHES, DEFAULT_BATCHES), request.query_params.get("after")
        token = ""
        if after is not None:
            try:
                token = f"{(await queue.batch(after.removeprefix('batch_'), caller)).submitted:.6f}"
            except UnknownJobError:
                raise FieldError("after", "is the id of no batch") from None
        batches, more = await queue.batches(limit, token, caller)
        return JSONResponse(_page([described_batch(batch) for batch in batches], more=bool(more)))

    async def _found(self, queue: JobQueue, request: Request) -> Batch:
        return await queue.batch(request.path_params["batch"].removeprefix("batch_"), _caller(request))


@contextmanager
def _queue_errors() -> Iterator[None]:
    try:
        yield
    except (UnknownJobError, UnknownFileError) as error:
        raise HttpError(404, "invalid_request_error", str(error), code="not_found", reason="not_found") from None
    except OverLimitError as error:
        raise HttpError(
            429, "rate_limit_error", str(error), code="rate_limit_exceeded", delay=QUEUE_SECONDS, reason="load"
        ) from None
    except QueueUnavailableError as error:
        raise HttpError(503, "server_error", str(error), code="unavailable", reason="unavailable") from None
    except (NoQueueError, UnusableQueueError) as error:
        raise HttpError(400, "invalid_request_error", str(error), code="no_queue", reason="no_queue") from None


def _caller(request: Request) -> str:
    name: str = request.state.caller.name
    return name


def _limit(request: Request, most: int, default: int) -> int:
    text = request.query_params.get("limit", str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 0 < int(text) <= most):
        raise FieldError("limit", f"is {text[:40]!r}; give 1 to {most}")
    return int(text)


def _page(data: list[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"object": "list", "data": data, **ends, "has_more": more}


async def _read_form(request: Request, max_file: int) -> dict[str, Any]:
    """The fields of a form with one file.

    Raises:
        HttpError: It is no such form (415), is too large (413), or takes too long (408).
        FieldError: It cannot be read.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        raise HttpError(415, "invalid_request_error", "send the file as multipart/form-data")
    # Python knows charsets that make half of a surrogate pair, and some that are no encoding of text.
    if options.get(b"charset", b"utf-8").lower() != b"utf-8":
        raise HttpError(415, "invalid_request_error", "send the form in UTF-8")

    async def bounded() -> AsyncGenerator[bytes]:
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > max_file + FORM_BYTES:
                raise HttpError(413, "invalid_request_error", f"the file has more than {max_file} bytes")
            yield part

    parser = MultiPartParser(request.headers, bounded(), max_files=1, max_fields=8, max_part_size=FORM_BYTES)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            form = await parser.parse()
    except TimeoutError:
        raise HttpError(408, "invalid_request_error", f"the body took more than {BODY_SECONDS:g} s") from None
    except MultiPartException as error:
        raise FieldError("body", f"is no form: {error.message}") from None
    except KeyError:
        raise FieldError("body", "is no form: its header names no boundary") from None
    return dict(form)
