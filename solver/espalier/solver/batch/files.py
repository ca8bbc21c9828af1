"""Files that clients upload for batches, in the Redis of the queue."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from espalier.common.errors import FieldError
from espalier.solver.batch.config import QueueConfig
from espalier.solver.batch.connection import outage_as_unavailable
from espalier.solver.batch.keys import Keys

if TYPE_CHECKING:
    from redis.asyncio import Redis

MAX_FILES = 1000
"""Files that one caller may keep."""

MAX_STORED = 1 << 28
"""Bytes that one caller may keep."""

_ABOUT = ("name", "purpose", "caller", "bytes", "created", "expires")


class UnknownFileError(LookupError):
    """There is no such file, or it is forgotten."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """What is known of an uploaded file.

    Attributes:
        id: Of the file.
        name: As its client calls it.
        purpose: What it is for.
        caller: Name of who uploaded it; empty where callers have no names.
        bytes: Its size.
        created: When it was uploaded, in seconds since the epoch.
        expires: When it is forgotten.
    """

    id: str
    name: str
    purpose: str
    caller: str
    bytes: int
    created: float
    expires: float


class FileStore:
    """Uploaded files. Every method raises QueueUnavailableError when Redis is gone for longer than a moment; a named
    caller knows its own files only, a caller without a name knows all.
    """

    def __init__(self, redis: Redis, keys: Keys = Keys(), config: QueueConfig = QueueConfig()) -> None:
        self._redis = redis
        self._keys = keys
        self._keep = config.keep_seconds

    async def add(self, caller: str, name: str, purpose: str, content: bytes) -> StoredFile:
        """Keep a file as long as the results of a batch are kept.

        Raises:
            FieldError: The caller has too many files, or too much in them.
        """
        await self._require_room(caller, len(content))
        now = time.time()
        file = StoredFile(f"file-{secrets.token_hex(12)}", name, purpose, caller, len(content), now, now + self._keep)
        fields: Mapping[Any, Any] = {name: getattr(file, name) for name in _ABOUT}
        with outage_as_unavailable():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.hset(self._keys.file(file.id), mapping={**fields, "content": content})
                pipe.expire(self._keys.file(file.id), self._keep)
                pipe.zadd(self._keys.files, {file.id: now})
                await pipe.execute()
        try:
            await self._require_room(caller, len(content), file.id)  # uploads at the same time are seen now
        except FieldError:
            await self.delete(file.id)
            raise
        return file

    async def get(self, file: str, caller: str = "") -> StoredFile:
        """What is known of a file.

        Raises:
            UnknownFileError: There is no such file.
        """
        with outage_as_unavailable():
            values: Any = await self._redis.hmget(self._keys.file(file), _ABOUT)
        if values[0] is None or not _knows(found := _decode(file, values), caller):
            raise UnknownFileError(f"there is no file {file[:80]}, or it is forgotten")
        return found

    async def content(self, file: str, caller: str = "") -> bytes:
        """What is in a file.

        Raises:
            UnknownFileError: There is no such file.
        """
        await self.get(file, caller)
        with outage_as_unavailable():
            content: Any = await self._redis.hget(self._keys.file(file), "content")
        if content is None:
            raise UnknownFileError(f"there is no file {file[:80]}, or it is forgotten")
        return bytes(content)

    async def list(self, caller: str = "") -> Sequence[StoredFile]:
        """All files, the newest first."""
        with outage_as_unavailable():
            await self._redis.zremrangebyscore(self._keys.files, "-inf", time.time() - self._keep)
            names: Any = await self._redis.zrevrange(self._keys.files, 0, -1)
            async with self._redis.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.hmget(self._keys.file(name.decode()), _ABOUT)
                rows = await pipe.execute()
        files = (_decode(name.decode(), row) for name, row in zip(names, rows, strict=True) if row[0] is not None)
        return [file for file in files if _knows(file, caller)]

    async def delete(self, file: str, caller: str = "") -> None:
        """Forget a file; batches that were made from it go on.

        Raises:
            UnknownFileError: There is no such file.
        """
        await self.get(file, caller)
        with outage_as_unavailable():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.delete(self._keys.file(file))
                pipe.zrem(self._keys.files, file)
                await pipe.execute()

    async def _require_room(self, caller: str, size: int, itself: str = "") -> None:
        """
        Args:
            caller: Who uploads.
            size: Of the file in bytes.
            itself: Id of the file, if it is stored already.

        Raises:
            FieldError: Beside the caller's other files it is one too many, or too much.
        """
        others = [file for file in await self.list() if file.caller == caller and file.id != itself]
        if len(others) >= MAX_FILES:
            raise FieldError("file", f"is one too many: {len(others)} files are kept; delete some")
        if (stored := sum(file.bytes for file in others)) + size > MAX_STORED:
            raise FieldError("file", f"is too much: {stored} of at most {MAX_STORED} bytes are kept; delete some")


def _knows(file: StoredFile, caller: str) -> bool:
    return caller in ("", file.caller)


def _decode(file: str, values: Sequence[bytes]) -> StoredFile:
    name, purpose, caller, size, created, expires = (value.decode() for value in values)
    return StoredFile(file, name, purpose, caller, int(size), float(created), float(expires))
