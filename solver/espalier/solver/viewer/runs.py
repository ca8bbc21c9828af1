"""Training runs as they lie on disk: folders with a `metrics.jsonl`, one record a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

METRICS = "metrics.jsonl"

MAX_RUNS = 200

PAGE = 4 << 20
"""Bytes that are read at a time."""


class UnknownRunError(LookupError):
    """There is no such run."""


class Runs:
    """The runs below a folder.

    Args:
        root: The folder; it need not be there yet.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def list(self) -> list[dict[str, Any]]:
        """Every run by its folder's path below the root, the newest first."""
        changed = {name: _changed(file) for name, file in self._files().items()}
        newest = sorted(filter(changed.get, changed), key=lambda name: -changed[name])
        return [{"id": name, "modified": changed[name]} for name in newest[:MAX_RUNS]]

    def read(self, name: str, offset: int) -> dict[str, Any]:
        """Records of a run.

        Args:
            name: As `list` says it.
            offset: Bytes that are known already.

        Returns:
            `records`, and `offset`: where to go on. Lines that are no JSON object are left out, and a last one that is
            being written waits for the next time.

        Raises:
            UnknownRunError: There is none of this name.
        """
        file = self._files().get(name)
        if file is None:
            raise UnknownRunError(f"there is no run {name[:80]!r}")
        with file.open("rb") as content:
            if offset > file.stat().st_size:
                offset = 0  # the run has begun anew
            content.seek(offset)
            text = content.read(PAGE)
        text = text[: text.rfind(b"\n") + 1]
        return {"records": [*filter(None, map(_record, text.splitlines()))], "offset": offset + len(text)}

    def _files(self) -> dict[str, Path]:
        files = self._root.glob(f"**/{METRICS}")
        return {str(file.parent.relative_to(self._root)): file for file in files if file.is_file()}


def _changed(file: Path) -> float:
    """When a file was last written; 0: it has gone meanwhile."""
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line, parse_constant=lambda _: None)  # a browser's JSON knows no NaN
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
