"""What the README shows works as written."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_example_solves_its_problem() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    answer, verified, speedup = done.stdout.strip().rsplit(" ", 2)
    assert verified == "True", done.stdout
    assert answer
    assert float(speedup) > 1


def test_the_example_file_of_problems_is_solved_in_order() -> None:
    command = [sys.executable, "-m", "espalier.solver.cli", "solve", "--json", "--seed", "1", "examples/problems.jsonl"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode in (0, 1), done.stderr
    written = [json.loads(line)["id"] for line in (ROOT / "examples/problems.jsonl").read_text().splitlines()]
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == written


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!http)([^)#]+)", README))))
def test_every_link_leads_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


def test_every_option_that_is_mentioned_exists() -> None:
    command = [sys.executable, "-m", "espalier.solver.cli", "solve", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, env={"COLUMNS": "200"}).stdout
    table = README.split("| option | meaning |")[1].split("\n\n")[0]
    for option in re.findall(r"^\| `(--[a-z-]+)", table, re.MULTILINE):
        assert option in shown
