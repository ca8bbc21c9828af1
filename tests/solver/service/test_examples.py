"""The examples run as they are written."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from espalier.solver.batch.handler import SolveJobHandler
from espalier.solver.batch.queue import JobQueue
from espalier.verifiers.local import LocalVerifiers
from tests.solver.batch.server import RedisServer
from tests.solver.batch.working import working
from tests.solver.service.serving import serving
from tests.solver.service.telling import telling

if TYPE_CHECKING:
    from redis.asyncio import Redis

EXAMPLES = Path(__file__).parents[3] / "examples"
FORKED = {
    (): "<guideline><plan>1: add</plan><plan>2: subtract</plan></guideline>done</takeaway>\\boxed{55 + 36 - 19 - 7}",
    ((0, 1),): "55 + 36 = 91</step>",
    ((0, 2),): "19 + 7 = 26</step>",
}


async def output(name: str, address: str) -> str:
    command = [sys.executable, str(EXAMPLES / name), address]
    done = await asyncio.to_thread(lambda: subprocess.run(command, capture_output=True, text=True, timeout=120))
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_the_grpc_client_shows_branches_and_a_verified_answer(hub: LocalVerifiers) -> None:
    async with telling(FORKED) as engine, serving(engine, hub) as served:
        said = await output("grpc_client.py", served.address)
    assert "thinks about '1: add'" in said
    assert "OUTCOME_VERIFIED: 55 + 36 - 19 - 7" in said


async def test_the_openai_client_prints_answer_and_evidence(hub: LocalVerifiers) -> None:
    async with telling("\\boxed{42}") as engine, serving(engine, hub) as served:
        said = await output("openai_client.py", served.http)
    assert "answer: 42\nverified: True" in said


async def test_the_batch_client_waits_for_its_jobs(hub: LocalVerifiers, redis: Redis, server: RedisServer) -> None:
    async with (
        telling("\\boxed{42}") as engine,
        serving(engine, hub, queue=JobQueue(redis)) as served,
        working(server, SolveJobHandler(served.session)),
    ):
        said = await output("batch_client.py", served.address)
        again = await output("batch_client.py", served.address)
    assert said.splitlines() == [
        "6x7: 42 (JOB_STATE_DONE)",
        *(f"{x}: UNSOLVED (JOB_STATE_DONE)" for x in ("12x12", "19x3")),
    ]
    assert again == said
