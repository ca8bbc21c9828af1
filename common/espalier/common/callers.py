"""Named callers, each with a token and limits of its own, from a file that is read again when it changes."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import structlog

MIN_TOKEN = 16
"""Shortest token, in characters."""

LIMITS = ("solves", "tokens_per_minute", "jobs", "stored_mib")
"""What a caller may have, by the names of the fields."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller as its token names it.

    Attributes:
        name: For metrics and logs; empty where callers have no names.
        solves: Solves at a time; further ones wait in line. None: as many as the server has slots.
        tokens_per_minute: New tokens of its solves; above it solves are turned away until it has recovered. None: any.
        jobs: Jobs in the queue that have not ended. None: any.
        stored_mib: MiB of jobs, results and files in the queue, as long as they are kept. 0: any.
    """

    name: str = ""
    solves: int | None = None
    tokens_per_minute: int | None = None
    jobs: int | None = None
    stored_mib: int = 4096


ANYONE = Caller(stored_mib=0)
"""The caller where callers have no names."""


class Callers:
    """The callers in a file of TOML, a table for each, with its `token` and the limits of :class:`Caller`.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is wrong; the message names the caller and the field.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_at = self._modified()
        self._by_digest = _read(path)

    def find(self, token: bytes) -> Caller | None:
        """Whose token it is, compared by digest; the file is read again first if it has changed."""
        self._refresh()
        return self._by_digest.get(sha256(token).digest())

    def _refresh(self) -> None:
        try:
            modified = self._modified()
            if modified == self._read_at:
                return
            self._read_at = modified
            self._by_digest = _read(self._path)
        except (OSError, ValueError) as error:
            log.error("the callers stay as they were", path=str(self._path), reason=str(error))
        else:
            log.info("callers read", callers=len(self._by_digest))

    def _modified(self) -> tuple[int, int]:
        status = self._path.stat()
        return status.st_mtime_ns, status.st_size


def _read(path: Path) -> dict[bytes, Caller]:
    found: dict[bytes, Caller] = {}
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from None
    for name, table in tables.items():
        if not name.strip() or not name.isprintable():  # who has no name sees what all have asked for
            raise ValueError(f"{path}: [{name!r}]: a caller needs a name of printable characters")
        at = f"{path}: [{name}]"
        if not isinstance(table, dict):
            raise ValueError(f"{at} is no table; write [{name}] and below it token = …")
        if unknown := sorted(table.keys() - {"token", *LIMITS}):
            raise ValueError(f"{at}: unknown field {unknown[0]}; there are: token, {', '.join(LIMITS)}")
        token = table.get("token")
        if not isinstance(token, str) or not _usable(token):
            raise ValueError(f"{at}: token must be at least {MIN_TOKEN} printable ASCII characters")
        digest = sha256(token.encode()).digest()
        if digest in found:
            raise ValueError(f"{at}: its token is also that of {found[digest].name}")
        found[digest] = Caller(name, **{field: _limit(table, field, at) for field in LIMITS if field in table})
    if not found:
        raise ValueError(f"{path}: there is no caller in it")
    return found


def _usable(token: str) -> bool:
    return len(token) >= MIN_TOKEN and token.isascii() and token.isprintable() and " " not in token


def _limit(table: dict[str, Any], field: str, at: str) -> int:
    value, any_allowed = table[field], field == "stored_mib"
    if not isinstance(value, int) or isinstance(value, bool) or value < (0 if any_allowed else 1):
        raise ValueError(f"{at}: {field} must be a whole number above 0" + (", or 0 for any" if any_allowed else ""))
    return value
