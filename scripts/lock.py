#!/usr/bin/env python3
"""Writes constraints.txt: the versions, in this environment, of all that `make` and the images install.

Update: delete .venv, empty constraints.txt, `make test`, then `.venv/bin/python scripts/lock.py`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "constraints.txt"
EXTRAS = ("dev",)
HEADER = "# Tested versions, written by scripts/lock.py. They bind `make` and the images, not a user of the package.\n"
GPU = re.compile(r"nvidia-|cuda-|triton")
"""What torch for GPUs brings, in versions that torch itself names."""


def needed(requirements: Iterable[str], seen: set[str], extras: Iterable[str] = ()) -> Iterator[tuple[str, str]]:
    """Name and version of every installed package that the requirements lead to."""
    environments = [{"extra": extra} for extra in ("", *extras)]
    for requirement in map(Requirement, requirements):
        name = requirement.name.lower().replace("_", "-")
        applies = not requirement.marker or any(map(requirement.marker.evaluate, environments))
        if not applies or name in seen or GPU.match(name):
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:  # for another system or Python
            continue
        yield name, found.version.partition("+")[0]
        yield from needed(found.requires or (), seen, requirement.extras)


def lock() -> str:
    """The text of the file."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *(name for extra in EXTRAS for name in project["optional-dependencies"][extra])]
    packages = sorted(item for item in needed(wanted, set()) if item[0] != project["name"])
    return HEADER + "".join(f"{name}=={version}\n" for name, version in packages)


if __name__ == "__main__":
    TARGET.write_text(lock(), encoding="utf-8")
