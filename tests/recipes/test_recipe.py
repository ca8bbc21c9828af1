"""The recipe of the pretrained model: its settings load, and its script asks for commands and options that exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import typer.main

from espalier.training import cli as train
from espalier.training.config import RlConfig, SftConfig, load_as
from espalier.training.data import cli as data
from espalier.training.model import cli as model

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "qwen2.5-coder-0.5b"
STUB = """#!/usr/bin/env bash
echo "$*" >> "$LOG"
while (($#)); do
  case $1 in
    --responses) echo '{}' > "$2" ;;
    --out) [[ $2 == *.jsonl ]] && echo '{}' > "$2" || mkdir -p "$2/model" ;;
  esac
  shift
done
"""


@pytest.mark.parametrize(("name", "kind"), [("sft", SftConfig), ("sft-sequential", SftConfig), ("papo", RlConfig)])
def test_the_settings_load(name, kind):
    load_as(kind, RECIPE / f"{name}.toml")


def test_the_script_asks_for_commands_and_options_that_exist(tmp_path):
    stub = tmp_path / "espalier"
    stub.write_text(STUB)
    stub.chmod(0o755)
    base = tmp_path / "run" / "base"
    base.mkdir(parents=True)
    (base / "config.json").write_text("{}")
    (base / "instruction.txt").write_text("{question} in parallel")
    steps = [
        "data",
        "prepare",
        "evaluate-base",
        "sample",
        "assemble",
        "sft",
        "evaluate-beta",
        "evaluate-sft-sequential",
        "papo",
        "evaluate-papo",
        "score",
    ]
    loads = tmp_path / "python3"  # hands weights to a server that is not there
    loads.write_text("#!/bin/sh\ncat >/dev/null\n")
    loads.chmod(0o755)
    asked = tmp_path / "asked"
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "ESPALIER": str(stub),
        "LOG": str(asked),
        "DATA": "d",
        "PROBLEMS": "10",
    }
    ran = subprocess.run(
        [RECIPE / "run.sh", *steps], env=environment | {"RUN": str(tmp_path / "run")}, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    groups = {"data": data.app, "train": train.app, "model": model.app}
    lines = asked.read_text().splitlines()
    assert {line.split()[0] for line in lines} == {"data", "train"}
    for line in lines:
        group, command, *words = line.split()
        known = {
            option
            for parameter in typer.main.get_command(groups[group]).commands[command].params
            for option in (*parameter.opts, *parameter.secondary_opts)
        }
        assert {word for word in words if re.match(r"--\w", word)} <= known, line
    assert (base / "instruction.txt").read_text() == "{question} in parallel"  # the baseline has its own
