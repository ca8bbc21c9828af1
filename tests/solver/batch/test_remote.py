"""The queue behind a server: what its clients go through with it."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
import pytest

from espalier.solver.batch.connection import QueueUnavailableError
from espalier.solver.batch.remote import RemoteQueue
from espalier.v1 import solver_pb2 as pb
from espalier.v1 import solver_pb2_grpc


class Draining(solver_pb2_grpc.SolverServicer):
    """A server that ends its first calls in the middle, as one that drains does."""

    def __init__(self, *done: int) -> None:
        self._calls = list(done)

    async def WatchBatch(self, request: pb.GetBatchRequest, context: Any) -> Any:  # noqa: N802
        until = self._calls.pop(0)
        for done in range(until + 1):
            await context.write(pb.BatchStatus(id="b", jobs=3, queued=3 - done, done=done))
        if self._calls:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the server drains")


async def watched(service: Draining) -> list[int]:
    server = grpc.aio.server()
    solver_pb2_grpc.add_SolverServicer_to_server(service, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            return [batch.ended async for batch in RemoteQueue(channel).watch_batch("b")]
    finally:
        await server.stop(None)


async def test_a_batch_is_watched_on_behind_a_server_that_ends_meanwhile() -> None:
    assert await watched(Draining(1, 2, 3)) == [0, 1, 0, 1, 2, 0, 1, 2, 3]


async def test_a_server_that_is_not_there_is_told_at_once() -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        with pytest.raises(QueueUnavailableError):
            await anext(RemoteQueue(channel).watch_batch("b"))
