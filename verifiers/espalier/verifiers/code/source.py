"""Texts of this package that run inside of boxes."""

from __future__ import annotations

from importlib import resources


def source_of(package: str, *names: str) -> str:
    """Files of a package as one text: boxes get texts, not packages."""
    return "\n".join(resources.files(package).joinpath(*name.split("/")).read_text("utf-8") for name in names)
