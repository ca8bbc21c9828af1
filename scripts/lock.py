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
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

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


def project() -> dict[str, Any]:
    """What `pyproject.toml` says of the project."""
    described: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return described


def tested() -> list[tuple[str, str]]:
    """Name and version of every package in this environment that the project and its extras lead to."""
    described = project()
    optional = described["optional-dependencies"]
    wanted = [*described["dependencies"], *(name for extra in EXTRAS for name in optional[extra])]
    return sorted(item for item in needed(wanted, set()) if item[0] != described["name"])


def oldest_python() -> Version:
    """The oldest Python that the project promises to run with."""
    (least,) = (one for one in SpecifierSet(project()["requires-python"]) if one.operator == ">=")
    return Version(least.version)


def too_new(packages: Iterable[tuple[str, str]], python: Version) -> list[str]:
    """What this Python cannot install, and what it needs: Debian 12 has 3.11.2, whatever this environment has."""
    needs = {(name, version): distribution(name).metadata.get("Requires-Python") or "" for name, version in packages}
    return [
        f"{name} {version} needs Python {need}"
        for (name, version), need in needs.items()
        if not SpecifierSet(need).contains(python)
    ]


def main() -> None:
    packages = tested()
    python = oldest_python()
    if refused := too_new(packages, python):
        raise SystemExit(
            f"lock.py: Python {python} is promised, but {', '.join(refused)}; install older versions and run it again"
        )
    TARGET.write_text(HEADER + "".join(f"{name}=={version}\n" for name, version in packages), encoding="utf-8")


if __name__ == "__main__":
    main()
