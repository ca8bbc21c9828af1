"""A port that was given stays free until it is used."""

from __future__ import annotations

import socket

import pytest

from espalier.common import ports
from espalier.common.ports import free_port


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_can_be_listened_on(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, free_port(host)), family=family) as server:
        assert server.getsockname()[1] >= 1_024


def test_the_kernel_gives_none_of_them_to_anybody_who_asks_for_any_port() -> None:
    given = []
    for _ in range(50):
        with socket.create_server(("127.0.0.1", 0)) as server:
            given.append(server.getsockname()[1])
    assert max(free_port() for _ in range(50)) < min(given)


def test_a_machine_without_a_free_one_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise OSError(98, "Address already in use")

    monkeypatch.setattr(ports.socket, "create_server", refuse)
    with pytest.raises(OSError, match=r"no port from 10000 to \d+ of 127\.0\.0\.1 is free: Address already in use"):
        free_port()
