"""Tokens and TLS: who may call, who is believed, and what never shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from espalier.common.security import ClientSecurity, ServerSecurity
from espalier.verifiers.check import Claim, ReferenceCheck
from espalier.verifiers.local import LocalVerifiers
from espalier.verifiers.remote import RemoteVerifiers
from espalier.verifiers.service import ServerSettings, VerifierServer
from espalier.verifiers.verdict import Status
from tests.verifiers.doubles import ScriptedVerifier
from tests.verifiers.running import running

FOLDER = Path(__file__).parent / "tls"
AUTHORITY, SERVER, SERVER_KEY, CLIENT, CLIENT_KEY = (
    (FOLDER / name).read_bytes() for name in ("ca.pem", "server.pem", "server.key", "client.pem", "client.key")
)
TOKEN = "a-token-of-enough-length"  # noqa: S105


async def status(server: ServerSecurity, client: ClientSecurity, timeout: float) -> Status:
    async with (
        running(LocalVerifiers([ScriptedVerifier()]), None, server) as address,
        RemoteVerifiers([address], client) as verifiers,
    ):
        return (await verifiers.verify(Claim("42"), ReferenceCheck("42"), timeout=timeout)).status


TLS = ServerSecurity(certificate=SERVER, key=SERVER_KEY)
MUTUAL = ServerSecurity(certificate=SERVER, key=SERVER_KEY, client_authority=AUTHORITY)
TLS_AND_TOKEN = ServerSecurity(token=TOKEN, certificate=SERVER, key=SERVER_KEY)


@pytest.mark.parametrize(
    ("server", "client"),
    [
        (TLS, ClientSecurity(authority=AUTHORITY)),
        (MUTUAL, ClientSecurity(authority=AUTHORITY, certificate=CLIENT, key=CLIENT_KEY)),
        (TLS_AND_TOKEN, ClientSecurity(authority=AUTHORITY, token=TOKEN)),
    ],
    ids=["tls", "mutual", "tls and token"],
)
async def test_who_shows_what_is_asked_is_served(server: ServerSecurity, client: ClientSecurity) -> None:
    assert await status(server, client, 60) is Status.PASS


@pytest.mark.parametrize(
    ("server", "client"),
    [
        (TLS, ClientSecurity()),
        (TLS, ClientSecurity(authority=CLIENT)),
        (MUTUAL, ClientSecurity(authority=AUTHORITY)),
        (TLS_AND_TOKEN, ClientSecurity(authority=AUTHORITY)),
        (ServerSecurity(), ClientSecurity(authority=AUTHORITY)),
    ],
    ids=["plain text", "a server of no known authority", "no certificate", "no token", "a server without TLS"],
)
async def test_who_does_not_is_not(server: ServerSecurity, client: ClientSecurity) -> None:
    assert await status(server, client, 2) is Status.ERROR


@pytest.mark.parametrize(("certificate", "key"), [(b"rubbish", SERVER_KEY), (SERVER, b"rubbish"), (SERVER, CLIENT_KEY)])
async def test_a_certificate_that_does_not_work_is_a_clear_error(certificate: bytes, key: bytes) -> None:
    security = ServerSecurity(certificate=certificate, key=key)
    with pytest.raises(OSError, match="cannot listen on"):
        await VerifierServer(LocalVerifiers([]), ServerSettings(address="127.0.0.1:0"), security).start()


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:x", "127.0.0.1:65536", "localhost:99999"])
async def test_an_address_without_a_port_of_its_own_is_refused(address: str) -> None:
    with pytest.raises((OSError, ValueError), match=address):
        await VerifierServer(LocalVerifiers([]), ServerSettings(address=address), ServerSecurity(insecure=True)).start()


@pytest.mark.parametrize("incomplete", [{"certificate": SERVER}, {"key": SERVER_KEY}, {"client_authority": AUTHORITY}])
def test_half_of_tls_is_refused(incomplete: dict[str, bytes]) -> None:
    with pytest.raises(ValueError, match="certificate"):
        ServerSecurity(**incomplete)  # type: ignore[arg-type]


def test_secrets_do_not_show_in_logs() -> None:
    for security in (
        TLS_AND_TOKEN,
        ClientSecurity(token=TOKEN, authority=AUTHORITY, certificate=CLIENT, key=CLIENT_KEY),
    ):
        assert TOKEN not in repr(security)
        assert "PRIVATE" not in repr(security)
