"""SIGTERM and SIGINT for servers and workers: the first one drains, a second one cuts the draining short."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_on_signal(force: Callable[[], object]) -> Iterator[asyncio.Event]:
    """An event that the first SIGTERM or SIGINT sets. Use it in the running event loop.

    Args:
        force: Called for every signal after the first.
    """
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            force()
        stop.set()

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, on_signal)
    try:
        yield stop
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)
