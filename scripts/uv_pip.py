#!/usr/bin/env python3
"""`pip install` by uv: a third of pip's processor time, and environments share one copy of each package on disk.

    ENVIRONMENT/bin/python scripts/uv_pip.py install ARGUMENT...

uv does not read what a machine tells pip (its indexes, links, constraints and certificates), so it is handed on here.
"""

from __future__ import annotations

import ast
import math
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

UV = "uv==0.13.9"
OPTIONS = {
    "find-links": "--find-links",
    "constraint": "--constraint",
    "trusted-host": "--allow-insecure-host",
}
TRUE = frozenset({"1", "true", "yes", "on", "y", "t"})


def pip_settings(listing: str) -> dict[str, str]:
    """The settings of `pip config list` that bind `pip install`: variables before its own section before `global`.

    pip passes over those that are empty.
    """
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listing.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section in found and (text := ast.literal_eval(value)):
            found[section][key] = text
    return found["global"] | found["install"] | found[":env:"]


def options(settings: Mapping[str, str]) -> Iterator[str]:
    if _is_on(settings, "no-index"):
        yield "--no-index"
    for key, option in OPTIONS.items():
        for value in settings.get(key, "").split():
            yield from (option, value)


def variables(settings: Mapping[str, str], indexes: str) -> Iterator[tuple[str, str]]:
    """Indexes are variables since they may hold passwords: everybody can read the options of a process.

    Args:
        settings: What pip is told.
        indexes: Those that uv is told beside pip's.
    """
    if "index-url" in settings:
        yield "UV_DEFAULT_INDEX", settings["index-url"].strip()
    if extra := [*indexes.split(), *settings.get("extra-index-url", "").split()]:
        yield "UV_INDEX", " ".join(extra)
    if "cert" in settings:
        yield "SSL_CERT_FILE", settings["cert"]
    if "proxy" in settings:
        yield "ALL_PROXY", settings["proxy"]
    if timeout := settings.get("timeout", settings.get("default-timeout")):
        yield "UV_HTTP_TIMEOUT", str(math.ceil(float(timeout)))  # uv takes whole seconds
    if "cache-dir" in settings:
        yield "UV_CACHE_DIR", str(Path(settings["cache-dir"]) / "uv")
    if _is_on(settings, "no-cache-dir"):
        yield "UV_NO_CACHE", "1"
    if _has_certificates():
        yield "UV_SYSTEM_CERTS", "1"


def _is_on(settings: Mapping[str, str], key: str) -> bool:
    return settings.get(key, "").lower() in TRUE


def _has_certificates() -> bool:
    """Whether this machine has certificates of its own, as pip trusts them: that of a company's proxy may be there."""
    paths = ssl.get_default_verify_paths()
    return paths.cafile is not None or (paths.capath is not None and any(Path(paths.capath).iterdir()))


def _can_be_written(directory: Path) -> bool:
    """Whether a directory can be written, or made."""
    there = next(path for path in (directory, *directory.parents) if path.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _output(*command: str | Path) -> str:
    """What a command prints.

    Raises:
        SystemExit: It failed; it said why.
    """
    try:
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"uv_pip.py: {' '.join(map(str, command))} failed: pip said above why") from error


def main() -> None:
    pip = (sys.executable, "-m", "pip")
    uv = Path(sys.executable).with_name("uv")
    settings = pip_settings(_output(*pip, "config", "list"))
    if not uv.exists():
        _output(*pip, "install", "-qq", "--disable-pip-version-check", UV)
    indexes = os.environ.get("UV_INDEX", "")
    told = dict(variables(settings, indexes))
    environment = told | os.environ | {"UV_INDEX": told.get("UV_INDEX", "")}
    cache = subprocess.run([uv, "cache", "dir"], check=True, stdout=subprocess.PIPE, text=True, env=environment)  # noqa: S603
    if not _can_be_written(Path(cache.stdout.strip()).absolute()):
        environment["UV_NO_CACHE"] = "1"  # as pip does
    # pip takes the newest version of all indexes.
    command = [str(uv), "pip", *sys.argv[1:], "--python", sys.executable, "--index-strategy", "unsafe-best-match"]
    os.execve(uv, [*command, *options(settings)], environment)  # noqa: S606 (no shell)


if __name__ == "__main__":
    main()
