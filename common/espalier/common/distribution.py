"""How this package is called where packages are installed, and how a part that is missing is installed."""

from __future__ import annotations

import importlib.metadata

DISTRIBUTION = "espalier-npr"
"""The name `espalier` on the package index belongs to another project."""


def version() -> str:
    """The version that is installed."""
    return importlib.metadata.version(DISTRIBUTION)


def install(extra: str = "") -> str:
    """The command that installs this package, or one of its extras, from a checkout."""
    target = f".[{extra}]" if extra else "."
    return f"pip install '{target}' in a checkout of Espalier"
