"""Files that are whole whenever a program dies, what is left of others, and small files of settings."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """Open a file to write text that is there once all of it is: until then, or if that fails, what was there stays.

    It keeps its permissions. A link stays, and the file that it leads to is replaced. A device or a pipe, such as
    `/dev/stdout`, is written to as it is.

    Raises:
        OSError: It cannot be written.
    """
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8") as file:
            yield file
        return
    target = Path(os.path.realpath(path))
    part = target.with_name(f".{target.name}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            with suppress(FileNotFoundError):
                shutil.copymode(target, part)
            yield file
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def told_apart(paths: Sequence[Path], names: Sequence[str]) -> list[str]:
    """What to call files or folders: each by its short name, or by its path where another has that name."""
    return [name if name and names.count(name) == 1 else str(path) for path, name in zip(paths, names, strict=True)]


def whole_lines(path: Path) -> list[str]:
    """The lines of a file that others are appended to. A last one without its end was cut off, perhaps in the middle of
    a character, and is left out.

    Raises:
        OSError: It cannot be read.
        UnicodeDecodeError: It is not UTF-8.
    """
    return _whole(path).decode("utf-8").split("\n")[:-1]


def drop_cut_line(path: Path) -> None:
    """Take a last line without its end off a file, so that others can be appended.

    Raises:
        OSError: It cannot be read or written.
    """
    os.truncate(path, len(_whole(path)))


def json_object(path: Path, example: str) -> dict[str, Any]:
    """What a file of settings holds.

    Args:
        path: The file.
        example: What it might hold, for a person whose file holds something else.

    Raises:
        OSError: It cannot be read.
        ValueError: It holds no JSON object; the message names the file.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{path}: nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path}: write a JSON object, for example {example}")
    return value


def _whole(path: Path) -> bytes:
    data = path.read_bytes()
    return data[: data.rfind(b"\n") + 1]
