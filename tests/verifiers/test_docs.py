"""The documentation does what it says: every block runs, every default is the real one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from espalier.verifiers.check import MathOptions, ProgramLimits
from tests.verifiers.process import PROGRAM

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "verifiers.md").read_text()
BLOCKS = re.findall(r"^```(\w+)(?: (\w+))?\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
PYTHON = [body for language, _, body in BLOCKS if language == "python"]
CONSOLE = [(body, needs) for language, needs, body in BLOCKS if language == "console"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which `espalier` has the commands of this room."""
    command = tmp_path / "bin" / "espalier"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\n{PROGRAM}")
    command.chmod(0o755)
    return {**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}"}


def test_every_block_is_of_a_kind_that_is_run() -> None:
    assert {language for language, _, _ in BLOCKS} == {"python", "console"}
    assert PYTHON
    assert CONSOLE


@pytest.mark.parametrize("body", PYTHON)
def test_python_blocks_run(body: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", body], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("body", "needs"), CONSOLE)
def test_console_blocks_print_what_they_show(
    body: str, needs: str, tmp_path: Path, environment: dict[str, str], request: pytest.FixtureRequest
) -> None:
    if needs:
        request.getfixturevalue(needs)
    commands = [line[2:] for line in body.splitlines() if line.startswith("$ ")]
    shown = [line for line in body.splitlines() if not line.startswith("$ ")]
    done = subprocess.run(
        ["bash", "-c", "\n".join(commands)],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == shown


@pytest.mark.parametrize("kind", [MathOptions, ProgramLimits])
def test_every_option_is_documented_with_its_default(kind: type) -> None:
    default = kind()
    for field in fields(kind):
        assert f"| `{field.name}` | `{getattr(default, field.name)}` |" in PAGE


def test_the_example_of_a_third_party_is_found_by_its_entry_point(tmp_path: Path) -> None:
    package = ROOT / "examples" / "third_party_verifier"
    site = tmp_path / "site"
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", site, package]
    subprocess.run([sys.executable, *install], check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def espalier(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", PROGRAM, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    described = espalier("verifiers", "describe", "--only", "palindrome")
    assert described.stdout == "palindrome 1.0.0  healthy\n  judges: custom\n", described.stderr
    custom = ("verify", "custom", "palindrome", "--parameters", '{"min_letters": 5}')
    assert espalier(*custom, "Never odd or even").returncode == 0
    assert "does not read the same backwards" in espalier(*custom, "espalier").stdout
    wrong = espalier("verify", "custom", "palindrome", "--parameters", '{"min_letters": "x"}', "abba")
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "espalier: check.custom.parameters_json: min_letters is not a whole number\n",
    )
