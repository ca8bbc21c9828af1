"""The generated pages of the reference."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("room", ["solver", "verifiers", "runtime", "training"])
def test_a_room_s_page_names_its_modules(room: str) -> None:
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "scripts" / "docs_hooks.py")
    assert spec and spec.loader
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    named = [line.removeprefix("::: ") for line in hooks.api_page(room).splitlines() if line.startswith("::: ")]
    folder = ROOT / room / "espalier" / room
    top = {f"espalier.{room}.{path.stem}" for path in folder.glob("*.py") if not path.stem.startswith("_")}
    assert top - {f"espalier.{room}.cli"} <= set(named)
    assert len(named) > len(top)
