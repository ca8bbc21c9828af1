"""`recipes/seedling/curriculum.sh`: what it makes of how its parts end. A stand-in plays Python."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.recipes.conftest import RECIPES

STAND_IN = """#!/usr/bin/env bash
echo "$*" >> "{log}"
case "$3 $*" in
  plot*) touch "${{@: -1}}" ;;
  curriculum*--json*) echo '{{"papo": {{}}}}'; exit {status} ;;
  curriculum*) echo "the table"; exit {status} ;;
esac
"""


def _run(folder: Path, status: int, *stages: str) -> tuple[int, str, list[str]]:
    log, stand_in = folder / "log", folder / "python"
    stand_in.write_text(STAND_IN.format(log=log, status=status))
    stand_in.chmod(0o755)
    for stage in stages:
        (folder / "run" / stage).mkdir(parents=True)
        (folder / "run" / stage / "metrics.jsonl").touch()
    done = subprocess.run(
        [str(RECIPES / "seedling" / "curriculum.sh"), str(folder / "run"), "3"],
        env={**os.environ, "PYTHON": str(stand_in), "CONFIG": "some.toml"},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, log.read_text().splitlines()


@pytest.mark.parametrize("status", [0, 1])
def test_the_last_part_leaves_table_and_curves_whether_the_margin_is_held_or_not(tmp_path: Path, status: int) -> None:
    run = tmp_path / "run"
    assert _run(tmp_path, status, "zero", "papo") == (
        status,
        "the table\n",
        [
            f"-m recipes.seedling curriculum --config some.toml --out {run} --minutes 3",
            f"-m recipes.seedling curriculum --config some.toml --out {run} --json",
            f"-m espalier.training.cli plot {run}/zero {run}/papo --out {run}/curves.png",
        ],
    )
    assert (run / "table.txt").read_text() == "the table\n"
    assert (run / "table.json").read_text() == '{"papo": {}}\n'
    assert (run / "curves.png").exists()


@pytest.mark.parametrize("status", [3, 4])
def test_a_part_that_ends_before_leaves_with_its_status(tmp_path: Path, status: int) -> None:
    found, said, log = _run(tmp_path, status)
    assert (found, said, len(log)) == (status, "", 1)
    assert not (tmp_path / "run" / "table.json").exists()
