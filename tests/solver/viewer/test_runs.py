"""Runs are found by their metrics, and read on from where one has read to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from espalier.solver.viewer import runs as module
from espalier.solver.viewer.runs import Runs, UnknownRunError


def write(root: Path, name: str, *records: object, end: str = "\n") -> Path:
    file = root / name / "metrics.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as out:
        out.write("\n".join(map(json.dumps, records)) + end)
    return file


def test_every_folder_with_metrics_is_a_run(tmp_path: Path) -> None:
    write(tmp_path, "zero", {"step": 1})
    write(tmp_path, "sweep/a", {"step": 1})
    (tmp_path / "notes").mkdir()
    assert {run["id"] for run in Runs(tmp_path).list()} == {"zero", "sweep/a"}
    assert Runs(tmp_path / "nowhere").list() == []


def test_reading_goes_on_behind_what_is_known(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    write(tmp_path, "a", {"step": 1})
    first = runs.read("a", 0)
    assert first["records"] == [{"step": 1}]
    write(tmp_path, "a", {"step": 2}, {"step": 3}, end="")
    second = runs.read("a", first["offset"])
    assert second["records"] == [{"step": 2}], "the last line may still be written"
    write(tmp_path, "a", end="\n")
    assert runs.read("a", second["offset"])["records"] == [{"step": 3}]


def test_a_run_that_has_begun_anew_is_read_from_its_beginning(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    offset = runs.read("a", 0)["offset"] if write(tmp_path, "a", {"step": 1}, {"step": 2}) else 0
    (tmp_path / "a/metrics.jsonl").write_text('{"step": 1}\n')
    again = runs.read("a", offset)
    assert again["records"] == [{"step": 1}]
    assert again["offset"] < offset


def test_long_runs_are_read_page_by_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 100)
    write(tmp_path, "a", *({"step": step} for step in range(50)))
    runs, seen, offset = Runs(tmp_path), [], 0
    while (part := runs.read("a", offset))["offset"] != offset:
        seen += part["records"]
        offset = part["offset"]
    assert [record["step"] for record in seen] == list(range(50))


def test_lines_that_are_no_record_are_left_out_and_numbers_that_json_lacks_are_null(tmp_path: Path) -> None:
    write(tmp_path, "a", {"step": 1}).open("a").write('nonsense\n[1]\n{"step": 2, "loss": NaN}\n\xff\n')
    assert Runs(tmp_path).read("a", 0)["records"] == [{"step": 1}, {"step": 2, "loss": None}]


@pytest.mark.parametrize("name", ["..", "../secret", "/etc", "", "a/../../secret", "b"])
def test_only_runs_below_the_folder_are_read(tmp_path: Path, name: str) -> None:
    write(tmp_path, "runs/a", {"step": 1})
    write(tmp_path, "secret", {"step": 1})
    with pytest.raises(UnknownRunError):
        Runs(tmp_path / "runs").read(name, 0)
