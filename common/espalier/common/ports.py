"""A port for a server that another process will start."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_FIRST = 10_000
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on, and that nobody gets who does not ask for it by its number.

    A port that the kernel chose (`bind` to port 0) is among those that it gives to every outgoing connection: until the
    server is up, or while it is restarted, anybody may get it. So this one is drawn from below them.

    Args:
        host: Address that the server will listen on, of version 4 or 6.

    Raises:
        OSError: The host has no such address, or all ports are taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    end = _first_ephemeral()
    ports = random.SystemRandom().sample(range(_FIRST, end), 100)
    for port in ports:
        try:
            with socket.create_server((host, port), family=family):
                return port
        except OSError as error:
            refusal = error
    raise OSError(refusal.errno, f"no port from {_FIRST} to {end} of {host} is free: {refusal.strerror}")


def _first_ephemeral() -> int:
    """Linux says it; elsewhere it is 32,768 or above."""
    try:
        first = int(_EPHEMERAL.read_text("ascii").split()[0])
    except OSError:
        first = 32_768
    return max(first, _FIRST + 1_000)  # a machine may give nearly all ports to connections
