"""Addresses to verifiers: the only place that turns settings into verifiers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    from espalier.verifiers.local import LocalVerifiers
    from espalier.verifiers.remote import RemoteVerifiers


@overload
def open_verifiers(addresses: None = None, only: Sequence[str] | None = None) -> LocalVerifiers: ...


@overload
def open_verifiers(
    addresses: Sequence[str] | None,
    only: Sequence[str] | None = None,
    token_file: Path | None = None,
    tls_ca: Path | None = None,
) -> LocalVerifiers | RemoteVerifiers: ...


def open_verifiers(
    addresses: Sequence[str] | None = None,
    only: Sequence[str] | None = None,
    token_file: Path | None = None,
    tls_ca: Path | None = None,
) -> LocalVerifiers | RemoteVerifiers:
    """The verifiers that settings name, not started yet: an async context manager.

    Args:
        addresses: `host:port` or `unix:path` of verifier servers; none: the verifiers of this process.
        only: Names of the verifiers of this process; none: all.
        token_file: Holds the bearer token of the servers.
        tls_ca: PEM root of the servers' certificates; turns TLS on.

    Raises:
        ValueError: There is no such verifier, the token is unusable, or settings contradict each other.
        OSError: A file cannot be read.
    """
    from espalier.common.security import ClientSecurity, read_token

    if not addresses:
        from espalier.verifiers.local import LocalVerifiers, load

        if token_file or tls_ca:
            raise ValueError("token file and TLS root say how to reach verifier servers: give an address too")
        return LocalVerifiers(load(only or None))
    from espalier.verifiers.remote import RemoteVerifiers

    if only:
        raise ValueError("the names of verifiers choose among those of this process: leave them out with an address")
    security = ClientSecurity(
        token=read_token(token_file) if token_file else None, authority=tls_ca.read_bytes() if tls_ca else None
    )
    return RemoteVerifiers(addresses, security)
