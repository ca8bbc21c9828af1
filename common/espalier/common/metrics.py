"""The one way to show Prometheus metrics."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

LOOP_SECONDS = 4.0
"""An event loop that does not answer for so long hangs."""


class LoopDelay(Collector):
    """Measures how long the event loop takes to answer whenever someone looks, from the thread of the one who looks.

    Metrics of a process whose loop hangs cannot be read: so a liveness probe on them fails, and so does the scrape.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """The metric without a value: registering it asks, in the loop's own thread."""
        yield GaugeMetricFamily("espalier_event_loop_delay_seconds", "Time until the event loop answered")

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """
        Raises:
            TimeoutError: The loop hangs.
        """
        answered = threading.Event()
        start = time.perf_counter()
        self._loop.call_soon_threadsafe(answered.set)
        if not answered.wait(LOOP_SECONDS):
            raise TimeoutError(f"the event loop has not answered for {LOOP_SECONDS:g} s")
        for metric in self.describe():
            metric.add_metric([], time.perf_counter() - start)
            yield metric


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
    delay: LoopDelay | None = None
    with suppress(RuntimeError):  # without a running loop there is none to watch
        registry.register(delay := LoopDelay(asyncio.get_running_loop()))
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
        if delay is not None:
            registry.unregister(delay)
        server.shutdown()
        server.server_close()
        thread.join()
