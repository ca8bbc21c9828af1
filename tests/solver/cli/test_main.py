"""The program as a whole: what every command offers, and what it does where nothing can be written."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from espalier.solver.cli.main import MOUNTS, app


@pytest.mark.parametrize("command", MOUNTS)
def test_completion_that_does_not_work_is_not_offered(command: str) -> None:
    told = CliRunner().invoke(app, [command, "--help"])
    assert told.exit_code == 0
    assert "--install-completion" not in told.output


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [("--version",), ("verify", "math", "1", "--gold", "1", "--json")])
def test_a_full_disk_is_trouble_in_one_line(arguments: tuple[str, ...], unbuffered: str) -> None:
    told = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:  # noqa: PTH123
        ask = [sys.executable, "-m", "espalier.solver.cli.main", *arguments]
        done = subprocess.run(ask, env=told, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (3, "espalier: No space left on device\n")
