"""A server and a client in one event loop, driven from synchronous code: what fuzzers poke at."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

import grpc
import grpc.aio
from google.protobuf.message import Message

from espalier.v1 import verifier_pb2 as pb
from espalier.verifiers.local import LocalVerifiers
from tests.verifiers.running import SERVING, health, running, until_health

REQUESTS: dict[str, type[Message]] = {
    "Verify": pb.VerifyRequest,
    "Equivalent": pb.EquivalentRequest,
    "Classes": pb.ClassesRequest,
    "Describe": pb.DescribeRequest,
}
ANSWERED = frozenset({grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT})


class Probe:
    """Sends messages to a server over `hub` and looks at what is left behind."""

    def __init__(self, hub: LocalVerifiers) -> None:
        self._hub = hub
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        self._runner.__enter__()
        self._runner.run(self._open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._runner.run(self._close())
        finally:
            self._runner.__exit__(kind, error, trace)

    def send(self, method: str, body: bytes, seconds: float = 20.0) -> grpc.StatusCode:
        """The status that a message gets."""
        return self._runner.run(self._send(method, body, seconds))

    def abandon(self, method: str, body: bytes, turns: int) -> None:
        """Send a message and cancel the call after some turns of the event loop."""
        self._runner.run(self._abandon(method, body, turns))

    def assert_nothing_is_left(self) -> None:
        """No task of an earlier call is still alive, and the server serves."""
        self._runner.run(self._settled())

    async def _open(self) -> None:
        self._running = running(self._hub)
        self._channel = grpc.aio.insecure_channel(await self._running.__aenter__())
        await until_health(self._channel, SERVING)
        await self._send("Describe", b"", 20)
        await asyncio.sleep(0.1)
        self._at_rest = len(asyncio.all_tasks())

    async def _close(self) -> None:
        await self._channel.close()
        await self._running.__aexit__(None, None, None)

    async def _send(self, method: str, body: bytes, seconds: float) -> grpc.StatusCode:
        call = self._channel.unary_unary(f"/espalier.v1.Verifier/{method}")(body, timeout=seconds)
        try:
            await call
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    async def _abandon(self, method: str, body: bytes, turns: int) -> None:
        task = asyncio.create_task(self._send(method, body, 20))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    async def _settled(self) -> None:
        async with asyncio.timeout(60):
            while len(asyncio.all_tasks()) > self._at_rest:  # noqa: ASYNC110  (tasks do not announce their end)
                await asyncio.sleep(0.001)
        assert await health(self._channel) == SERVING
