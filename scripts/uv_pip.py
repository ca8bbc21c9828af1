#!/usr/bin/env python3
"""`pip install` by uv: a third of pip's processor time, and environments share one copy of each package on disk.

    ENVIRONMENT/bin/python scripts/uv_pip.py install ARGUMENT...

uv does not read what a machine tells pip (its indexes, links, constraints and certificates), so it is handed on here.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

UV = "uv==0.13.9"
OPTIONS = {
    "index-url": "--default-index",
    "extra-index-url": "--index",
    "find-links": "--find-links",
    "constraint": "--constraint",
    "trusted-host": "--allow-insecure-host",
}
VARIABLES = {
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "timeout": "UV_HTTP_TIMEOUT",
}


def pip_settings(listing: str) -> dict[str, str]:
    """The settings of `pip config list` that bind `pip install`: variables before its own section before `global`."""
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listing.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section in found:
            found[section][key] = ast.literal_eval(value)
    return found["global"] | found["install"] | found[":env:"]


def options(settings: Mapping[str, str]) -> Iterator[str]:
    for key, option in OPTIONS.items():
        for value in settings.get(key, "").split():
            yield from (option, value)


def main() -> None:
    pip = [sys.executable, "-m", "pip"]
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        subprocess.run([*pip, "install", "-qq", "--disable-pip-version-check", UV], check=True)  # noqa: S603
    told = subprocess.run([*pip, "config", "list"], check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    settings = pip_settings(told.stdout)
    variables = {variable: settings[key] for key, variable in VARIABLES.items() if key in settings}
    # pip takes the newest version of all indexes.
    command = [uv, "pip", *sys.argv[1:], "--python", sys.executable, "--index-strategy", "unsafe-best-match"]
    os.execve(uv, [*command, *options(settings)], variables | os.environ)  # noqa: S606 (no shell)


if __name__ == "__main__":
    main()
