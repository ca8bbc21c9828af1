from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from espalier.solver.batch.connection import outage_as_unavailable

if TYPE_CHECKING:
    from redis.asyncio import Redis


async def test_a_task_that_asks_redis_can_always_be_cancelled(redis: Redis) -> None:
    """On Python 3.11 the client swallows some of the cancellations that come while it writes."""

    async def ask() -> None:
        while True:
            with outage_as_unavailable():
                await redis.ping()

    draw = random.Random(1)
    for _ in range(300):
        task = asyncio.create_task(ask())
        await asyncio.sleep(draw.uniform(0, 0.01))
        task.cancel()
        ended, _ = await asyncio.wait([task], timeout=30)
        assert ended
