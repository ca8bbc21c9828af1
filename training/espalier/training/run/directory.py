"""The folder of a run: its settings stand beside what it makes, and no file in it is ever half written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from espalier.common.files import replacing
from espalier.training.config import ConfigError

SETTINGS = "config.json"
CHECKPOINTS = "checkpoint"
"""Folder of the checkpoints in that of the run."""


def prepare(config: Any, out: Path, *, resume: bool, free: Collection[str] = ()) -> None:
    """Make a folder for a run; where one goes on, its settings are compared with those in the folder.

    What an earlier run has left there stays until a new one takes its first step, see :func:`begin_anew`: a mistake in
    a command line costs no checkpoint.

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
        return
    path = out / SETTINGS
    new = json.loads(json.dumps(asdict(config)))
    if path.exists():
        old = json.loads(path.read_text(encoding="utf-8"))
        changed = [f.name for f in fields(config) if f.name not in free and old.get(f.name) != new[f.name]]
        if changed:
            raise ConfigError(f"{path} has other settings in {', '.join(changed)}; resume with the same, or begin anew")
    _keep(out, new)


def begin_anew(out: Path, settings: Mapping[str, Any]) -> None:
    """Keep the settings of a run that begins, and no checkpoint of an earlier one for a later `resume` to find."""
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
    _keep(out, settings)


def _keep(out: Path, settings: Mapping[str, Any]) -> None:
    write(out / SETTINGS, json.dumps(settings, indent=2) + "\n")


def write(path: Path, text: str) -> None:
    """Write a file that is whole whenever the run dies: the old one or the new one."""
    with replacing(path) as file:
        file.write(text)
