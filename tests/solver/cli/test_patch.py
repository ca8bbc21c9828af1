"""`espalier solve --check patch:FILE` with a scripted server: a wrong patch is repaired, and the tests decide."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.openai.fake import FakeOpenAI, serving
from tests.verifiers.code.boxes import KINDS, opened

EXAMPLE = Path(__file__).parents[3] / "examples/patch"
FIX = (EXAMPLE / "fix.diff").read_text("utf-8")
WRONG = FIX.replace("had + quantity", "had + 1")
MAIN = "from espalier.solver.cli.main import main; main()"


async def espalier(*arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", MAIN, *arguments]
    return await asyncio.to_thread(
        lambda: subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=240, env={**os.environ, **environment}
        )
    )


def prompt() -> str:
    command = [EXAMPLE / "prompt.sh", EXAMPLE / "issue.txt", EXAMPLE / "shop", "src/shop/cart.py"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def apply(patch: str, repository: Path) -> None:
    subprocess.run(["git", "apply", "-"], cwd=repository, input=patch, text=True, check=True)


def asked(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


@pytest.mark.parametrize("kind", KINDS)
async def test_the_example_is_solved_by_a_repair(tmp_path: Path, kind: str) -> None:
    async with opened(kind):
        pass  # or a skip, where there is none
    fake = FakeOpenAI(tell=lambda body: f"```diff\n{FIX if 'It was rejected' in asked(body) else WRONG}```\n")
    report, repository = tmp_path / "report.md", tmp_path / "shop"
    async with serving(fake) as url:
        done = await espalier(
            *("solve", "--engine", f"openai://{url.removeprefix('http://')}?model=tiny", "--policy", "refine"),
            *("--k", "8", "--check", f"patch:{EXAMPLE / 'check.json'}", "--report", str(report), "-"),
            stdin=prompt(),
            ESPALIER_PATCH_REPOSITORIES=str(tmp_path / "repositories"),
            ESPALIER_SANDBOX_KIND=kind,
        )
    assert done.returncode == 0, done.stderr
    shutil.copytree(EXAMPLE / "shop", repository)
    apply(done.stdout, repository)
    assert "had + quantity" in (repository / "src/shop/cart.py").read_text("utf-8")

    repairs = [asked(body) for body in fake.seen if "It was rejected" in asked(body)]
    assert "assert 80 == 110" in repairs[0]
    assert "tests/test_cart.py::test_the_same_item_again" in repairs[0]
    assert not any(word in text for text in repairs for word in ("test_many_times", "test_hidden", "plum"))

    told = report.read_text("utf-8")
    assert told.startswith("# Candidate ")
    assert "- `tests/test_cart.py::test_the_same_item_again`" in told
    assert "2 of 2 that must pass do" in told.partition("## Hidden tests")[2]
    assert "+        self._lines[name] = (price, had + quantity)" in told


@pytest.mark.bwrap
async def test_a_check_that_is_packed_solves_problems_of_a_file(tmp_path: Path) -> None:
    async with opened("bwrap"):
        pass
    store = {"ESPALIER_PATCH_REPOSITORIES": str(tmp_path / "repositories"), "ESPALIER_SANDBOX_KIND": "bwrap"}
    packed = await espalier("verifiers", "pack", str(EXAMPLE / "check.json"), **store)
    check = json.loads(packed.stdout)
    assert [file.name for file in (tmp_path / "repositories").iterdir()] == [check["patch"]["repository"]]
    problems = tmp_path / "problems.jsonl"
    problems.write_text(json.dumps({"id": "cart", "text": prompt(), "check": check}) + "\n")
    async with serving(FakeOpenAI(tell=lambda _: f"```diff\n{FIX}```\n")) as url:
        engine = f"openai://{url.removeprefix('http://')}?model=tiny"
        done = await espalier("solve", "--engine", engine, "--policy", "greedy", "--json", str(problems), **store)
    assert done.returncode == 0, done.stderr
    (result,) = map(json.loads, done.stdout.splitlines())
    assert result["answer"] == FIX


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "not a JSON object"),
        ('{"repository": "none", "must_pass": ["t.py::a"]}', "repository: "),
        ('{"repository": ".", "must_pass": []}', "must_pass"),
        ('{"repository": ".", "must_pass": ["t.py::a"], "hidden_files": "none"}', "hidden_files: "),
        ('{"repository": ".", "revision": "none", "must_pass": ["t.py::a"]}', "no revision"),
        ('{"repository": ".", "must_pass": ["t.py::a"], "tests": 1}', 'no field named "tests"'),
        ("{", "check.json: "),
    ],
)
async def test_a_check_that_makes_no_sense_is_a_usage_error(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "check.json").write_text(content)
    done = await espalier(
        "solve", "--check", f"patch:{tmp_path / 'check.json'}", "x", ESPALIER_PATCH_REPOSITORIES=str(tmp_path / "store")
    )
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert said in done.stderr
    assert not (tmp_path / "store").exists()


async def test_a_report_needs_a_patch(tmp_path: Path) -> None:
    done = await espalier("solve", "--check", "reference:4", "--report", str(tmp_path / "r.md"), "What is 2 + 2?")
    assert (done.returncode, "--report tells of a patch" in done.stderr) == (2, True)


@pytest.mark.bwrap
async def test_a_command_that_runs_no_test_is_a_usage_error(tmp_path: Path) -> None:
    async with opened("bwrap"):
        pass
    value = {"repository": str(EXAMPLE / "shop"), "must_pass": ["tests"], "command": ["pytest", "--fast"]}
    (tmp_path / "check.json").write_text(json.dumps(value))
    async with serving(FakeOpenAI(tell=lambda _: f"```diff\n{FIX}```\n")) as url:
        done = await espalier(
            *("solve", "--engine", f"openai://{url.removeprefix('http://')}?model=tiny", "--policy", "greedy"),
            *("--check", f"patch:{tmp_path / 'check.json'}", "Mend it."),
            ESPALIER_PATCH_REPOSITORIES=str(tmp_path / "store"),
            ESPALIER_SANDBOX_KIND="bwrap",
        )
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "check.patch.command" in done.stderr
    assert "unrecognized arguments: --fast" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [((), "usage: "), ((str(EXAMPLE / "issue.txt"), str(EXAMPLE), "no-such-file"), "cannot read")],
)
def test_a_problem_is_not_put_together_without_its_files(arguments: tuple[str, ...], said: str) -> None:
    done = subprocess.run([EXAMPLE / "prompt.sh", *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("solve", "--engine", "local:/no/such/model", "--check", f"patch:{EXAMPLE / 'check.json'}", "x"),
        ("verify", "patch", str(EXAMPLE / "fix.diff"), "--check", str(EXAMPLE / "check.json")),
    ],
)
async def test_a_report_that_cannot_be_written_is_told_before_anything_runs(command: tuple[str, ...]) -> None:
    done = await espalier(*command, "--report", "/no/such/directory/report.md")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "espalier: --report: there is no directory /no/such/directory\n"
