"""Uploaded files: what one caller may keep."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from espalier.common.errors import FieldError
from espalier.solver.batch import files
from espalier.solver.batch.files import FileStore, StoredFile
from espalier.solver.batch.limits import OverLimitError, QueueLimits

if TYPE_CHECKING:
    from redis.asyncio import Redis


async def test_a_caller_keeps_no_more_than_it_may_however_it_uploads(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_FILES", 3)
    store = FileStore(redis)

    async def add(caller: str) -> StoredFile:
        return await store.add(caller, "in.jsonl", "batch", b"x" * 10)

    await add("bob")
    for _ in range(3):
        await add("alice")
    with pytest.raises(FieldError, match="3 files are kept"):
        await add("alice")
    await asyncio.gather(*(add("carol") for _ in range(12)), return_exceptions=True)
    kept = {caller: len(await store.list(caller)) for caller in ("alice", "bob", "carol", "")}
    assert kept == {"alice": 3, "bob": 1, "carol": 3, "": 7}


async def test_uploads_at_the_same_time_share_the_bytes_of_their_caller(redis: Redis) -> None:
    store, limits = FileStore(redis), QueueLimits(stored_bytes=10_000)
    adding = (store.add("alice", "in.jsonl", "batch", b"x" * 2000, limits) for _ in range(12))
    outcomes = await asyncio.gather(*adding, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes].count(OverLimitError) == 9
    (deleted, *_) = await store.list("alice")
    await store.delete(deleted.id, "alice")
    await store.add("alice", "in.jsonl", "batch", b"x" * 2000, limits)


async def test_an_upload_costs_the_same_however_many_files_others_have(redis: Redis) -> None:
    store = FileStore(redis)

    async def commands() -> int:
        await redis.config_resetstat()
        await store.add("alice", "in.jsonl", "batch", b"x")
        return sum(one["calls"] for one in (await redis.info("commandstats")).values())

    await commands()
    few = await commands()
    for _ in range(20):
        await store.add("bob", "in.jsonl", "batch", b"x")
    assert await commands() == few
