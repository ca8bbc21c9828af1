"""What services and clients read from gRPC calls: request id, deadline, and statuses with details to act on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import grpc.aio
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from espalier.common.errors import FieldError

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]

Metadata = Mapping[str, str | bytes]
"""The metadata of a call, by key."""

MAX_MESSAGE = 500
"""Characters of a message in a status: it travels in a header, and those are small."""

REQUEST_ID = "x-request-id"
"""Metadata key of the id that the logs of a call carry; made up when the client sends none."""

MAX_REQUEST_ID = 128
"""Characters of a client's id that are kept."""

_DETAILS_KEY = "grpc-status-details-bin"


async def refuse_field(context: Context, error: FieldError) -> NoReturn:
    """End the call with INVALID_ARGUMENT and a BadRequest that names the field."""
    field, problem = error.field[:MAX_MESSAGE], error.problem[:MAX_MESSAGE]
    violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=problem)
    detail = error_details_pb2.BadRequest(field_violations=[violation])
    await _refuse(context, code_pb2.INVALID_ARGUMENT, f"{field}: {problem}"[:MAX_MESSAGE], detail)


async def refuse_load(context: Context, in_flight: int, delay: float) -> NoReturn:
    """End the call with RESOURCE_EXHAUSTED and a RetryInfo that says after how many seconds to come back."""
    await refuse_for_now(context, f"{in_flight} calls are being answered already; try again in {delay:.3g} s", delay)


async def refuse_for_now(context: Context, message: str, delay: float) -> NoReturn:
    """End the call with RESOURCE_EXHAUSTED, a message, and a RetryInfo of so many seconds."""
    wait = duration_pb2.Duration()
    wait.FromNanoseconds(int(delay * 1e9))
    await _refuse(context, code_pb2.RESOURCE_EXHAUSTED, message, error_details_pb2.RetryInfo(retry_delay=wait))


async def _refuse(context: Context, code: int, message: str, detail: Message) -> NoReturn:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status = rpc_status.to_status(status_pb2.Status(code=code, message=message, details=[packed]))
    await context.abort(status.code, status.details, status.trailing_metadata)


def field_of(error: grpc.aio.AioRpcError) -> FieldError:
    """The field that a server refused with INVALID_ARGUMENT."""
    detail = _detail(error, error_details_pb2.BadRequest())
    if detail is None or not detail.field_violations:
        return FieldError("request", error.details() or "refused by the server without a reason")
    violation = detail.field_violations[0]
    return FieldError(violation.field, violation.description)


def delay_of(error: grpc.aio.AioRpcError) -> float | None:
    """Seconds after which a server that refused with RESOURCE_EXHAUSTED wants to be asked again, if it said so."""
    detail = _detail(error, error_details_pb2.RetryInfo())
    return None if detail is None else detail.retry_delay.ToNanoseconds() / 1e9


def _detail(error: grpc.aio.AioRpcError, kind: Any) -> Any:
    """The detail of the type of `kind`, unpacked into it, or None when the server sent no such thing."""
    try:
        metadata: Any = error.trailing_metadata() or ()
        for key, value in metadata:
            if key == _DETAILS_KEY:
                for packed in status_pb2.Status.FromString(value).details:
                    if packed.Unpack(kind):
                        return kind
    except DecodeError:
        return None
    return None


def metadata_of(context: Context) -> Metadata:
    """What a client has sent beside the request, by key; of a key that was sent more than once the last value."""
    return dict(context.invocation_metadata() or ())


def request_id_of(metadata: Metadata) -> str:
    """The client's id for a call, or a new one."""
    return known_or_new(metadata.get(REQUEST_ID))


def known_or_new(sent: object) -> str:
    """An id that a client sent, cut to a decent length, or a new one if it sent none."""
    return str(sent)[:MAX_REQUEST_ID] if sent else os.urandom(16).hex()


def seconds_left(context: Context) -> float | None:
    """Seconds until the caller's deadline minus a margin for the way back; None without a deadline.

    A gRPC deadline travels rounded up by as much as 1 %: that is part of the margin.
    """
    left: float | None = context.time_remaining()
    return None if left is None else 0.99 * left - min(0.5, 0.2 * left)
