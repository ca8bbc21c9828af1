"""Where what can be made again is kept."""

from __future__ import annotations

import os
from pathlib import Path


def cache_directory(name: str) -> Path:
    """The directory of that name below ESPALIER_CACHE; root's own is readable by the users that boxes run as."""
    cache = os.environ.get("ESPALIER_CACHE")
    if cache:
        return Path(cache) / name
    if os.geteuid() == 0:
        return Path("/var/cache/espalier") / name
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "espalier" / name
