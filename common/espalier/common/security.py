"""Who may listen and who may call: loopback by default, a bearer token or TLS for everything else."""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import structlog

from espalier.common.callers import ANYONE, Caller, Callers
from espalier.common.errors import ListenError

HEALTH_PREFIX = "/grpc.health.v1.Health/"
"""Probes carry no token, and learn nothing but SERVING."""

MIN_TOKEN = 16
"""Shortest token, in characters, that is accepted from a file."""


UNAUTHENTICATED = "unauthenticated"
"""Why a call without the token is refused, in metrics and logs."""

log = structlog.get_logger()


class UnsafeAddressError(ValueError):
    """The server was asked to listen where anyone could call it."""


@dataclass(frozen=True, slots=True)
class ServerSecurity:
    """What protects a server.

    Attributes:
        token: Bearer token that every call must carry.
        certificate: PEM chain for TLS, with `key`.
        key: PEM private key.
        client_authority: PEM root that client certificates must descend from (mTLS).
        callers: Callers with tokens of their own, beside `token` or instead of it.
        insecure: Listen without any of it, wherever told.
    """

    token: str | None = field(default=None, repr=False)
    certificate: bytes | None = None
    key: bytes | None = field(default=None, repr=False)
    client_authority: bytes | None = None
    callers: Callers | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("TLS needs both a certificate and its key")
        if self.client_authority is not None and self.certificate is None:
            raise ValueError("client certificates are only checked over TLS: give a certificate and a key too")

    def require_safe(self, address: str) -> None:
        """
        Raises:
            UnsafeAddressError: The address is not loopback and nothing protects it.
        """
        if not (is_local(address) or self.asks_for_token or self.certificate or self.insecure):
            raise UnsafeAddressError(
                f"{address} can be reached from other machines: give a token file or a TLS certificate and key, "
                "or --insecure to serve anyone who can reach it"
            )

    @property
    def asks_for_token(self) -> bool:
        """Whether calls must carry a token."""
        return self.token is not None or self.callers is not None

    def identify(self, shown: str | bytes) -> Caller | None:
        """Who calls with this `authorization` value; None: it carries no token that is ours.

        The token is compared in constant time, those of callers by digest. Where no token is asked for, anyone calls.
        """
        if not self.asks_for_token:
            return ANYONE
        scheme, _, rest = (shown.encode() if isinstance(shown, str) else shown).partition(b" ")
        token = rest.strip(b" ")
        if scheme.lower() != b"bearer":
            return None
        if self.token is not None and hmac.compare_digest(token, self.token.encode()):
            return ANYONE
        return self.callers.find(token) if self.callers is not None else None

    def admits(self, shown: str | bytes) -> bool:
        """Whether an `authorization` value carries a token that is ours; always where none is asked for."""
        return self.identify(shown) is not None

    def add_port(self, server: grpc.aio.Server, address: str) -> int:
        """Let `server` listen on `address` and return the port.

        Raises:
            UnsafeAddressError: The address is not loopback and nothing protects it.
            OSError: The address cannot be listened on.
        """
        self.require_safe(address)
        port_text = address.rpartition(":")[2]
        if not address.startswith("unix") and not (port_text.isdecimal() and int(port_text) < 1 << 16):
            raise ListenError(f"cannot listen on {address}: give HOST:PORT")  # gRPC would take another port
        try:
            if self.certificate is None or self.key is None:
                port = server.add_insecure_port(address)
            else:
                mutual = self.client_authority is not None
                pair = [(self.key, self.certificate)]
                credentials = grpc.ssl_server_credentials(pair, self.client_authority, require_client_auth=mutual)
                port = server.add_secure_port(address, credentials)
        except RuntimeError as error:
            what = "is it in use" + ("?" if self.certificate is None else ", or are certificate and key no pair?")
            raise ListenError(f"cannot listen on {address}: {what} ({error})") from error
        if port == 0 and not address.startswith("unix:"):
            raise ListenError(f"cannot listen on {address}: is it in use?")
        return port

    def interceptors(self, refused: Callable[[str], None]) -> tuple[grpc.aio.ServerInterceptor[Any, Any], ...]:
        """What the server must be built with.

        Args:
            refused: Counts a call without the token, by its reason.
        """
        return (TokenInterceptor(self, refused),) if self.asks_for_token else ()


@dataclass(frozen=True, slots=True)
class ClientSecurity:
    """What a client shows and expects.

    Attributes:
        token: Bearer token to send.
        authority: PEM root of the server's certificate; with it the channel is TLS.
        certificate: PEM chain of the client, with `key` (mTLS).
        key: PEM private key of the client.
    """

    token: str | None = field(default=None, repr=False)
    authority: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = field(default=None, repr=False)

    def channel(self, address: str, options: list[tuple[str, int]]) -> grpc.aio.Channel:
        """A channel to `address`."""
        if self.authority is None:
            return grpc.aio.insecure_channel(address, options)
        credentials = grpc.ssl_channel_credentials(self.authority, self.key, self.certificate)
        return grpc.aio.secure_channel(address, credentials, options)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What every call carries."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()


class TokenInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs alone
    """Refuses calls without the bearer token, except health probes."""

    def __init__(self, security: ServerSecurity, refused: Callable[[str], None]) -> None:
        self._security = security
        self._refused = refused

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any]]],
        details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        if details.method.startswith(HEALTH_PREFIX):
            return await continuation(details)
        shown = dict(details.invocation_metadata).get("authorization", "")
        if self._security.admits(shown):
            return await continuation(details)

        async def refuse(_: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            self._refused(UNAUTHENTICATED)
            told = {"method": details.method, "peer": context.peer(), "shown": bool(shown)}
            log.warning("call refused", reason=UNAUTHENTICATED, **told)
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "send the bearer token as `authorization` metadata")

        # A method that answers a stream with a stream may end at once with a status, whatever shape the client expects.
        return grpc.stream_stream_rpc_method_handler(refuse)


def read_token(path: Path) -> str:
    """The bearer token in a file, see :func:`read_secret`; it has at least `MIN_TOKEN` characters.

    Raises:
        OSError: The file cannot be read.
        ValueError: It holds no usable token.
    """
    return read_secret(path, least=MIN_TOKEN)


def read_secret(path: Path, *, least: int = 1) -> str:
    """The one line of a file that holds a secret; surrounding white space does not count.

    Args:
        path: The file.
        least: Characters that the secret has at least.

    Raises:
        OSError: The file cannot be read.
        ValueError: It holds something else than one line of printable ASCII characters without spaces.
    """
    secret = path.read_text(encoding="ascii", errors="replace").strip()
    if len(secret) < least or not secret.isascii() or not secret.isprintable() or " " in secret:
        length = f"at least {least} " if least > 1 else ""
        raise ValueError(f"{path}: a secret is one line of {length}printable ASCII characters without spaces")
    return secret


def is_local(address: str) -> bool:
    """Does only this machine reach `address` (`host:port`, `[v6]:port` or `unix:path`)?"""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    return is_loopback(address.rpartition(":")[0].strip("[]"))


@lru_cache  # it is asked with every request over HTTP
def is_loopback(host: str) -> bool:
    """Does only this machine reach `host`, a name or an address without port?"""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_free(address: str) -> None:
    """Find out now, not when a model has been loaded, whether an address can be listened on.

    Raises:
        ListenError: It cannot.
    """
    if address.startswith(("unix:", "unix-abstract:")):
        return
    host, _, port = address.rpartition(":")
    if not (port.isdecimal() and int(port) < 1 << 16):
        raise ListenError(f"cannot listen on {address!r}: give HOST:PORT")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host.strip("[]") or "127.0.0.1", int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error}") from error
