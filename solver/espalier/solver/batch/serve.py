"""Run a worker as a process: until a signal, then drain."""

from __future__ import annotations

import asyncio
import signal

from espalier.solver.batch.config import QueueConfig
from espalier.solver.batch.connection import connect
from espalier.solver.batch.handler import JobHandler
from espalier.solver.batch.keys import Keys
from espalier.solver.batch.worker import Worker


async def serve(
    url: str, work: JobHandler, *, slots: int, grace: float, keys: Keys = Keys(), terms: QueueConfig = QueueConfig()
) -> None:
    """JobHandler until SIGTERM or SIGINT, then drain; a second signal hands running jobs back at once.

    Raises:
        EngineUnavailable: The engine is gone. The jobs were handed back.
    """
    stop, loop, serving = asyncio.Event(), asyncio.get_running_loop(), asyncio.current_task()
    assert serving is not None  # noqa: S101 (a coroutine runs in a task)

    def leave() -> None:
        if stop.is_set():
            serving.cancel()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave)
    try:
        async with connect(url, retries=0) as redis:
            await Worker(redis, url, work, slots=slots, grace=grace, keys=keys, terms=terms).run(stop)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
