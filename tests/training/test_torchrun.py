from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LEAVING = """
import atexit
from espalier.training.run.torchrun import leave
atexit.register(print, "finalised")
print("done")
leave(7)
"""


def _run(*arguments: str, launched: bool) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TORCHELASTIC_RUN_ID"}
    if launched:
        environment["TORCHELASTIC_RUN_ID"] = "1"
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_process_of_torchrun_leaves_with_its_status_and_its_output() -> None:
    done = _run("-c", LEAVING, launched=True)
    assert (done.returncode, done.stdout) == (7, "done\n"), done.stderr


def test_a_process_that_runs_alone_goes_on() -> None:
    done = _run("-c", LEAVING, launched=False)
    assert (done.returncode, done.stdout) == (0, "done\nfinalised\n"), done.stderr


@pytest.mark.parametrize("launched", [False, True])
def test_the_command_line_says_what_is_wrong_with_or_without_torchrun(launched: bool, tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    program = ("-m", "espalier.training.cli", "zero", "--config", str(missing), "--from", ".", "--out", str(tmp_path))
    done = _run(*program, launched=launched)
    assert done.returncode == 2
    assert missing.name in done.stderr.replace("\n", "")
