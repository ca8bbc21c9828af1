"""The folder of a run: its settings stand beside what it makes, and no file in it is ever half written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from espalier.common.files import replacing
from espalier.training.config import ConfigError

SETTINGS = "config.json"


def prepare(config: Any, out: Path, *, resume: bool, free: Collection[str] = ()) -> None:
    """Make a folder for a run, and keep the settings in it.

    A run that begins anew leaves no checkpoint of an earlier one behind for a later `resume` to find.

    Args:
        config: The settings, a dataclass.
        out: The folder.
        resume: A run goes on that may have begun in it.
        free: Settings that such a run may change.

    Raises:
        ConfigError: Other settings than these differ from those that the run was begun with; the message names them.
    """
    out.mkdir(parents=True, exist_ok=True)
    if not resume:
        shutil.rmtree(out / "checkpoint", ignore_errors=True)
    path = out / SETTINGS
    new = json.loads(json.dumps(asdict(config)))
    if resume and path.exists():
        old = json.loads(path.read_text(encoding="utf-8"))
        changed = [f.name for f in fields(config) if f.name not in free and old.get(f.name) != new[f.name]]
        if changed:
            raise ConfigError(f"{path} has other settings in {', '.join(changed)}; resume with the same, or begin anew")
    write(path, json.dumps(new, indent=2) + "\n")


def write(path: Path, text: str) -> None:
    """Write a file that is whole whenever the run dies: the old one or the new one."""
    with replacing(path) as file:
        file.write(text)
