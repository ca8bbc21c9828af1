"""A cancel or a deadline, by every way there is, frees the engine long before the response would have ended.

How long it takes is measured by `benchmarks/service.py`; here nothing depends on the clock of a busy machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import httpx2 as httpx
import pytest

from espalier.solver.batch.handler import SolveJobHandler
from espalier.solver.batch.queue import JobQueue
from espalier.solver.core.settings import ServerLimits
from espalier.verifiers.local import LocalVerifiers
from tests.solver.batch.server import RedisServer
from tests.solver.batch.working import working
from tests.solver.service.serving import Served, asking, serving, until
from tests.solver.service.telling import free_tokens, telling

if TYPE_CHECKING:
    from redis.asyncio import Redis

TRIES = 3
LIMITS = ServerLimits(policy="best_of_k", k=4, seconds=60, candidate_tokens=1900)
KV_TOKENS = 1 << 14

WHOLE_SOLVE = 4 * 1900
"""New tokens of a solve that nothing ends."""

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
async def test_a_client_that_leaves_frees_the_engine(hub: LocalVerifiers, begin: Begin) -> None:
    async with telling(None, KV_TOKENS) as engine, serving(engine, hub, limits=LIMITS) as served:
        for tried in range(1, TRIES + 1):
            leave = await begin(served)
            await until(lambda: free_tokens(engine) < KV_TOKENS - 4 * 64)
            leave()
            await until(lambda: free_tokens(engine) == KV_TOKENS)
            await until(lambda: served.ended("cancelled") == tried)  # noqa: B023
            assert aborted_tokens(served) < tried * WHOLE_SOLVE


async def test_the_engine_is_free_when_a_deadline_comes(hub: LocalVerifiers) -> None:
    async with telling(None, KV_TOKENS) as engine, serving(engine, hub, limits=LIMITS) as served:
        for _ in range(TRIES):
            call = asyncio.ensure_future(served.stub.SolveOnce(asking(), timeout=0.6))
            await until(lambda: free_tokens(engine) < KV_TOKENS or call.done())  # noqa: B023
            await until(lambda: free_tokens(engine) == KV_TOKENS)
            await asyncio.wait([call])
        await until(lambda: served.session.admission.running == 0)
        assert aborted_tokens(served) < TRIES * WHOLE_SOLVE


async def test_a_cancelled_job_frees_the_engine(
    hub: LocalVerifiers,
    redis: Redis,
    server: RedisServer,
) -> None:
    queue = JobQueue(redis)
    async with telling(None, KV_TOKENS) as engine, serving(engine, hub, limits=LIMITS) as served:
        async with working(server, SolveJobHandler(served.session)):
            for _ in range(TRIES):
                (job,) = (await queue.submit([asking().problem])).job_ids
                await until(lambda: free_tokens(engine) < KV_TOKENS - 4 * 64)
                await queue.cancel(job)
                await until(lambda: free_tokens(engine) == KV_TOKENS)
        assert aborted_tokens(served) < TRIES * WHOLE_SOLVE


def aborted_tokens(served: Served) -> float:
    """New tokens of all candidates that were aborted."""
    read = served.session.metrics.registry.get_sample_value
    labels = ({"fate": "aborted", "origin": origin} for origin in ("sampled", "forced"))
    return sum(read("espalier_tokens_total", label) or 0.0 for label in labels)
