from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from espalier.training.cli import app
from tests.training.conftest import RECIPES


def _run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stderr.strip().splitlines()[-1] if result.stderr.strip() else ""


def test_trouble_is_one_line_with_a_status(tmp_path: Path) -> None:
    out, none = tmp_path / "out", tmp_path / "none"
    papo = RECIPES / "tiny" / "papo.toml"
    assert _run("papo", "--config", none, "--from", none, "--out", out) == (
        2,
        f"espalier: {none}: No such file or directory",
    )
    assert _run("papo", "--config", papo, "--from", none, "--out", out) == (
        2,
        f"espalier: no model in {none}: there is no such directory (`espalier model prepare` makes one)",
    )
    data = tmp_path / "responses.jsonl"
    data.write_text('{"prompt": "1+1?", "response": "2"}\n')
    assert _run("sft", "--from", none, "--data", data, "--out", out) == (
        2,
        f"espalier: no model in {none}: there is no such directory (`espalier model prepare` makes one)",
    )
    none.mkdir()
    assert _run("sft", "--from", none, "--data", data, "--out", out) == (
        2,
        f"espalier: no model in {none}: config.json is missing",
    )
    (none / "config.json").write_text('{"model_type": "qwen3"}')
    assert _run("sft", "--from", none, "--data", data, "--out", out) == (
        2,
        f"espalier: no tokenizer in {none}: tokenizer.json is missing",
    )
    status, said = _run("zero", "--config", papo, "--from", none, "--out", out)
    assert (status, said) == (2, 'espalier: rollout.mode: stage zero decodes sequentially; write mode = "sequential"')
    assert _run("plot", none) == (
        2,
        f"espalier: {none} holds no metrics.jsonl with entries: is it the folder of a run?",
    )
    assert _run("plot", none, "--over", "time") == (2, "espalier: --over time: write one of step, tokens")


def test_a_dataset_line_that_is_no_problem_stops_the_run_with_its_number(tmp_path: Path) -> None:
    data = tmp_path / "problems.jsonl"
    data.write_text('{"text": "1+1?", "check": {"reference": {"answer": "2"}}}\n{"text": 3}\n')
    config = tmp_path / "papo.toml"
    text = (RECIPES / "tiny" / "papo.toml").read_text().replace("tasks = { chain_sum = 1.0 }", f'file = "{data}"')
    config.write_text(text)
    status, said = _run("papo", "--config", config, "--from", tmp_path, "--out", tmp_path / "out")
    assert status == 2
    assert said.startswith(f"espalier: {data}:2: text: give the problem")


@pytest.mark.parametrize("command", ["sft", "zero", "beta", "papo", "plot"])
def test_every_command_explains_itself(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert len(result.stdout) > 400
