"""The life of a gRPC server: listen, warm up, watch over health, drain."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Protocol

import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2
from prometheus_client import CollectorRegistry

from espalier.common.metrics import metrics_server
from espalier.common.security import ServerSecurity
from espalier.common.signals import stop_on_signal

UNHEALTHY_SECONDS = 2.0
"""Pause between self-checks while something is unhealthy, and shortest pause at all times."""

FLUSH_SECONDS = 0.5
"""Time for last replies to leave, and for streams that never end (health watchers) to be cut."""

LIVENESS = "liveness"
"""A name that health always calls SERVING: whether the event loop still answers is all that a probe of it learns."""

REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Listening:
    """How a server listens, watches over its health, and ends.

    Attributes:
        address: Where to listen: `host:port` (port 0: any free one) or `unix:path`.
        metrics: Where to show Prometheus metrics, `host:port`; None: nowhere.
        grace_seconds: How long calls in flight may take after SIGTERM.
        health_seconds: Pause between self-checks.
        max_message_mib: Largest request and reply.
    """

    address: str = "127.0.0.1:0"
    metrics: str | None = None
    grace_seconds: float = 30.0
    health_seconds: float = 30.0
    max_message_mib: int = 16

    @property
    def channel_options(self) -> list[tuple[str, int]]:
        """Options of the gRPC server."""
        return [
            ("grpc.so_reuseport", 0),  # a second server on the port is an error, not a silent partner
            ("grpc.max_receive_message_length", self.max_message_mib << 20),
            ("grpc.max_send_message_length", self.max_message_mib << 20),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
        ]


class Servable(Protocol):
    """A service with what its server has to know of it."""

    @property
    def name(self) -> str:
        """Full name of the service, as health and reflection say it."""
        ...

    @property
    def registry(self) -> CollectorRegistry:
        """Holds its metrics."""
        ...

    @property
    def health_check_requested(self) -> asyncio.Event:
        """Set when something went wrong in a way that calls for a self-check now."""
        ...

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register the handlers of the calls."""
        ...

    def refused(self, reason: str) -> None:
        """Count a call that was refused before it reached the service."""
        ...

    async def check(self) -> Mapping[str, str]:
        """Check itself, and say what is not healthy and why."""
        ...

    async def drain(self, grace: float) -> bool:
        """Refuse new calls, wait for those in flight, and say whether all of them ended within `grace` seconds."""
        ...

    async def close(self) -> None:
        """Free what the service holds, once no call is left."""
        ...


class GrpcServer:
    """A gRPC server of one service, which it closes at its end."""

    def __init__(self, service: Servable, settings: Listening, security: ServerSecurity) -> None:
        self._service = service
        self._settings = settings
        self._security = security
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # the stubs lack it
        self._force_stop = asyncio.Event()
        self.serving = False
        """Whether the last self-check found nothing wrong, and the server does not drain."""
        self._metrics = ExitStack()

    @property
    def address(self) -> str:
        """Where it was told to listen."""
        return self._settings.address

    async def start(self) -> int:
        """Listen, start to warm up, and return the port. Health says SERVING once the self-check has passed.

        Raises:
            UnsafeAddressError: The address is not loopback and nothing protects it.
            OSError: An address cannot be listened on.
        """
        interceptors = self._security.interceptors(self._service.refused)
        server = grpc.aio.server(interceptors=interceptors, options=self._settings.channel_options)
        self._service.add_to(server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((self._service.name, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        _add_reflection_v1(server, (self._service.name, health.SERVICE_NAME, REFLECTION_V1))
        await self._tell(serving=False)
        await self._health.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
        port = self._security.add_port(server, self._settings.address)
        self._metrics.enter_context(metrics_server(self._service.registry, self._settings.metrics))
        await server.start()
        self._server = server
        self._watcher = asyncio.create_task(self._watch())
        return port

    def force_stop(self) -> None:
        """Cut the grace period of a drain short."""
        self._force_stop.set()

    async def drain(self) -> None:
        """Tell health first, finish what is in flight within the grace period, then end and close the service."""
        self.serving = False
        await self._health.enter_graceful_shutdown()
        draining = asyncio.create_task(self._service.drain(self._settings.grace_seconds))
        forcing = asyncio.create_task(self._force_stop.wait())
        try:
            await asyncio.wait((draining, forcing), return_when=asyncio.FIRST_COMPLETED)
            if not draining.done():
                log.warning("calls cut", reason="told to stop at once")
            elif not draining.result():
                log.warning("calls cut", reason=f"the grace period of {self._settings.grace_seconds:g} s is over")
        finally:
            draining.cancel()
            forcing.cancel()
        self._watcher.cancel()
        await asyncio.wait([self._watcher])
        await self._server.stop(FLUSH_SECONDS)
        await self._service.close()
        self._metrics.close()

    async def _watch(self) -> None:
        """Self-check now, then again and again: sooner on request or while something is unhealthy."""
        requested = self._service.health_check_requested
        known: bool | None = None
        while True:
            requested.clear()
            try:
                faults = await self._service.check()
            except Exception as error:  # a self-check that fails is what is wrong, and is made again
                log.exception("the self-check failed")
                faults = {"self-check": f"{type(error).__name__}: {error}"}
            serving = not faults
            await self._tell(serving=serving)
            if serving is not known:
                known = serving
                log.info("health", serving=serving, reasons=dict(faults))
            await asyncio.sleep(UNHEALTHY_SECONDS)
            if serving:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._settings.health_seconds):
                        await requested.wait()

    async def _tell(self, *, serving: bool) -> None:
        self.serving = serving
        response = health_pb2.HealthCheckResponse
        for service in ("", self._service.name):
            await self._health.set(service, response.SERVING if serving else response.NOT_SERVING)


def _add_reflection_v1(server: grpc.aio.Server, services: tuple[str, ...]) -> None:
    """Reflection under the name that newer clients ask first; its messages are those of v1alpha."""
    servicer = reflection.aio.ReflectionServicer(services)  # type: ignore[attr-defined]  # the stubs lack it
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    methods = {"ServerReflectionInfo": handler}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(REFLECTION_V1, methods),))


async def serve(server: GrpcServer) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal cuts what is still on its way.

    Raises:
        UnsafeAddressError: The address is not loopback and nothing protects it.
        OSError: An address cannot be listened on.
    """
    with stop_on_signal(server.force_stop) as stop:
        port = await server.start()
        log.info("listening", address=server.address, port=port)
        await stop.wait()
        log.info("draining")
        await server.drain()
