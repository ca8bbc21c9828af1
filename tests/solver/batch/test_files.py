"""Uploaded files: what one caller may keep."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from espalier.common.errors import FieldError
from espalier.solver.batch import files
from espalier.solver.batch.files import FileStore, StoredFile

if TYPE_CHECKING:
    from redis.asyncio import Redis


@pytest.mark.parametrize(
    ("limit", "most", "said"), [("MAX_FILES", 3, "3 files are kept"), ("MAX_STORED", 30, "30 of at most 30 bytes")]
)
async def test_a_caller_keeps_no_more_than_it_may_however_it_uploads(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, limit: str, most: int, said: str
) -> None:
    monkeypatch.setattr(files, limit, most)
    store = FileStore(redis)

    async def add(caller: str) -> StoredFile:
        return await store.add(caller, "in.jsonl", "batch", b"x" * 10)

    await add("bob")
    for _ in range(3):
        await add("alice")
    with pytest.raises(FieldError, match=said):
        await add("alice")
    await asyncio.gather(*(add("carol") for _ in range(12)), return_exceptions=True)
    kept = {caller: len(await store.list(caller)) for caller in ("alice", "bob", "carol")}
    assert (kept["alice"], kept["bob"]) == (3, 1)
    assert kept["carol"] <= 3
