from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from espalier.verifiers.math import workers
from espalier.verifiers.math.workers import PoolLimits, WorkerError, WorkerPool, WorkerTimeoutError

TASK = {"task": "equivalent", "gold": "1/2", "claim": "0.5", "options": {}}
SLOW = {"task": "steps", "text": "".join(f"${n}! = {n}$\n" for n in range(9000, 9400))}


@pytest_asyncio.fixture
async def pool() -> AsyncIterator[WorkerPool]:
    pool = WorkerPool(PoolLimits(workers=2, recycle_after=20, wall_seconds=120))
    await pool.start()
    yield pool
    await pool.close()


async def test_a_task_is_done(pool: WorkerPool) -> None:
    assert (await pool.run(TASK))["equal"] is True


async def test_every_worker_orders_sets_of_texts_alike(pool: WorkerPool) -> None:
    assert [psutil.Process(pid).environ()["PYTHONHASHSEED"] for pid in pool.pids] == ["0", "0"]


async def test_replies_belong_to_their_requests(pool: WorkerPool) -> None:
    requests = [{**TASK, "claim": f"{n}/{2 * n + n % 2}"} for n in range(1, 200)]
    replies = await asyncio.gather(*(pool.run(request) for request in requests))
    assert [reply["equal"] for reply in replies] == [n % 2 == 0 for n in range(1, 200)]


async def test_a_killed_worker_costs_one_task_and_is_replaced(pool: WorkerPool) -> None:
    victims = pool.pids
    hanging = [asyncio.create_task(pool.run(SLOW)) for _ in range(2)]
    await asyncio.sleep(0.05)
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    outcomes = await asyncio.gather(*hanging, return_exceptions=True)
    assert all(isinstance(outcome, WorkerError) for outcome in outcomes)
    assert (await pool.run(TASK))["equal"] is True
    assert not set(victims) & set(pool.pids)


async def test_an_idle_worker_that_died_costs_no_task(pool: WorkerPool) -> None:
    for _ in range(5):
        await asyncio.gather(*(pool.run(TASK) for _ in range(2)))
        victims = pool.pids
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
            _await_end(pid)
        replies = await asyncio.gather(*(pool.run(TASK) for _ in range(4)))
        assert all(reply["equal"] for reply in replies)
        assert not set(victims) & set(pool.pids)


async def test_a_worker_that_cannot_be_replaced_is_missed_and_tried_again(
    pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise BlockingIOError("no process to be had")

    await asyncio.gather(*(pool.run(TASK) for _ in range(2)))
    monkeypatch.setattr(workers, "_RESPAWN_SECONDS", (0.01, 0.02))
    with monkeypatch.context() as starved:
        starved.setattr(subprocess, "Popen", refuse)
        for pid in pool.pids:
            os.kill(pid, signal.SIGKILL)
            _await_end(pid)
        with pytest.raises(WorkerTimeoutError):
            await pool.run(TASK, timeout=0.3)
        assert pool.faults == ("a worker does not start: no process to be had",) * 2
    replies = await asyncio.gather(*(pool.run(TASK) for _ in range(2)))
    assert all(reply["equal"] for reply in replies)
    assert (await asyncio.gather(*(pool.run(TASK) for _ in range(20))))[-1]["equal"]
    async with asyncio.timeout(60):
        await asyncio.gather(*pool._replacing)
    assert pool.faults == ()
    assert len(pool.pids) == 2


async def test_closing_does_not_wait_for_the_next_attempt_to_replace(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise BlockingIOError("no process to be had")

    monkeypatch.setattr(workers, "_RESPAWN_SECONDS", (3600.0, 3600.0))
    pool = WorkerPool(PoolLimits(workers=1))
    await pool.start()
    await pool.run(TASK)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    os.kill(pool.pids[0], signal.SIGKILL)
    _await_end(pool.pids[0])
    with pytest.raises(WorkerTimeoutError):
        await pool.run(TASK, timeout=0.2)
    async with asyncio.timeout(60):
        await pool.close()
    assert pool.pids == pool.faults == ()


async def test_a_pool_that_cannot_start_says_so_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    started = 0
    real = subprocess.Popen

    def second_fails(*args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        nonlocal started
        started += 1
        if started == 2:
            raise BlockingIOError("no process to be had")
        return real(*args, **kwargs)

    monkeypatch.setattr(subprocess, "Popen", second_fails)
    pool = WorkerPool(PoolLimits(workers=3))
    with pytest.raises(WorkerError, match="no process to be had"):
        await pool.start()
    assert pool.pids == ()


async def test_a_hanging_worker_is_killed_at_the_deadline_and_replaced(pool: WorkerPool) -> None:
    before = pool.pids
    for pid in before:
        os.kill(pid, signal.SIGSTOP)
    outcomes = await asyncio.gather(*(pool.run(TASK, timeout=0.5) for _ in range(2)), return_exceptions=True)
    assert all(isinstance(outcome, WorkerTimeoutError) for outcome in outcomes)
    assert (await pool.run(TASK))["equal"] is True
    assert not any(_alive(pid) for pid in before)


async def test_a_cancelled_task_frees_its_worker(pool: WorkerPool) -> None:
    tasks = [asyncio.create_task(pool.run(SLOW)) for _ in range(6)]
    await asyncio.sleep(0.05)
    for task in tasks:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    assert (await pool.run(TASK))["equal"] is True


async def test_workers_are_recycled(pool: WorkerPool) -> None:
    before = set(pool.pids)
    for _ in range(60):
        await pool.run(TASK)
    await asyncio.sleep(0.3)
    assert not before & set(pool.pids)


async def test_a_full_queue_refuses() -> None:
    pool = WorkerPool(PoolLimits(workers=1, waiting=1))
    await pool.start()
    try:
        first, second = (asyncio.create_task(pool.run(SLOW, timeout=20)) for _ in range(2))
        await asyncio.sleep(0.05)
        with pytest.raises(WorkerError, match="waiting"):
            await pool.run(TASK)
        first.cancel()
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
    finally:
        await pool.close()


async def test_closing_leaves_no_process() -> None:
    pool = WorkerPool()
    await pool.start()
    pids = pool.pids
    waiting = [asyncio.create_task(pool.run(SLOW)) for _ in range(5)]
    await asyncio.sleep(0.05)
    await pool.close()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(outcome, WorkerError) for outcome in outcomes)
    assert not any(psutil.pid_exists(pid) for pid in pids)
    with pytest.raises(WorkerError, match="closed"):
        await pool.run(TASK)


async def test_memory_and_cpu_time_are_limited() -> None:
    pool = WorkerPool(PoolLimits(workers=1, memory_mib=256, cpu_seconds=3, wall_seconds=60))
    await pool.start()
    try:
        await pool.run(TASK)
        worker = psutil.Process(pool.pids[0])
        assert worker.rlimit(psutil.RLIMIT_AS) == (256 << 20, 256 << 20)
        assert 3 <= worker.rlimit(psutil.RLIMIT_CPU)[0] <= 8
        with pytest.raises(WorkerError):
            await pool.run({"task": "steps", "text": "1" * (300 << 20)})
        assert (await pool.run(TASK))["equal"] is True
    finally:
        await pool.close()


def test_workers_die_with_their_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent("""
        import asyncio
        from espalier.verifiers.math.workers import WorkerPool

        async def main():
            pool = WorkerPool()
            await pool.start()
            await pool.run({"task": "equivalent", "gold": "1", "claim": "1", "options": {}})
            print(*pool.pids, flush=True)
            await asyncio.sleep(60)

        asyncio.run(main())
        """)
    )
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while any(_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_alive(pid) for pid in pids)


def _await_end(pid: int) -> None:
    """Wait until a child has ended, without reaping it."""
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def _alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def test_a_worker_whose_words_nobody_reads_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reply that its caller no longer waits for stays in the stream, which then reads no end of it."""
    pool = WorkerPool(PoolLimits(workers=1))
    await pool.start()
    await pool.run(TASK)
    (worker,) = pool._all
    worker.replies.feed_data(b"x" * (1 << 20))
    async with asyncio.timeout(60):
        await pool.close()
    assert pool.pids == ()


@pytest.mark.parametrize("steps", range(8))
async def test_starting_a_pool_can_be_cancelled_at_any_moment(steps: int) -> None:
    before = set(psutil.Process().children(recursive=True))
    pool = WorkerPool(PoolLimits(workers=2))
    starting = asyncio.create_task(pool.start())
    for _ in range(steps):
        await asyncio.sleep(0)
    starting.cancel()
    async with asyncio.timeout(60):
        await asyncio.wait([starting])
        await pool.close()
    assert set(psutil.Process().children(recursive=True)) <= before
