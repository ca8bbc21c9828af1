"""`espalier.v1.Verifier`: one claim and one attempt a call; a wrong answer is OK with FAIL, a bad request names it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import structlog
from prometheus_client import CollectorRegistry

from espalier.common.errors import FieldError, UnansweredError
from espalier.common.grpc_errors import metadata_of, refuse_field, refuse_load, request_id_of, seconds_left
from espalier.common.grpc_server import GrpcServer, Listening
from espalier.common.security import ServerSecurity
from espalier.v1 import verifier_pb2 as pb
from espalier.v1 import verifier_pb2_grpc
from espalier.verifiers import proto
from espalier.verifiers.local import LocalVerifiers
from espalier.verifiers.metrics import VerifierMetrics
from espalier.verifiers.verdict import Status, Verdict

if TYPE_CHECKING:
    from espalier.common.grpc_errors import Context

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["Verifier"].full_name

RETRY_SECONDS = 0.25
"""When a client that was refused for load should come back."""

log = structlog.get_logger()


class VerifierService(verifier_pb2_grpc.VerifierServicer):
    """Answers the calls of the contract.

    Args:
        verifiers: They judge.
        metrics: Counts.
        max_in_flight: Calls answered at once; the next is refused with RESOURCE_EXHAUSTED.
        default_seconds: Time limit of a call without a deadline.
    """

    def __init__(
        self, verifiers: LocalVerifiers, metrics: VerifierMetrics, *, max_in_flight: int, default_seconds: float
    ) -> None:
        self._verifiers = verifiers
        self.metrics = metrics
        self._max_in_flight = max_in_flight
        self._default_seconds = default_seconds
        self._in_flight = 0
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self.health_check_requested = asyncio.Event()
        """Set when a verdict was ERROR: the health check should run soon."""

    @property
    def registry(self) -> CollectorRegistry:
        """Holds the metrics."""
        return self.metrics.registry

    def refused(self, reason: str) -> None:
        """Count a call that was refused before it came here."""
        self.metrics.refused(reason)

    async def Verify(self, request: pb.VerifyRequest, context: Context) -> pb.VerifyResponse:  # noqa: N802
        async with self._call("Verify", context):
            if not request.HasField("claim"):
                raise FieldError("claim", "is missing")
            claim = proto.decode_claim(request.claim)
            check = proto.decode_check(request.check)
            kind = proto.KIND_NAMES[type(check)]
            with self.metrics.latency(kind):
                verdict = await self._verifiers.verify_once(claim, check, timeout=self._budget(context))
            self._note(kind, verdict)
            return pb.VerifyResponse(verdict=proto.encode_verdict(verdict))

    async def ValidateCheck(  # noqa: N802
        self, request: pb.ValidateCheckRequest, context: Context
    ) -> pb.ValidateCheckResponse:
        async with self._call("ValidateCheck", context):
            check = proto.decode_check(request.check)
            await self._verifiers.validate_check(check, timeout=self._budget(context))
            return pb.ValidateCheckResponse()

    async def Equivalent(self, request: pb.EquivalentRequest, context: Context) -> pb.EquivalentResponse:  # noqa: N802
        async with self._call("Equivalent", context):
            options = proto.decode_options(request.options)
            with self.metrics.latency("equivalent"):
                verdict = await self._verifiers.equivalent_once(
                    request.a, request.b, options, timeout=self._budget(context)
                )
            self._note("equivalent", verdict)
            return pb.EquivalentResponse(verdict=proto.encode_verdict(verdict))

    async def Classes(self, request: pb.ClassesRequest, context: Context) -> pb.ClassesResponse:  # noqa: N802
        async with self._call("Classes", context):
            claims = tuple(proto.decode_claim(claim, f"claims[{i}]") for i, claim in enumerate(request.claims))
            weights = proto.decode_weights(request.weights, len(claims))
            options = proto.decode_options(request.options)
            with self.metrics.latency("classes"):
                votes = await self._verifiers.classes(claims, weights, options, timeout=self._budget(context))
            return pb.ClassesResponse(classes=map(proto.encode_vote, votes))

    async def Describe(self, request: pb.DescribeRequest, context: Context) -> pb.DescribeResponse:  # noqa: N802
        return pb.DescribeResponse(verifiers=map(proto.encode_info, await self._verifiers.describe()))

    @property
    def name(self) -> str:
        return SERVICE_NAME

    def add_to(self, server: grpc.aio.Server) -> None:
        verifier_pb2_grpc.add_VerifierServicer_to_server(self, server)  # type: ignore[no-untyped-call]

    async def check(self) -> Mapping[str, str]:
        """Self-check every verifier; reasons of the unhealthy ones by name."""
        infos = await self._verifiers.check()
        for info in infos:
            self.metrics.healthy(info.name, info.healthy)
        return {info.name: info.reason for info in infos if not info.healthy}

    async def close(self) -> None:
        await self._verifiers.close()

    async def drain(self, grace: float) -> bool:
        """Refuse new calls, wait for those in flight, and say whether all of them ended within `grace` seconds."""
        self._draining = True
        try:
            async with asyncio.timeout(grace):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def _budget(self, context: Context) -> float:
        """Seconds for the verifier."""
        left = seconds_left(context)
        return self._default_seconds if left is None else left

    def _note(self, kind: str, verdict: Verdict) -> None:
        self.metrics.verdict(kind, verdict)
        log.info("verdict", kind=kind, status=verdict.status.value, decided_by=verdict.decided_by)
        if verdict.status is Status.ERROR:
            self.health_check_requested.set()

    @asynccontextmanager
    async def _call(self, method: str, context: Context) -> AsyncIterator[None]:
        """Admission, request id, and a status for whatever goes wrong."""
        with structlog.contextvars.bound_contextvars(request_id=request_id_of(metadata_of(context)), method=method):
            if self._draining:
                self.metrics.refused("draining")
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is going away; ask another")
            if self._in_flight >= self._max_in_flight:
                self.metrics.refused("load")
                await refuse_load(context, self._in_flight, RETRY_SECONDS)
            self._in_flight += 1
            self._idle.clear()
            start = perf_counter()
            try:
                with self.metrics.call():
                    yield
            except FieldError as error:
                self.metrics.refused("invalid")
                await refuse_field(context, error)
            except UnansweredError as error:
                self.health_check_requested.set()
                await context.abort(grpc.StatusCode.INTERNAL, f"the verifiers could not answer: {error}")
            except asyncio.CancelledError:
                log.info("cancelled", seconds=perf_counter() - start)
                raise
            except Exception:
                log.exception("internal error")
                await context.abort(grpc.StatusCode.INTERNAL, "internal error; the server's log has it")
            finally:
                self._in_flight -= 1
                if self._in_flight == 0:
                    self._idle.set()


@dataclass(frozen=True, slots=True)
class ServerSettings(Listening):
    """How a verifier server runs.

    Attributes:
        max_in_flight: Calls answered at once; the next is refused with RESOURCE_EXHAUSTED.
        default_seconds: Time limit of a call without a deadline.
    """

    address: str = "127.0.0.1:50061"
    max_in_flight: int = 256
    default_seconds: float = 60.0


class VerifierServer(GrpcServer):
    """A gRPC server over the verifiers of this process, which it closes at its end."""

    def __init__(self, verifiers: LocalVerifiers, settings: ServerSettings, security: ServerSecurity) -> None:
        service = VerifierService(
            verifiers, VerifierMetrics(), max_in_flight=settings.max_in_flight, default_seconds=settings.default_seconds
        )
        super().__init__(service, settings, security)
