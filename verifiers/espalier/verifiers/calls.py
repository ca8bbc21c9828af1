"""What a service reads from the call itself: who asks, and how long there is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from espalier.common.grpc_errors import Context

REQUEST_ID = "x-request-id"
"""Metadata key of the id that the logs of a call carry; made up when the client sends none."""

MAX_REQUEST_ID = 128
"""Characters of a client's id that are kept."""


def request_id_of(context: Context) -> str:
    """The client's id for a call, or a new one."""
    return known_or_new(dict(context.invocation_metadata() or ()).get(REQUEST_ID))


def known_or_new(sent: object) -> str:
    """An id that a client sent, cut to a decent length, or a new one if it sent none."""
    return str(sent)[:MAX_REQUEST_ID] if sent else os.urandom(16).hex()


def seconds_left(context: Context) -> float | None:
    """Seconds until the caller's deadline minus a margin for the way back; None without a deadline.

    A gRPC deadline travels rounded up by as much as 1 %: that is part of the margin.
    """
    left: float | None = context.time_remaining()
    return None if left is None else 0.99 * left - min(0.5, 0.2 * left)
