"""The base install has no torch, transformers or numpy: solver, service, client side and worker import without them."""

from __future__ import annotations

import subprocess
import sys

import pytest

WITHOUT = """
import sys
from importlib import import_module

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "safetensors", "numpy"):
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Missing())
import_module(sys.argv[1])
"""


@pytest.mark.parametrize(
    "module",
    [
        "espalier.solver.core.loop",
        "espalier.solver.core.evaluate",
        "espalier.solver.batch.queue",
        "espalier.solver.batch.worker",
        "espalier.solver.service.servicer",
        "espalier.solver.service.http",
        "espalier.solver.viewer.routes",
        "espalier.solver.cli.solve",
        "espalier.solver.cli.serve",
    ],
)
def test_a_module_imports_without_the_extras(module: str) -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT, module], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


def test_every_name_of_the_face_is_there() -> None:
    import espalier.solver as face

    for name in face.__all__:
        assert getattr(face, name) is not None
