"""Python, packages, disk and ports."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from espalier.common.distribution import DISTRIBUTION, install
from espalier.solver.doctor.finding import Finding, note, ok, problem

OLDEST_PYTHON = (3, 11)

LITTLE_DISK = 1 << 30
FULL_DISK = 64 << 20

PORTS = {50051: "espalier serve --address", 8000: "espalier serve --http", 50061: "espalier verifiers serve --address"}
"""Ports that servers take unless told otherwise, and how they are told."""


def python() -> Finding:
    """The interpreter is new enough."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        return problem(f"Python {found}", "install Python 3.11 or newer, and make a new environment with it")
    return ok(f"Python {found} at {sys.executable}")


def packages() -> Finding:
    """Every package that this one needs is installed in a version that it takes."""
    faults = list(_faults(requires(DISTRIBUTION) or ()))
    if faults:
        return problem("; ".join(faults), install())
    return ok(f"espalier {version(DISTRIBUTION)} and all that it needs")


def _faults(requirements: Sequence[str]) -> Iterator[str]:
    from packaging.requirements import Requirement

    for requirement in map(Requirement, requirements):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            yield f"{requirement.name} is missing"
        else:
            if not requirement.specifier.contains(found, prereleases=True):
                yield f"{requirement.name} {found} is not {requirement.specifier}"


def disk(places: Sequence[Path]) -> Finding:
    """There is room where models, traces and results are written."""
    free = {place: shutil.disk_usage(_existing(place)).free for place in places}
    place, least = min(free.items(), key=lambda item: item[1])
    told = f"{least / 2**30:.1f} GiB free at {place}"
    if least < FULL_DISK:
        return problem(told, f"make room at {place}")
    if least < LITTLE_DISK:
        return note(told, f"make room at {place} before you download models or train")
    return ok(told)


def usual_places() -> tuple[Path, ...]:
    """Here, where temporary files go, and where models are kept."""
    cache = os.environ.get("HF_HOME") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path.cwd(), Path(os.environ.get("TMPDIR", "/tmp")), Path(cache).expanduser()  # noqa: S108


def _existing(place: Path) -> Path:
    return next(parent for parent in (place, *place.parents) if parent.exists())


def ports(wanted: Sequence[int] = tuple(PORTS)) -> Finding:
    """The usual ports are free."""
    taken = [port for port in wanted if not _is_free(port)]
    if not taken:
        return ok(f"{', '.join(map(str, wanted))} are free on 127.0.0.1")
    options = ", ".join(PORTS.get(port, "another port") for port in taken)
    return note(
        f"{', '.join(map(str, taken))} taken on 127.0.0.1", f"if that is not Espalier itself, choose another: {options}"
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
