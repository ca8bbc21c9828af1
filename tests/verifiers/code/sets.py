"""A set of texts whose order tells which seed an interpreter has."""

from __future__ import annotations

import subprocess
import sys

SET = "{f'word {number}' for number in range(10)}"
"""Two seeds hardly ever give it the same order."""


def fixed_order() -> str:
    """What every interpreter prints as a list of it whose seed is 0."""
    command = [sys.executable, "-c", f"print(list({SET}), end='')"]
    return subprocess.run(command, env={"PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=True).stdout
