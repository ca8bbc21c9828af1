"""Verifiers by address: one or several servers of the contract, balanced by kind of check and load."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from espalier.common.cooldown import Cooldown
from espalier.common.errors import FieldError, UnansweredError
from espalier.common.grpc_errors import delay_of, field_of
from espalier.common.security import ClientSecurity
from espalier.common.tracing import traceparent
from espalier.v1 import verifier_pb2 as pb
from espalier.v1 import verifier_pb2_grpc
from espalier.verifiers import proto
from espalier.verifiers.check import Check, Claim, CustomCheck, MathOptions, ReferenceCheck
from espalier.verifiers.consensus import Vote
from espalier.verifiers.retry import with_retry
from espalier.verifiers.verdict import Evidence, Status, Verdict
from espalier.verifiers.verifier import VerifierInfo

CONNECT_SECONDS = 10.0
"""How long a server may take to describe itself."""

PATIENCE_SECONDS = 30.0
"""How long a call without a time limit waits for a server that is away."""

CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_send_message_length", 64 << 20),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


class RemoteVerifiers:
    """Verifiers on other machines, used like those of this process.

    A server that is away or busy is waited for and others are asked meanwhile; an ERROR is asked again once, on another
    server if there is one. What remains is an ERROR verdict. Cancelling a call cancels the work on the server.

    Args:
        addresses: `host:port` or `unix:path` of each server.
        security: Token and certificates for all of them.
    """

    name = "remote"

    def __init__(self, addresses: Sequence[str], security: ClientSecurity | None = None) -> None:
        """
        Raises:
            ValueError: No address is given.
        """
        if not addresses:
            raise ValueError("give the address of at least one verifier server")
        self._backends = [_Backend(address, security or ClientSecurity()) for address in dict.fromkeys(addresses)]

    @property
    def kinds(self) -> frozenset[type]:
        """Kinds of check that some server judges, as far as they have described themselves."""
        names = {name for backend in self._backends for info in backend.verifiers or () for name in info.kinds}
        return frozenset(kind for kind, name in proto.KIND_NAMES.items() if name in names)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; calls in flight end with ERROR."""
        await asyncio.gather(*(backend.close() for backend in self._backends))

    async def describe(self) -> tuple[VerifierInfo, ...]:
        """The verifiers of every server that answers, in the order of the addresses.

        Raises:
            ConnectionError: No server answers, or none accepts the token.
        """
        answers = await asyncio.gather(*(backend.describe() for backend in self._backends), return_exceptions=True)
        reasons = []
        for backend, answer in zip(self._backends, answers, strict=True):
            if isinstance(answer, grpc.aio.AioRpcError):
                reasons.append(f"{backend.address}: {_reason(answer)}")
            elif isinstance(answer, BaseException):
                raise answer
        if len(reasons) == len(self._backends):
            raise ConnectionError("; ".join(reasons))
        return tuple(info for answer in answers if isinstance(answer, tuple) for info in answer)

    async def verify(self, claim: Claim, check: Check, *, timeout: float | None = None) -> Verdict:
        """Judge one claim on the least loaded server that knows its kind of check.

        Raises:
            FieldError: No server judges such checks, or the server refused a field of the request.
        """
        request = pb.VerifyRequest(claim=proto.encode_claim(claim), check=proto.encode_check(check))
        return await self._judge(_need(check), lambda backend, left: backend.stub.Verify(request, **left), timeout)

    async def validate_check(self, check: Check, *, timeout: float | None = None) -> None:
        """Refuse a check that no claim could ever pass, as the least loaded server that knows its kind tells.

        Raises:
            FieldError: No server judges such checks, or the server that does cannot work with it.
            UnansweredError: No server could tell, or not in time.
        """
        request = pb.ValidateCheckRequest(check=proto.encode_check(check))
        await self._ask(_need(check), lambda backend, left: backend.validate_check(request, left), timeout)

    async def equivalent(
        self, a: str, b: str, options: MathOptions | None = None, *, timeout: float | None = None
    ) -> Verdict:
        """Are two answers the same? PASS, FAIL, or UNKNOWN when that could not be decided."""
        request = pb.EquivalentRequest(
            a=proto.encode_text(a), b=proto.encode_text(b), options=proto.encode_options(options or MathOptions())
        )
        return await self._judge(_COMPARING, lambda backend, left: backend.stub.Equivalent(request, **left), timeout)

    async def classes(
        self,
        claims: Sequence[Claim],
        weights: Sequence[float] | None = None,
        options: MathOptions | None = None,
        *,
        timeout: float | None = None,
    ) -> tuple[Vote, ...]:
        """Partition the answers of claims into equivalence classes, the heaviest first.

        Raises:
            FieldError: The server refused a field of the request.
            UnansweredError: No server could do it, or not in time.
        """
        request = pb.ClassesRequest(
            claims=map(proto.encode_claim, claims),
            weights=weights,
            options=proto.encode_options(options or MathOptions()),
        )
        _, reply = await self._ask(_COMPARING, lambda backend, left: backend.stub.Classes(request, **left), timeout)
        return tuple(map(proto.decode_vote, reply.classes))

    async def _judge(self, need: _Need, call: _Call, timeout: float | None) -> Verdict:
        async def attempt(left: float | None) -> Verdict:
            backend, reply = await self._ask(need, call, left)
            verdict = proto.decode_verdict(reply.verdict)
            if verdict.status is Status.ERROR:
                # The second attempt goes to another server, and so do other claims for a while.
                backend.cooldown.back_off()
            else:
                backend.cooldown.reset()
            return verdict

        try:
            return await with_retry(attempt, timeout)
        except UnansweredError as error:
            return Verdict(Status.ERROR, 0.0, self.name, (Evidence("connection", str(error)),))

    async def _ask(self, need: _Need, call: _Call, timeout: float | None) -> tuple[_Backend, Any]:
        try:
            async with asyncio.timeout(timeout):
                return await self._ask_around(need, call, timeout)
        except TimeoutError as error:
            raise UnansweredError(f"no answer within {timeout:.3g} s") from error

    async def _ask_around(self, need: _Need, call: _Call, timeout: float | None) -> tuple[_Backend, Any]:
        """The reply of the first server that answers.

        Servers are asked in rounds, each at most once a round; another round only makes sense when one of them was
        away or busy.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + (PATIENCE_SECONDS if timeout is None else timeout)
        tried: set[_Backend] = set()
        reasons: dict[str, str] = {}
        pause: float | None = None
        while True:
            backend = self._pick(need, tried)
            if backend is None:
                if pause is None or clock() + pause >= deadline:
                    raise UnansweredError("; ".join(f"{address}: {reason}" for address, reason in reasons.items()))
                await asyncio.sleep(pause)
                tried.clear()
                pause = None
                continue
            tried.add(backend)
            left = {} if timeout is None else {"timeout": max(deadline - clock(), 0.0)}
            try:
                with backend.busy():
                    if not await backend.serves(need):
                        continue
                    return backend, await call(backend, {**left, "metadata": (*backend.metadata, *traceparent())})
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                    raise field_of(error) from None
                reasons[backend.address] = _reason(error)
                delay = backend.failed(error)
                if delay is not None:
                    pause = delay if pause is None else min(pause, delay)

    def _pick(self, need: _Need, tried: set[_Backend]) -> _Backend | None:
        """The best server that has not been tried; None when there is none."""
        able = [backend for backend in self._backends if backend.verifiers is None or need.met_by(backend.verifiers)]
        if not able:
            field = "check.kind" if need.verifier is None else "check.custom.verifier"
            raise FieldError(field, f"no server judges {need}")
        return min((backend for backend in able if backend not in tried), key=_Backend.load, default=None)


@dataclass(frozen=True, slots=True)
class _Need:
    """What a server must be able to judge."""

    kind: str
    verifier: str | None = None

    def met_by(self, verifiers: Sequence[VerifierInfo]) -> bool:
        return any(self.kind in v.kinds and self.verifier in (None, v.name) for v in verifiers)

    def __str__(self) -> str:
        return f"{self.kind} checks" if self.verifier is None else f"custom checks of {self.verifier[:80]!r}"


def _need(check: Check) -> _Need:
    return _Need(proto.KIND_NAMES[type(check)], check.verifier if isinstance(check, CustomCheck) else None)


_COMPARING = _Need(proto.KIND_NAMES[ReferenceCheck])


class _Backend:
    """One server: its channel, what it judges, how busy it is with us, and how it has behaved."""

    def __init__(self, address: str, security: ClientSecurity) -> None:
        self.address = address
        self.verifiers: tuple[VerifierInfo, ...] | None = None
        self.metadata = security.metadata
        self._security = security
        self._channel: grpc.aio.Channel | None = None
        self._describing = asyncio.Lock()
        self._in_flight = 0
        self._asked = 0
        self.cooldown = Cooldown()

    @property
    def stub(self) -> verifier_pb2_grpc.VerifierStub:
        if self._channel is None:
            self._channel = self._security.channel(self.address, CHANNEL_OPTIONS)
        return verifier_pb2_grpc.VerifierStub(self._channel)  # type: ignore[no-untyped-call]

    def load(self) -> tuple[bool, int, int]:
        """Order in which servers are asked: those that have not failed lately, then least loaded, then least used."""
        return self.cooldown.active, self._in_flight, self._asked

    async def serves(self, need: _Need) -> bool:
        async with self._describing:
            if self.verifiers is None:
                await self.describe()
        return self.verifiers is not None and need.met_by(self.verifiers)

    async def describe(self) -> tuple[VerifierInfo, ...]:
        reply = await self.stub.Describe(pb.DescribeRequest(), timeout=CONNECT_SECONDS, metadata=self.metadata)
        self.verifiers = tuple(map(proto.decode_info, reply.verifiers))
        return self.verifiers

    async def validate_check(self, request: pb.ValidateCheckRequest, options: dict[str, Any]) -> None:
        """A server that was made without this call accepts every check."""
        try:
            await self.stub.ValidateCheck(request, **options)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise

    @contextmanager
    def busy(self) -> Iterator[None]:
        self._in_flight += 1
        self._asked += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    def failed(self, error: grpc.aio.AioRpcError) -> float | None:
        """Ask this server last for a while; the seconds after which asking again makes sense, None if it does not."""
        asked = delay_of(error)
        delay = self.cooldown.back_off(asked)
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            self.verifiers = None  # what answers there next may judge other kinds
            return delay
        return asked

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close(None)


_Call = Callable[[_Backend, dict[str, Any]], Awaitable[Any]]


def _reason(error: grpc.aio.AioRpcError) -> str:
    return f"{error.code().name}: {error.details()}"
