from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest

from espalier.solver.batch.connection import outage_as_unavailable, wait_out_outage

if TYPE_CHECKING:
    from redis.asyncio import Redis


async def as_unavailable(redis: Redis) -> None:
    with outage_as_unavailable():
        await redis.ping()


async def waited_out(redis: Redis) -> None:
    async def ask() -> None:
        await redis.ping()

    await wait_out_outage(ask)


@pytest.mark.parametrize("ask", [as_unavailable, waited_out])
async def test_a_task_that_asks_redis_can_always_be_cancelled(
    redis: Redis, ask: Callable[[Redis], Awaitable[None]]
) -> None:
    """On Python 3.11 the client swallows some of the cancellations that come while it writes."""

    async def go_on() -> None:
        while True:
            await ask(redis)

    draw = random.Random(1)
    for _ in range(300):
        task = asyncio.create_task(go_on())
        await asyncio.sleep(draw.uniform(0, 0.01))
        task.cancel()
        ended, _ = await asyncio.wait([task], timeout=30)
        assert ended
