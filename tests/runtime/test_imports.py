from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["runtime.decoding.branch", "runtime.decoding.response", "runtime.local"])
def test_every_part_of_the_runtime_can_be_imported_first(module):
    """SGLang imports the plugin in processes that import nothing else of this package."""
    ran = subprocess.run([sys.executable, "-c", f"import espalier.{module}"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
