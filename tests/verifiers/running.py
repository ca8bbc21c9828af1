"""A verifier server on a free port, for the length of a `with`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from espalier.common.security import ServerSecurity
from espalier.verifiers.local import LocalVerifiers
from espalier.verifiers.service import ServerSettings, VerifierServer

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@asynccontextmanager
async def running(
    verifiers: LocalVerifiers,
    settings: ServerSettings | None = None,
    security: ServerSecurity | None = None,
) -> AsyncIterator[str]:
    """The address of a server over `verifiers` that has warmed up, drained at the end."""
    settings = settings or ServerSettings(address="127.0.0.1:0", grace_seconds=5)
    server = VerifierServer(verifiers, settings, security or ServerSecurity())
    port = await server.start()
    address = settings.address if port == 0 or settings.address.startswith("unix:") else f"127.0.0.1:{port}"
    try:
        await asyncio.sleep(0)
        yield address
    finally:
        await server.drain()


async def health(channel: grpc.aio.Channel, service: str = "") -> int:
    """What the health service says of a service."""
    stub = health_pb2_grpc.HealthStub(channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status


async def until_health(channel: grpc.aio.Channel, status: int, service: str = "") -> None:
    """Wait until the health service says so."""
    stub = health_pb2_grpc.HealthStub(channel)
    async for response in stub.Watch(health_pb2.HealthCheckRequest(service=service)):
        if response.status == status:
            return


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition of a test double holds."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  (doubles do not announce their state)
            await asyncio.sleep(0.001)
