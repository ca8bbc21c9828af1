"""What a user imports, and that no module needs another one to be imported first."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

import pytest

import espalier.runtime
import espalier.runtime.decoding

SHARED = [
    f"espalier.runtime.decoding.{module.name}" for module in pkgutil.iter_modules(espalier.runtime.decoding.__path__)
]


def loaded(code: str) -> list[str]:
    """Modules that a fresh interpreter has after `code`."""
    code += "\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    names: list[str] = json.loads(done.stdout)
    return names


def test_the_face_needs_no_torch_and_has_what_it_names() -> None:
    modules = loaded("from espalier.runtime import *\nEngine, open_engine, GenerateRequest")
    assert not {"torch", "transformers", "aiohttp", "sglang"} & set(modules)
    assert all(hasattr(espalier.runtime, name) for name in espalier.runtime.__all__)


@pytest.mark.parametrize("module", [*SHARED, "espalier.runtime.sglang.plugin.preconditions"])
def test_what_both_engines_share_loads_alone_and_without_the_embedded_engine(module: str) -> None:
    modules = loaded(f"import {module}")
    assert not any(name.startswith("espalier.runtime.local") for name in modules)
