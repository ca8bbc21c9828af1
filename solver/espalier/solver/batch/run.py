"""Run a worker as a process: until a signal, then drain."""

from __future__ import annotations

import asyncio

from espalier.common.signals import stop_on_signal
from espalier.solver.batch.config import QueueConfig
from espalier.solver.batch.connection import connect
from espalier.solver.batch.handler import JobHandler
from espalier.solver.batch.keys import Keys
from espalier.solver.batch.worker import JobMetrics, Worker


async def run_worker(
    url: str,
    handler: JobHandler,
    *,
    slots: int,
    grace: float,
    keys: Keys = Keys(),
    config: QueueConfig = QueueConfig(),
    metrics: JobMetrics | None = None,
) -> None:
    """Work until SIGTERM or SIGINT, then drain; a second signal hands running jobs back at once.

    Raises:
        EngineUnavailable: The engine is gone. The jobs were handed back.
    """
    serving = asyncio.current_task()
    assert serving is not None  # noqa: S101 (a coroutine runs in a task)
    with stop_on_signal(serving.cancel) as stop:
        async with connect(url, retries=0) as redis:
            await Worker(redis, url, handler, slots=slots, grace=grace, keys=keys, config=config, metrics=metrics).run(
                stop
            )
