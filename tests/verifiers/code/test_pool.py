"""The pool: every box serves one job, dead ones are passed over, and nothing is left after close."""

from __future__ import annotations

import asyncio
import json
import marshal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from espalier.verifiers.code.box import Box, BoxChannel
from espalier.verifiers.code.pool import PooledSandbox
from espalier.verifiers.code.sandbox import BoxSpec, Command, Job, SandboxError

SPEC = BoxSpec("python")
COMMAND = Command(("true",))


class FakeBoxes:
    """Boxes in memory: each answers with its own number. A renewed box has its successor's."""

    name = "fake"
    remark = ""

    def __init__(self, *, renewals: int = 0) -> None:
        self.renewals = renewals
        self.launched = 0
        self.made = 0
        self.dead: set[int] = set()
        self.discarded: list[int] = []
        self.broken = False
        self.mute = False
        self.may_renew = asyncio.Event()
        self.may_renew.set()

    async def prepare(self) -> None:
        if self.broken:
            raise SandboxError("broken")

    async def make(self, spec: BoxSpec) -> Box:
        await self.prepare()
        await asyncio.sleep(0)
        self.launched += 1
        self.made += 1
        number = self.made
        replies: asyncio.Queue[bytes] = asyncio.Queue()
        buffer = bytearray()

        async def read(size: int) -> bytes:
            while len(buffer) < size:
                buffer.extend(await replies.get())
            data = bytes(buffer[:size])
            del buffer[:size]
            return data

        async def write(data: bytes) -> None:
            nonlocal number
            if number in self.dead:
                raise ConnectionResetError
            if data == bytes(4):
                self.discarded.append(number)
                await self.may_renew.wait()
                self.made += 1
                number = self.made
                body = b'{"ready": true}'
                await replies.put(len(body).to_bytes(4, "big") + body)
                return
            nonce = marshal.loads(data[4:])["nonce"]  # noqa: S302 (our own request)
            body = json.dumps(
                {
                    **{"nonce": nonce, "stdout": 0, "stderr": 0, "result": 0, "exit_code": number, "signal": None},
                    **{"stopped": None, "seconds": 0, "cpu_seconds": 0, "memory_kib": 0},
                }
            ).encode()
            await replies.put(len(body).to_bytes(4, "big") + body)

        async def close() -> None:
            self.discarded.append(number)

        channel = BoxChannel(read, write, lambda: number in self.dead and not self.mute, close, silent)
        return Box(spec, channel, renewals=self.renewals)

    async def close(self) -> None:
        pass


async def silent() -> str:
    return ""


@pytest.fixture(params=[0, 99], ids=["one box each", "renewed"])
def boxes(request: pytest.FixtureRequest) -> FakeBoxes:
    """Outer sandboxes that serve one job, and such whose zygote makes one box after the other."""
    return FakeBoxes(renewals=request.param)


@pytest_asyncio.fixture
async def pool(boxes: FakeBoxes) -> AsyncIterator[PooledSandbox]:
    sandbox = PooledSandbox(boxes, {SPEC: 2}, concurrency=2)
    await sandbox.start()
    await sandbox.wait_warm()
    yield sandbox
    await sandbox.close()


async def box_of_job(pool: PooledSandbox, commands: int = 1) -> list[int | None]:
    return [outcome.exit_code async for outcome in pool.run(Job(SPEC, (COMMAND,) * commands))]


async def test_every_job_has_a_box_of_its_own(pool: PooledSandbox) -> None:
    used = [await box_of_job(pool, commands=2) for _ in range(10)]
    assert all(first == second for first, second in used)
    assert len({first for first, _ in used}) == 10


async def test_used_boxes_are_replaced_in_the_background(pool: PooledSandbox, boxes: FakeBoxes) -> None:
    await asyncio.gather(*(box_of_job(pool) for _ in range(5)))
    await pool.wait_warm()
    assert boxes.made - len(boxes.discarded) == 2


async def test_a_job_left_half_way_gives_its_box_up(pool: PooledSandbox, boxes: FakeBoxes) -> None:
    outcomes = pool.run(Job(SPEC, (COMMAND,) * 3))
    box = (await anext(outcomes)).exit_code
    await outcomes.aclose()
    await pool.wait_warm()
    assert box in boxes.discarded


async def test_a_box_that_died_while_waiting_is_passed_over(pool: PooledSandbox, boxes: FakeBoxes) -> None:
    boxes.dead = {1, 2}
    assert (await box_of_job(pool))[0] not in boxes.dead


async def test_a_box_that_dies_at_work_is_a_fault_of_the_sandbox(pool: PooledSandbox, boxes: FakeBoxes) -> None:
    outcomes = pool.run(Job(SPEC, (COMMAND,) * 2))
    box = (await anext(outcomes)).exit_code
    assert box is not None
    boxes.dead.add(box)
    with pytest.raises(SandboxError):
        await anext(outcomes)


async def test_after_a_box_failed_the_next_job_gets_a_new_one(pool: PooledSandbox, boxes: FakeBoxes) -> None:
    boxes.mute = True  # dead, but the pool cannot know yet
    boxes.dead = {1, 2}
    with pytest.raises(SandboxError):
        await box_of_job(pool)
    assert (await box_of_job(pool))[0] not in boxes.dead


async def test_after_a_box_failed_no_job_gets_one_that_was_being_renewed() -> None:
    boxes = FakeBoxes(renewals=99)
    sandbox = PooledSandbox(boxes, {}, concurrency=3)
    await sandbox.start()
    await asyncio.gather(*(box_of_job(sandbox) for _ in range(2)))
    launched = boxes.launched
    with pytest.raises(SandboxError, match="a box failed"):
        async with sandbox._box(SPEC):
            boxes.may_renew.clear()
            waiting = asyncio.create_task(box_of_job(sandbox))  # for the other one, which is being renewed
            for _ in range(10):
                await asyncio.sleep(0)
            raise SandboxError("a box failed")
    await waiting
    assert boxes.launched == launched + 1
    boxes.may_renew.set()
    await box_of_job(sandbox)
    await sandbox.close()
    assert set(boxes.discarded) == set(range(1, boxes.made + 1))


async def test_health_tells_of_a_maker_that_cannot_make(pool: PooledSandbox, boxes: FakeBoxes) -> None:
    assert (await pool.health()).ok
    boxes.broken = True
    health = await pool.health()
    assert not health.ok
    assert "broken" in health.detail


async def test_close_discards_every_box_and_refuses_further_jobs(boxes: FakeBoxes) -> None:
    sandbox = PooledSandbox(boxes, {SPEC: 3}, concurrency=1)
    await sandbox.start()
    await box_of_job(sandbox)
    await sandbox.close()
    await sandbox.wait_warm()
    assert set(boxes.discarded) == set(range(1, boxes.made + 1))
    with pytest.raises(SandboxError, match="closed"):
        await box_of_job(sandbox)


async def test_close_while_jobs_wait_leaves_no_box(boxes: FakeBoxes) -> None:
    sandbox = PooledSandbox(boxes, {SPEC: 2}, concurrency=1)
    await sandbox.start()
    jobs = [asyncio.create_task(box_of_job(sandbox)) for _ in range(8)]
    await asyncio.sleep(0)
    for job in jobs[::2]:
        job.cancel()
    await sandbox.close()
    await asyncio.gather(*jobs, return_exceptions=True)
    await sandbox.wait_warm()
    assert set(boxes.discarded) == set(range(1, boxes.made + 1))


async def test_outer_sandboxes_are_used_again_box_after_box() -> None:
    boxes = FakeBoxes(renewals=99)
    sandbox = PooledSandbox(boxes, {SPEC: 2}, concurrency=2)
    await sandbox.start()
    used = [await box_of_job(sandbox) for _ in range(20)]
    used += await asyncio.gather(*(box_of_job(sandbox) for _ in range(20)))
    await sandbox.close()
    assert len({number for [number] in used}) == 40
    assert boxes.launched <= 4


async def test_a_job_waits_for_a_box_that_is_being_renewed_instead_of_launching_another() -> None:
    boxes = FakeBoxes(renewals=99)
    sandbox = PooledSandbox(boxes, {SPEC: 1}, concurrency=1)
    await sandbox.start()
    await sandbox.wait_warm()
    for _ in range(5):
        await box_of_job(sandbox)
    await sandbox.close()
    assert boxes.launched == 1


async def test_used_boxes_are_renewed_for_jobs_that_wait_before_others_are_launched() -> None:
    boxes = FakeBoxes(renewals=99)
    sandbox = PooledSandbox(boxes, {}, concurrency=3)
    await sandbox.start()
    for _ in range(5):
        await asyncio.gather(*(box_of_job(sandbox) for _ in range(3)))
    await sandbox.close()
    assert boxes.launched == 3


async def test_an_outer_sandbox_is_replaced_after_so_many_boxes() -> None:
    boxes = FakeBoxes(renewals=4)
    sandbox = PooledSandbox(boxes, {SPEC: 1}, concurrency=1)
    await sandbox.start()
    await sandbox.wait_warm()
    for _ in range(15):
        await box_of_job(sandbox)
    await sandbox.wait_warm()
    await sandbox.close()
    assert boxes.launched == 4  # 5 boxes each: 15 for the jobs, and the one that is ready


async def test_a_box_left_at_work_is_not_renewed() -> None:
    boxes = FakeBoxes(renewals=99)
    sandbox = PooledSandbox(boxes, {SPEC: 1}, concurrency=1)
    await sandbox.start()
    await sandbox.wait_warm()
    async with sandbox._box(SPEC) as box:
        box._commands += 1  # asked, not answered
    await sandbox.wait_warm()
    assert boxes.launched == 2
    await sandbox.close()


async def test_a_box_that_cannot_be_renewed_is_replaced() -> None:
    boxes = FakeBoxes(renewals=99)
    sandbox = PooledSandbox(boxes, {SPEC: 2}, concurrency=1)
    await sandbox.start()
    await sandbox.wait_warm()
    boxes.mute = True
    async with sandbox._box(SPEC):
        boxes.dead = {1, 2}
    boxes.dead = {1, 2}
    await sandbox.wait_warm()
    assert boxes.launched == 3
    await sandbox.close()


async def test_boxes_of_other_specs_are_kept_up_to_the_number_of_jobs_the_last_used_longest() -> None:
    boxes = FakeBoxes(renewals=99)
    sandbox = PooledSandbox(boxes, {}, concurrency=2)
    await sandbox.start()
    specs = [BoxSpec("python", memory_mib=size) for size in (100, 200, 300)]
    for spec in (*specs, *reversed(specs)):
        [_ async for _ in sandbox.run(Job(spec, (COMMAND,)))]
        await sandbox.wait_warm()
    assert boxes.launched == 4  # 100, 200 and 300, which threw 100 out; 300 and 200 were there; 100 again
    await sandbox.close()


async def test_a_reply_without_the_nonce_is_not_believed_and_its_outer_sandbox_not_used_again() -> None:
    async def read(size: int) -> bytes:
        return data.pop(0)

    body = json.dumps({"nonce": "0" * 32, "exit_code": 0}).encode()
    data = [len(body).to_bytes(4, "big"), body]
    closed = []

    async def write(_: bytes) -> None:
        pass

    async def close() -> None:
        closed.append(True)

    box = Box(SPEC, BoxChannel(read, write, lambda: False, close, silent), renewals=9)
    with pytest.raises(SandboxError, match="not the runner's"):
        await box.run(COMMAND)
    assert await box.renew() is None
    assert closed
