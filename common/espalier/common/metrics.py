"""The one way to show Prometheus metrics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server


@contextmanager
def metrics_server(registry: CollectorRegistry, address: str | None) -> Iterator[None]:
    """Serve the metrics of a registry over HTTP, in a thread, until the context ends.

    Args:
        registry: Holds the metrics.
        address: `host:port`; an empty host is 127.0.0.1. None: serve nothing.

    Raises:
        OSError: The address is malformed or cannot be listened on; the message names it.
    """
    if address is None:
        yield
        return
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        raise OSError(f"cannot show metrics on {address!r}: give HOST:PORT")
    try:
        server, thread = start_http_server(int(port), host.strip("[]") or "127.0.0.1", registry=registry)
    except (OSError, OverflowError) as error:
        raise OSError(f"cannot show metrics on {address}: {error}") from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
