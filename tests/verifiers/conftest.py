from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.verifiers.code.boxes import unavailable
from tests.verifiers.process import PROGRAM


@pytest.fixture(scope="session")
def sandbox() -> None:
    """A sandbox that the shell commands find by themselves; without one the test is skipped, in CI it fails."""
    command = [sys.executable, "-c", PROGRAM, "verifiers", "describe", "--only", "code", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    info = json.loads(done.stdout)
    if not info["healthy"]:
        unavailable(info["reason"])
