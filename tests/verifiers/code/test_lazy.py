"""One sandbox for all verifiers of an event loop: started when it is needed, closed when the last has given it up."""

from __future__ import annotations

import asyncio

import pytest

from espalier.verifiers.code import lazy
from espalier.verifiers.code.lazy import LazySandbox
from espalier.verifiers.code.pool import PooledSandbox
from espalier.verifiers.code.sandbox import BoxSpec, SandboxError
from espalier.verifiers.code.settings import SandboxSettings
from tests.verifiers.code.test_pool import FakeBoxes, box_of_job

SETTINGS = SandboxSettings(warm=0, concurrency=2)


@pytest.fixture(autouse=True)
def boxes(monkeypatch: pytest.MonkeyPatch) -> FakeBoxes:
    fake = FakeBoxes(renewals=99)

    async def open_sandbox(settings: SandboxSettings) -> PooledSandbox:
        sandbox = PooledSandbox(fake, {BoxSpec("python"): settings.warm}, concurrency=settings.concurrency)
        await sandbox.start()
        return sandbox

    monkeypatch.setattr(lazy, "open_sandbox", open_sandbox)
    return fake


def with_warm(number: int) -> LazySandbox:
    return LazySandbox(SETTINGS.model_copy(update={"warm": number}))


async def test_who_asks_at_the_same_time_gets_the_same_one_with_the_most_boxes_ready(boxes: FakeBoxes) -> None:
    users = [with_warm(number) for number in (0, 3, 1)]
    first, *others = await asyncio.gather(*(user.started() for user in users))
    assert all(other is first for other in others)
    assert isinstance(first, PooledSandbox)
    await first.wait_warm()
    assert boxes.launched == 3
    for user in users:
        await user.close()
    assert set(boxes.discarded) == set(range(1, boxes.made + 1))


async def test_it_lives_until_the_last_has_given_it_up() -> None:
    first, second = with_warm(0), with_warm(1)
    sandbox = await first.started()
    assert await second.started() is sandbox
    assert isinstance(sandbox, PooledSandbox)
    await first.close()
    await first.close()
    await box_of_job(sandbox)
    await second.close()
    with pytest.raises(SandboxError, match="closed"):
        await box_of_job(sandbox)
    again = await second.started()
    assert again is not sandbox
    await second.close()


async def test_other_settings_have_another_one() -> None:
    one, other = LazySandbox(SETTINGS), LazySandbox(SETTINGS.model_copy(update={"pids": 32}))
    assert await one.started() is not await other.started()
    await one.close()
    await other.close()


def test_another_event_loop_has_another_one() -> None:
    async def identity() -> int:
        user = with_warm(0)
        sandbox = await user.started()
        kept.append(sandbox)
        await user.close()
        return id(sandbox)

    kept: list[object] = []
    assert asyncio.run(identity()) != asyncio.run(identity())


async def test_one_that_cannot_be_had_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = lazy.open_sandbox

    async def refused(_: SandboxSettings) -> PooledSandbox:
        raise SandboxError("none is to be had")

    user = with_warm(0)
    monkeypatch.setattr(lazy, "open_sandbox", refused)
    with pytest.raises(SandboxError, match="none is to be had"):
        await user.started()
    monkeypatch.setattr(lazy, "open_sandbox", opened)
    await user.started()
    await user.close()
