"""How soon the engine is free again after a cancel or a deadline, by every way there is. What was measured is printed.

`benchmarks/service.py` has the distribution. Here the best of a few tries has to keep the promise: a machine that is
busy with other things slows some of them, and only a way that is too long slows all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import httpx2 as httpx
import pytest

from espalier.solver.batch.handler import SolveJobHandler
from espalier.solver.batch.queue import JobQueue
from espalier.solver.core.settings import ServerLimits
from espalier.solver.service.servicer import SERVICE_NAME
from espalier.verifiers.local import LocalVerifiers
from tests.solver.batch.server import RedisServer
from tests.solver.batch.working import working
from tests.solver.service.serving import Served, asking, serving, until
from tests.solver.service.telling import free_tokens, telling

if TYPE_CHECKING:
    from redis.asyncio import Redis

PROMISED = 0.25
"""Seconds from the cancel, or the deadline, to an engine that holds nothing of the solve any more."""

TRIES = 5
LIMITS = ServerLimits(policy="best_of_k", k=4, seconds=60, candidate_tokens=1900)
KV_TOKENS = 1 << 14

Begin = Callable[[Served], Awaitable[Callable[[], object]]]
"""Begins an endless solve and returns what ends it."""


async def by_grpc(served: Served) -> Callable[[], object]:
    call = served.stub.SolveOnce(asking())
    return call.cancel


async def by_a_stream(served: Served) -> Callable[[], object]:
    call = served.stub.Solve(asking(deltas=True))
    await call.read()
    return call.cancel


async def by_http(served: Served) -> Callable[[], object]:
    body = {"model": "espalier", "messages": [{"role": "user", "content": "What is 6 times 7?"}]}

    async def post() -> None:
        async with httpx.AsyncClient(base_url=served.http, timeout=60) as client:
            await client.post("/chat/completions", json=body)

    posting = asyncio.create_task(post())
    return posting.cancel


@pytest.mark.parametrize("begin", [by_grpc, by_a_stream, by_http])
async def test_a_client_that_leaves_frees_the_engine_in_time(hub: LocalVerifiers, begin: Begin) -> None:
    async with telling(None, KV_TOKENS) as engine, serving(engine, hub, limits=LIMITS) as served:
        seconds = []
        for tried in range(1, TRIES + 1):
            leave = await begin(served)
            await until(lambda: free_tokens(engine) < KV_TOKENS - 4 * 64)
            left = time.perf_counter()
            leave()
            await until(lambda: free_tokens(engine) == KV_TOKENS)
            seconds.append(time.perf_counter() - left)
            await until(lambda: served.ended("cancelled") == tried)  # noqa: B023
    told(begin.__name__, seconds)
    assert min(seconds) <= PROMISED


async def test_the_engine_is_free_when_a_deadline_comes(hub: LocalVerifiers) -> None:
    limit = 0.6
    async with telling(None, KV_TOKENS) as engine, serving(engine, hub, limits=LIMITS) as served:
        seconds = []
        for _ in range(TRIES):
            begun = time.perf_counter()
            call = asyncio.ensure_future(served.stub.SolveOnce(asking(), timeout=limit))
            await until(lambda: free_tokens(engine) < KV_TOKENS or call.done())  # noqa: B023
            await until(lambda: free_tokens(engine) == KV_TOKENS)
            seconds.append(time.perf_counter() - begun - limit)
            await asyncio.wait([call])
    told("deadline", seconds)
    assert min(seconds) <= PROMISED


async def test_a_cancelled_job_frees_the_engine_in_time(
    hub: LocalVerifiers,
    redis: Redis,
    server: RedisServer,
) -> None:
    queue = JobQueue(redis)
    async with telling(None, KV_TOKENS) as engine, serving(engine, hub, limits=LIMITS) as served:
        seconds = []
        async with working(server, SolveJobHandler(served.session)):
            for _ in range(TRIES):
                (job,) = (await queue.submit([asking().problem])).job_ids
                await until(lambda: free_tokens(engine) < KV_TOKENS - 4 * 64)
                left = time.perf_counter()
                await queue.cancel(job)
                await until(lambda: free_tokens(engine) == KV_TOKENS)
                seconds.append(time.perf_counter() - left)
    told("job", seconds)
    assert min(seconds) <= PROMISED


def told(what: str, seconds: list[float]) -> None:
    print(f"{SERVICE_NAME}: {what}, ms to a free engine:", *(f"{1000 * each:.1f}" for each in seconds))
