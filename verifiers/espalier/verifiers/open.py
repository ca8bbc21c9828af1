"""Who judges: the verifiers of this process, or those of servers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from espalier.verifiers.local import LocalVerifiers
    from espalier.verifiers.remote import RemoteVerifiers


def open_verifiers(
    addresses: Sequence[str] | None, only: Sequence[str] | None, token_file: Path | None, tls_ca: Path | None
) -> LocalVerifiers | RemoteVerifiers:
    """The verifiers that a command line names, not started yet.

    Args:
        addresses: Of verifier servers; none: the verifiers of this process.
        only: Of this process only these; none: all.
        token_file: Holds the bearer token of the servers.
        tls_ca: PEM root of the servers' certificates.

    Raises:
        ValueError: There is no such verifier, or the token is unusable.
        OSError: A file cannot be read.
    """
    from espalier.common.security import ClientSecurity, read_token
    from espalier.verifiers.local import LocalVerifiers, load
    from espalier.verifiers.remote import RemoteVerifiers

    if not addresses:
        return LocalVerifiers(load(only or None))
    security = ClientSecurity(
        token=read_token(token_file) if token_file else None, authority=tls_ca.read_bytes() if tls_ca else None
    )
    return RemoteVerifiers(addresses, security)
