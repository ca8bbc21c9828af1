"""Server-sent events: a stream that says it is still there, and from which a client goes on where it was cut off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import structlog
from starlette.responses import Response

from espalier.solver.service.http import EventStream

FIRST_SECONDS = 1.0
"""A stream whose first event takes longer begins without it."""

HEARTBEAT_SECONDS = 15.0
"""A stream that is silent for so long says that it is still there."""

Events = AsyncGenerator[tuple[str, str]]
"""Ids and data of events. A client that comes back sends the last id as `Last-Event-ID`."""

log = structlog.get_logger()


async def event_stream(events: Events) -> Response:
    """A reply that streams events and then says that this was the end.

    Raises:
        Exception: What keeps the first event from being made. What comes up later cuts the stream; the client comes
            back and is told then.
    """
    chunks = _chunks(events)
    return EventStream(await anext(chunks), chunks)


async def _chunks(events: Events) -> AsyncGenerator[str]:
    wait, begun = FIRST_SECONDS, False
    coming: asyncio.Future[tuple[str, str] | None] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(anext(events, None))
            done, _ = await asyncio.wait([coming], timeout=wait)
            if not done:
                yield ": still here\n\n"
            elif (made := coming.result()) is None:
                yield "event: end\ndata: {}\n\n"
                return
            else:
                coming = None
                yield f"id: {made[0]}\ndata: {made[1]}\n\n"
            wait, begun = HEARTBEAT_SECONDS, True
    except Exception as error:
        if not begun:
            raise
        log.warning("a stream was cut", reason=f"{type(error).__name__}: {error}")
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.wait([coming])
        await events.aclose()
