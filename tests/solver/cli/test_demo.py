"""`make demo`'s promise, on the real thing."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from espalier.solver.cli.demo import ENOUGH, PROBLEMS
from espalier.solver.cli.main import app


@pytest.mark.slow
def test_ten_fresh_problems_are_solved_and_the_last_line_and_status_say_so() -> None:
    done = CliRunner().invoke(app, ["demo", "--seed", "20260101"])
    last = done.stdout.rstrip("\n").splitlines()[-1]
    solved = re.fullmatch(rf"demo: (\d+) of {PROBLEMS} solved and verified", last)
    assert solved is not None, done.output
    assert done.exit_code == (0 if int(solved[1]) >= ENOUGH else 1)
    assert int(solved[1]) >= ENOUGH
    assert "seed 20260101" in done.stdout
