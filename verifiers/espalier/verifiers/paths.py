"""Paths inside a repository: which ones are such, which ones a patch must not touch, and which tests they hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

MAX_PATH = 300
"""Characters of a path."""

PROTECTED = (
    # tests
    *("tests", "test/*", "test_*.py", "*_test.py", "conftest.py"),
    # what says how they run
    *("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "tox.ini", "setup.cfg", "setup.py", "pyproject.toml"),
    # what runs before them, or in their place
    *("sitecustomize.py", "usercustomize.py", "*.pth", "*.egg-link", "*.egg-info", "*.dist-info", "__pycache__"),
    *("pytest", "pytest.py", "_pytest", "pluggy", "pluggy.py"),
)
"""What no patch may touch (see :func:`matches`)."""


def path_problem(path: str) -> str:
    """Why a text is no path of a file inside a repository; empty when it is one."""
    parts = path.split("/")
    if not path or len(path) > MAX_PATH:
        return f"is empty or has more than {MAX_PATH} characters"
    if path.startswith("/") or "\\" in path or not path.isprintable():
        return "is not relative, or has characters that paths in a repository do not have"
    if any(part in ("", ".", "..") for part in parts):
        return "has an empty part, or one that is '.' or '..'"
    if any(part.lower() == ".git" for part in parts):
        return "lies in .git"
    return ""


def matches(path: str, patterns: Iterable[str]) -> str | None:
    """The first pattern that a path falls under.

    A pattern without "/" is matched with every part of the path; one with "/" with the whole path and with the
    directories above it. "*" stands for any characters, "/" included.
    """
    parts = path.split("/")
    for pattern in patterns:
        candidates = _prefixes(path) if "/" in pattern else parts
        if any(fnmatchcase(candidate, pattern.strip("/")) for candidate in candidates):
            return pattern
    return None


def parents(path: str) -> Iterator[str]:
    """The directories above a path inside the repository, the nearest first."""
    return (str(parent) for parent in PurePosixPath(path).parents if parent.name)


def file_of(test: str) -> str:
    """The path of a node id, or of what else names tests."""
    return test.partition("::")[0].rstrip("/")


def is_among(path: str, files: Iterable[str]) -> bool:
    """Whether a path is one of the files, or a directory above one."""
    return any(file == path or file.startswith(f"{path}/") for file in files)


def names(entry: str, test: str) -> bool:
    """Whether an entry names a test: by its node id, or by the directory, file, class or function that holds it."""
    entry = entry.rstrip("/")
    return test == entry or (test.startswith(entry) and test[len(entry)] in ":/[")


def _prefixes(path: str) -> list[str]:
    return [path, *parents(path)]
