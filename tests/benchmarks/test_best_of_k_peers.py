"""The comparison of best-of-k tools over replayed samples, as a program."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.recorded import write_problems, write_responses
from tests.runtime.openai.fake import FakeOpenAI, serving

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "best_of_k_peers.py"
TEXTS = {
    "six": [r"it is \boxed{6}", r"it is \boxed{5}", r"it is \boxed{6}", r"it is \boxed{6.0}"],
    "seven": [r"it is \boxed{8}", r"it is \boxed{8}", r"it is \boxed{7}", r"it is \boxed{9}"],
}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    write_problems(tmp_path / "problems.jsonl", {"six": "6", "seven": "7"})
    write_responses(tmp_path / "responses.jsonl", TEXTS)
    (tmp_path / "prompt.txt").write_text("{question}", encoding="utf-8")
    return tmp_path


def run(files: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        PROGRAM,
        "problems.jsonl",
        "--instruction",
        "prompt.txt",
        "--out",
        "out.jsonl",
        *arguments,
    ]
    return subprocess.run(command, cwd=files, capture_output=True, text=True, timeout=240)


REPLAY = ("--replay", "responses.jsonl", "--k", "4", "--only", "samples", "espalier")


def cells(printed: str) -> dict[str, list[str]]:
    """The cells of each line of the table, by its name."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines() if line[:1] == "|"]
    return {name: rest for name, *rest in rows}


@pytest.mark.slow
def test_every_way_gets_the_same_samples_and_the_table_says_what_it_made_of_them(files: Path) -> None:
    done = run(files, *REPLAY)
    assert done.returncode == 0, done.stderr
    assert "Replayed samples" in done.stdout
    table = cells(done.stdout)
    right = {name: float(row[1].split()[0]) for name, row in table.items() if row[0] == "2"}
    assert right == {
        "one sample": 50.0,  # 3 of 4, and 1 of 4
        "majority of 4": 50.0,
        "at least one of 4 is right": 100.0,
        "espalier, best_of_k by votes": 50.0,
        "espalier, adaptive by votes": 50.0,
        "espalier, adaptive by votes, certainty 0.85": 50.0,
        "espalier, best_of_k with check": 100.0,
        "espalier, adaptive with check": 100.0,
    }
    assert table["one sample"][3:] == ["1.0", "3", "7"]
    assert table["majority of 4"][2:] == ["", "4.0", "12", "28"]
    assert table["espalier, adaptive with check"][2:5] == ["+50.0 ± 50.0", "3.0", "9"]  # 2 of six, 4 of seven


@pytest.mark.slow
def test_responses_are_judged_with_what_their_problem_asks_for(tmp_path: Path) -> None:
    write_problems(tmp_path / "problems.jsonl", {"six of twelve as a percentage": "50"})
    write_responses(tmp_path / "responses.jsonl", {"six of twelve as a percentage": [r"it is \boxed{50\%}"]})
    (tmp_path / "prompt.txt").write_text("{question}", encoding="utf-8")
    done = run(tmp_path, "--replay", "responses.jsonl", "--k", "1", "--only", "samples", "with check")
    right = {name: row[1].split()[0] for name, row in cells(done.stdout).items() if row[0] == "1"}
    assert right["one sample"] == right["espalier, adaptive with check"] == "100.0"


@pytest.mark.slow
def test_a_run_that_broke_off_goes_on_and_asks_only_for_what_is_missing(files: Path) -> None:
    assert run(files, *REPLAY).returncode == 0
    out = files / "out.jsonl"
    first, *rows = out.read_text("utf-8").splitlines(keepends=True)
    whole = {_key(row) for row in rows}
    kept = rows[:4]
    out.write_text("".join([first, *kept, rows[4][:20]]), "utf-8")
    done = run(files, *REPLAY)
    assert done.returncode == 0, done.stderr
    lines = out.read_text("utf-8").splitlines(keepends=True)
    assert lines[: 1 + len(kept)] == [first, *kept]
    assert sorted(map(_key, lines[1:])) == sorted(whole)
    assert run(files, "--report").stdout == done.stdout


def _key(row: str) -> tuple[Any, ...]:
    held = json.loads(row)
    return held["way"], held["k"], held["problem"]


@pytest.mark.slow
def test_rows_that_were_measured_otherwise_are_refused(files: Path) -> None:
    setting = {"setting": {"temperature": 0.5}}
    (files / "out.jsonl").write_text(json.dumps(setting) + "\n", "utf-8")
    done = run(files, *REPLAY)
    assert done.returncode == 1
    assert "temperature 0.5, not 1.0" in done.stderr
    assert (files / "out.jsonl").read_text("utf-8") == json.dumps(setting) + "\n"


@pytest.mark.slow
async def test_an_interrupted_run_says_that_it_goes_on(files: Path) -> None:
    begun = asyncio.Event()

    def tell(_: object) -> str:
        begun.set()
        return "it may be"

    async with serving(FakeOpenAI(tell=tell, stall=True)) as url:
        command = (sys.executable, str(PROGRAM), "problems.jsonl", "--instruction", "prompt.txt", "--out", "out.jsonl")
        asked = ("--server", url, "--model", "tiny", "--only", "adaptive by votes")
        process = await asyncio.create_subprocess_exec(*command, *asked, cwd=files, stderr=asyncio.subprocess.PIPE)
        await asyncio.wait_for(begun.wait(), 240)
        process.send_signal(signal.SIGINT)
        _, said = await process.communicate()
    assert process.returncode == 130
    assert b"the same command goes on" in said
    assert b"Traceback" not in said
    assert len((files / "out.jsonl").read_text("utf-8").splitlines()) == 1  # the setting


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "give --replay FILE, --server URL, or both"),
        (("--server", "http://127.0.0.1:9/v1"), "name the model"),
        (("--report",), "holds nothing yet"),
    ],
)
def test_what_is_missing_is_named(files: Path, arguments: tuple[str, ...], why: str) -> None:
    done = run(files, *arguments)
    assert done.returncode != 0
    assert why in done.stderr
