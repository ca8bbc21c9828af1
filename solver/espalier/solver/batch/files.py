"""Files that clients upload for batches, in the Redis of the queue."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from espalier.common.errors import FieldError
from espalier.solver.batch.config import QueueConfig
from espalier.solver.batch.connection import outage_as_unavailable
from espalier.solver.batch.keys import Keys
from espalier.solver.batch.limits import NO_LIMITS, OverLimitError, QueueLimits
from espalier.solver.batch.scripts import Script, Scripts, Value

if TYPE_CHECKING:
    from redis.asyncio import Redis

MAX_FILES = 1000
"""Files that one caller may keep."""

TOO_MANY, TOO_MUCH = -1, -2
"""What `lua/add_file.lua` answers when its caller has too many files, or too many bytes."""

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
        self._scripts = Scripts(redis, keys)

    async def add(
        self, caller: str, name: str, purpose: str, content: bytes, limits: QueueLimits = NO_LIMITS
    ) -> StoredFile:
        """Keep a file as long as the results of a batch are kept.

        Raises:
            FieldError: The caller has too many files.
            OverLimitError: It would have too many bytes.
        """
        file = f"file-{secrets.token_hex(12)}"
        fields: dict[str, Value] = {"name": name, "purpose": purpose, "bytes": len(content), "content": content}
        most: Value = "" if limits.stored_bytes is None else limits.stored_bytes
        arguments = (file, caller, self._keep, MAX_FILES, most, *(part for field in fields.items() for part in field))
        with outage_as_unavailable():
            add = partial(self._scripts.run, Script.ADD_FILE, [self._keys.file(file)], *arguments)
            outcome, told = await add()
            if outcome in (TOO_MANY, TOO_MUCH) and await self._scripts.forget():
                outcome, told = await add()
        if outcome == TOO_MANY:
            raise FieldError("file", f"is one too many: {told} files are kept; delete some")
        if outcome == TOO_MUCH:
            raise OverLimitError.stored(told, limits)
        return StoredFile(file, name, purpose, caller, len(content), float(told), float(told) + self._keep)

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
        index = f"{self._keys.files}:{caller}" if caller else self._keys.files
        with outage_as_unavailable():
            names: Any = await self._redis.zrevrange(index, 0, -1)
            async with self._redis.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.hmget(self._keys.file(name.decode()), _ABOUT)
                rows = await pipe.execute()
        return [_decode(name.decode(), row) for name, row in zip(names, rows, strict=True) if row[0] is not None]

    async def delete(self, file: str, caller: str = "") -> None:
        """Forget a file; batches that were made from it go on.

        Raises:
            UnknownFileError: There is no such file.
        """
        await self.get(file, caller)
        with outage_as_unavailable():
            await self._scripts.run(Script.DELETE_FILE, [self._keys.file(file)], file)


def _knows(file: StoredFile, caller: str) -> bool:
    return caller in ("", file.caller)


def _decode(file: str, values: Sequence[bytes]) -> StoredFile:
    name, purpose, caller, size, created, expires = (value.decode() for value in values)
    return StoredFile(file, name, purpose, caller, int(size), float(created), float(expires))
