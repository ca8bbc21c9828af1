"""What Redis loses, results that outlive their keeping, receivers of webhooks that die: nothing is stuck, nothing is
told wrongly, and nothing is done twice.

Real redis-server, worker and receiver processes; the engine is scripted, because the model does not matter here.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from espalier.common.ports import free_port
from espalier.solver.batch.batches import BatchInfo
from espalier.solver.batch.config import QueueConfig
from espalier.solver.batch.connection import check_eviction, connect
from espalier.solver.batch.keys import Keys
from espalier.solver.batch.queue import JobQueue
from espalier.solver.batch.webhooks import WebhookSender, WebhookSettings
from espalier.v1 import common_pb2
from espalier.v1 import solver_pb2 as pb
from tests.chaos.conftest import FULL
from tests.chaos.crew import ROOT, Crew
from tests.chaos.test_chaos import END_SECONDS, SETTINGS, check_all, queue_on, submit
from tests.solver.batch.server import RedisServer

JOBS = 200 if FULL else 24
KEEP = 10 if FULL else 2
"""Seconds that results are kept: much less than the batches here take, and enough to read them."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


async def batch_ended(queue: JobQueue, key: str) -> None:
    async with asyncio.timeout(END_SECONDS):
        async for _ in queue.watch_batch(key):
            pass


async def test_results_of_a_batch_that_takes_longer_than_they_are_kept_are_all_there(
    own_server: RedisServer, tmp_path: Path, rng: Random
) -> None:
    victims = [rng.randrange(2) for _ in range(3)]
    print("killed:", victims)
    async with connect(own_server.url) as redis:
        queue = JobQueue(redis, config=QueueConfig(keep_seconds=KEEP))
        with Crew(own_server.url, tmp_path / "log", size=2, seconds=1.0, keep=KEEP) as crew:
            await crew.ready()
            clock = asyncio.get_running_loop().time
            jobs, start = await submit(queue, JOBS), clock()
            batch = jobs[0].rpartition("-")[0]
            ending = asyncio.create_task(batch_ended(queue, batch))
            for victim in victims:
                await asyncio.wait([ending], timeout=KEEP / 2)
                if not ending.done():
                    crew.kill(victim)
            await ending
            assert clock() - start > 1.5 * KEEP  # else this shows nothing
            rows = [row async for row in queue.read(await queue.batch(batch))]
            assert all(row.response is not None and row.response.HasField("result") for row in rows)
        async with asyncio.timeout(END_SECONDS):
            while await redis.exists(Keys().batch(batch), *map(Keys().job, jobs)):  # noqa: ASYNC110
                await asyncio.sleep(0.1)


@pytest.mark.parametrize("lost", [("jobs",), ("waiting", "turns", "turns:"), ("jobs", "waiting", "turns", "turns:")])
async def test_a_repair_after_a_lost_queue_gets_every_job_done_once(
    own_server: RedisServer, tmp_path: Path, rng: Random, lost: tuple[str, ...]
) -> None:
    """Workers go on meanwhile; those whose lease went with the stream are fenced off."""
    point = rng.randrange(5, JOBS // 2)
    print("lost at candidates stored:", point, lost)
    async with connect(own_server.url) as redis:
        queue = JobQueue(redis)
        with Crew(own_server.url, tmp_path / "log", seconds=0.3) as crew:
            await crew.ready()
            jobs = await submit(queue, JOBS)
            await asyncio.wait_for(crew.reach(point), END_SECONDS)
            await redis.delete(*(f"{{espalier}}:{name}" for name in lost))
            assert (await queue.repair()).gone == 0
            await check_all(queue, jobs, crew, overlap=True)


async def test_a_redis_that_evicts_leaves_nothing_stuck_behind_a_repair(
    own_server: RedisServer, tmp_path: Path, rng: Random
) -> None:
    """It may lose any key. What it lost is named, all else is done, and no batch waits for what will never come."""
    point = rng.randrange(3, JOBS // 2)
    print("evicts at candidates stored:", point)
    async with connect(own_server.url) as redis:
        queue = JobQueue(redis)
        with Crew(own_server.url, tmp_path / "log", seconds=0.2) as crew:
            await crew.ready()
            # Large ones, so that buffers of connections, which come and go, do not push everything out.
            texts = [f"Problem {number} {'x' * 50_000}" for number in range(JOBS)]
            check = common_pb2.Check(reference=common_pb2.ReferenceCheck(answer="0"))
            problems = [common_pb2.Problem(text=text, check=check) for text in texts]
            batch = (await queue.submit(problems, SETTINGS)).batch_id
            await asyncio.wait_for(crew.reach(point), END_SECONDS)
            before = (await redis.info("stats"))["evicted_keys"]
            await redis.config_set("maxmemory-policy", "allkeys-random")
            with pytest.raises(ValueError, match="evicts keys"):
                await check_eviction(redis, allowed=False)
            async with asyncio.timeout(END_SECONDS):
                while (await redis.info("stats"))["evicted_keys"] < before + 5:
                    used = (await redis.info("memory"))["used_memory"]
                    await redis.config_set("maxmemory", used)
                    with suppress(Exception):  # a write that finds no room evicts first
                        await redis.set("filler", "x" * 1000)
            await redis.config_set("maxmemory", 0)
            await redis.config_set("maxmemory-policy", "noeviction")
            await redis.delete("filler")
            async with asyncio.timeout(END_SECONDS):
                while True:  # workers die of what is missing as they would of a bug, and are replaced
                    crew.replace_the_dead()
                    repaired = await queue.repair()
                    found = await queue.batch(batch)
                    if found.ended == found.count:
                        break
                    await asyncio.sleep(0.5)
            rows = [row async for row in queue.read(found)]
            gone = [row for row in rows if row.response is None]
            done = [row for row in rows if row.response is not None and row.response.HasField("result")]
            print("gone:", len(gone), "done:", len(done), repaired)
            assert done  # else all was lost, and this shows nothing
            assert len(gone) + len(done) == len(rows)
            assert found.count - found.states[pb.JOB_STATE_DONE] == repaired.gone
            assert (await queue.depth()).total == 0


async def test_every_end_is_told_through_kills_of_receiver_and_sender(
    own_server: RedisServer, tmp_path: Path, rng: Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("espalier.solver.batch.webhooks.DELAYS", (0.2,) * 1000)
    monkeypatch.setattr("espalier.solver.batch.webhooks.LOOK_SECONDS", 0.1)
    monkeypatch.setattr("espalier.solver.batch.webhooks.REPLY_SECONDS", 1.0)
    port = free_port()
    heard = tmp_path / "heard"
    settings = WebhookSettings(b"k" * 32, ["127.0.0.1"], private=True)
    batches, kills = 12, [rng.uniform(0.2, 1.0) for _ in range(6 if FULL else 3)]
    print("kills after seconds:", kills)

    def receiver() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "tests.chaos.receiver", str(port), str(heard)], cwd=ROOT)

    def told() -> Counter[str]:
        return Counter(heard.read_text().splitlines()) if heard.exists() else Counter()

    async with queue_on(own_server) as queue, connect(own_server.url) as redis:
        with Crew(own_server.url, tmp_path / "log", size=2, seconds=0.1) as crew:
            await crew.ready()
            info = BatchInfo(webhook=f"http://127.0.0.1:{port}/told")
            for number in range(batches):
                await queue.submit([common_pb2.Problem(text="x")], SETTINGS, f"batch-{number}", info=info)
            running = receiver()
            sending = asyncio.create_task(WebhookSender(redis, settings).run())
            try:
                for seconds in kills:
                    await asyncio.sleep(seconds)
                    running.kill()
                    running.wait()
                    sending.cancel()
                    await asyncio.wait([sending])
                    sending = asyncio.create_task(WebhookSender(redis, settings).run())
                    await asyncio.sleep(0.3)
                    running = receiver()
                async with asyncio.timeout(END_SECONDS):
                    while len(told()) < batches or await redis.zcard(Keys().webhooks):  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
            finally:
                sending.cancel()
                await asyncio.wait([sending])
                running.kill()
                running.wait()
    keys = [line.split()[1] for line in told()]
    assert sorted(keys) == sorted(f"batch-{number}" for number in range(batches))  # one id an end, however often told
