"""OpenAI's batches as submissions and results of the queue. Pure functions on JSON values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from espalier.common.errors import FieldError
from espalier.solver.batch.batches import Batch
from espalier.solver.batch.files import StoredFile
from espalier.solver.batch.queue import MAX_JOBS, BatchRow
from espalier.solver.batch.status import ENDED
from espalier.solver.core.limits import require_name, require_no_surrogates
from espalier.solver.core.problem import Problem
from espalier.solver.core.proto import decode_result
from espalier.solver.core.settings import ServerLimits, Settings
from espalier.solver.service.chat import Chat
from espalier.solver.service.fields import RequestFields, SolveCall, UnknownModelError, plan_of
from espalier.solver.service.replies import Head
from espalier.v1 import solver_pb2 as pb

CHAT = Chat()
ENDPOINT = CHAT.path
"""The one endpoint that lines of a batch may ask for."""

WINDOW = "24h"
"""What OpenAI's clients must send as the window of completion. Batches here do not expire."""

OUTPUT, ERRORS = "output", "errors"
"""The two files that a batch ends with."""

MAX_PAIRS, MAX_PAIR_NAME, MAX_VALUE = 16, 64, 512
"""Of a batch's metadata: pairs, characters of a name, characters of a value."""

_CODES = {pb.JOB_STATE_CANCELLED: "batch_cancelled", pb.JOB_STATE_DEAD: "job_failed"}


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """What the body of `POST /v1/batches` asks for.

    Attributes:
        input_file: Id of the file with the lines.
        metadata: The client's own.
        webhook: Who is told of the end; empty: the server's own.
        priority: Of its jobs before others of the same caller.
    """

    input_file: str
    metadata: dict[str, str]
    webhook: str
    priority: int


@dataclass(frozen=True, slots=True)
class Line:
    """A line of an input file.

    Attributes:
        number: Of the line, from 1.
        problem: What to solve; its id is the line's custom_id.
        settings: How.
    """

    number: int
    problem: Problem
    settings: Settings


def read_batch_request(body: Any) -> BatchRequest:
    """Read the body of `POST /v1/batches`.

    Raises:
        FieldError: A field is wrong, or asks for what batches do not do here.
    """
    fields = RequestFields(body)
    input_file = fields.typed("input_file_id", str, "the id of a file")
    if not input_file:
        raise FieldError("input_file_id", "is missing; give the id of a file")
    for name, only in (("endpoint", ENDPOINT), ("completion_window", WINDOW)):
        value = fields.typed(name, str, "a string")
        if not value:
            raise FieldError(name, f"is missing; give {only!r}")
        if value != only:
            raise FieldError(name, f"{value[:80]!r} is not served here; there is: {only}")
    webhook = fields.typed("webhook", str, "an address") or ""
    priority = fields.typed("priority", int, "a whole number") or 0
    metadata = fields.take("metadata")
    for name in fields.left:
        raise FieldError(name[:80], "is no field of a batch here; leave it out")
    return BatchRequest(input_file, {} if metadata is None else _metadata(metadata), webhook, priority)


def read_lines(content: bytes, models: Sequence[str], limits: ServerLimits) -> list[Line]:
    """Read an input file.

    Args:
        content: The file.
        models: Names that the model goes by.
        limits: What a request may ask for.

    Raises:
        FieldError: A line is wrong; the error names it and its field.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FieldError("input_file_id", f"is not UTF-8: {error.reason} at byte {error.start}") from None
    lines: list[Line] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        if len(lines) == MAX_JOBS:
            raise FieldError("input_file_id", f"has more than {MAX_JOBS} requests; make several batches")
        try:
            read = _read_line(number, line, models, limits)
        except FieldError as error:
            raise FieldError("input_file_id", f"line {number}: {error}") from None
        if (other := seen.setdefault(read.problem.id, number)) != number:
            raise FieldError("input_file_id", f"line {number}: custom_id: is also that of line {other}")
        lines.append(read)
    if not lines:
        raise FieldError("input_file_id", "has no request in it")
    return lines


def _read_line(number: int, line: str, models: Sequence[str], limits: ServerLimits) -> Line:
    try:
        value = json.loads(line)
        if "\\u" in line:
            require_no_surrogates(value, "")
    except FieldError:
        raise
    except (ValueError, RecursionError) as error:
        raise FieldError("line", f"is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise FieldError("line", 'is not a JSON object like {"custom_id": …, "method": …, "url": …, "body": …}')
    if unknown := sorted(value.keys() - {"custom_id", "method", "url", "body"}):
        raise FieldError(unknown[0][:80], "is no field of a line")
    name = value.get("custom_id")
    if not isinstance(name, str):
        raise FieldError("custom_id", "is missing; give a name of the line as a string")
    require_name(name, "custom_id", what="a name of the line")
    for field, only in (("method", "POST"), ("url", ENDPOINT)):
        if value.get(field) != only:
            raise FieldError(field, f"give {only!r}")
    try:
        call = CHAT.read(value.get("body"), models)
        plan_of(call, limits)
    except UnknownModelError as error:
        raise FieldError("body.model", str(error)) from None
    except FieldError as error:
        raise FieldError(error.field if error.field == "body" else f"body.{error.field}", error.problem) from None
    if call.stream:
        raise FieldError("body.stream", "is true; lines of a batch are not streamed")
    if call.choices > 1:
        raise FieldError("body.n", f"is {call.choices}; a line of a batch is one solve: write several lines")
    return Line(number, replace(call.problem, id=name), call.settings)


def _metadata(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise FieldError("metadata", "is no object of strings")
    if len(value) > MAX_PAIRS:
        raise FieldError("metadata", f"has {len(value)} pairs; give at most {MAX_PAIRS}")
    for name, text in value.items():
        if len(name) > MAX_PAIR_NAME or len(text) > MAX_VALUE:
            limits = f"at most {MAX_PAIR_NAME} characters of a name and {MAX_VALUE} of a value"
            raise FieldError("metadata", f"{name[:MAX_PAIR_NAME]!r} is too long: {limits}")
    return value


# Replies.


def described_batch(batch: Batch) -> dict[str, Any]:
    """A batch as OpenAI's clients know it."""
    states = batch.states
    done, ended = states[pb.JOB_STATE_DONE], batch.ended == batch.count
    failed = batch.ended - done
    finished = round(batch.finished) if batch.finished is not None and ended else None
    cancelled = None if batch.cancelled is None else round(batch.cancelled)
    if not ended:
        status = "in_progress" if cancelled is None else "cancelling"
    else:
        status = "completed" if cancelled is None else "cancelled"
    submitted = round(batch.submitted)
    return {
        "id": f"batch_{batch.id}",
        "object": "batch",
        "endpoint": ENDPOINT,
        "errors": None,
        "input_file_id": batch.info.input_file,
        "completion_window": WINDOW,
        "status": status,
        "output_file_id": result_file_id(batch.id, OUTPUT) if ended and done else None,
        "error_file_id": result_file_id(batch.id, ERRORS) if ended and failed else None,
        "created_at": submitted,
        "in_progress_at": submitted,
        "expires_at": None,
        "finalizing_at": finished,
        "completed_at": finished if cancelled is None else None,
        "failed_at": None,
        "expired_at": None,
        "cancelling_at": cancelled,
        "cancelled_at": None if cancelled is None else finished,
        "request_counts": {"total": batch.count, "completed": done, "failed": failed},
        "metadata": dict(batch.info.metadata) or None,
    }


def described_file(file: StoredFile) -> dict[str, Any]:
    """An uploaded file as OpenAI's clients know it."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": round(file.created),
        "expires_at": round(file.expires),
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def described_results(batch: Batch, kind: str, size: int) -> dict[str, Any]:
    """The file of results of a batch as OpenAI's clients know it."""
    return {
        "id": result_file_id(batch.id, kind),
        "object": "file",
        "bytes": size,
        "created_at": round(batch.finished or batch.submitted),
        "expires_at": None,
        "filename": f"batch_{batch.id}_{kind}.jsonl",
        "purpose": "batch_output",
        "status": "processed",
        "status_details": None,
    }


def result_file_id(batch: str, kind: str) -> str:
    """The id of one of the files that a batch ends with. They are made from its results whenever they are read."""
    return f"file-{batch}-{kind}"


def result_file_of(file: str) -> tuple[str, str] | None:
    """Batch and kind of a file of results; None: the id is that of no such file."""
    for kind in (OUTPUT, ERRORS):
        if file.startswith("file-") and file.endswith(f"-{kind}"):
            return file.removeprefix("file-").removesuffix(f"-{kind}"), kind
    return None


def result_lines(rows: Sequence[BatchRow], kind: str, model: str) -> Iterator[bytes]:
    """The lines of a file of results, of those jobs that belong into it.

    Args:
        rows: Jobs of the batch.
        kind: `OUTPUT` for what has a result, `ERRORS` for what has ended without one.
        model: What the model is called.
    """
    for row in rows:
        if row.job is None or row.response is None:
            line = _failed(row.id, row.id, "job_lost", "the queue has lost this request; submit it again")
        elif row.response.HasField("result"):
            line = _completed(row.job, row.response, model)
        elif row.response.status.state in ENDED:
            status = row.response.status
            line = _failed(row.id, row.job.problem.id, _CODES.get(status.state, "job_failed"), status.reason)
        else:
            continue
        if (line["error"] is None) == (kind == OUTPUT):
            yield json.dumps(line, ensure_ascii=False).encode() + b"\n"


def _completed(job: pb.Job, response: pb.GetJobResponse, model: str) -> dict[str, Any]:
    result, head = decode_result(response.result), Head((job.id,), model, round(response.status.finished))
    body = CHAT.reply(head, SolveCall(result.problem, Settings()), [result])
    reply = {"status_code": 200, "request_id": job.id, "body": body}
    return {"id": f"batch_req_{job.id}", "custom_id": job.problem.id, "response": reply, "error": None}


def _failed(job: str, name: str, code: str, message: str) -> dict[str, Any]:
    error = {"code": code, "message": message or "the batch was cancelled before this request ended"}
    return {"id": f"batch_req_{job}", "custom_id": name, "response": None, "error": error}
