from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from espalier.runtime.engine import Mode
from espalier.training.config import RlConfig, load_as
from espalier.training.rl import papo
from espalier.training.rl.credit import OutcomeCredit, SampleCredit, SetCredit
from espalier.training.rl.objective import Papo
from recipes.ablation import __main__ as ablation


@pytest.mark.parametrize("mode", list(Mode))
def test_the_arms_have_a_start_that_is_made_once(mode: Mode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ablation.START_STEPS, mode, 1)
    folder = ablation.start(tmp_path, mode)
    AutoModelForCausalLM.from_pretrained(folder)
    monkeypatch.setattr(ablation.from_nothing, "train", None)
    assert ablation.start(tmp_path, mode) == folder


BASE = load_as(RlConfig, ablation.HERE / "ablation.toml")
ARMS = {arm.name: arm for arm in ablation.ARMS}


def test_the_arms_differ_in_what_they_are_named_after() -> None:
    objectives = {name: papo.method(arm.config(BASE, 1)).objective for name, arm in ARMS.items()}
    assert objectives == {
        "outcome-parallel": Papo(credit=OutcomeCredit()),
        "set-parallel": Papo(credit=SetCredit()),
        "set-parallel-balanced": Papo(credit=SetCredit(), balance_kinds=True),
        "set-parallel-rejoins": Papo(credit=SetCredit()),
        "set-parallel-balanced-rejoins": Papo(credit=SetCredit(), balance_kinds=True),
        "outcome-sequential": Papo(credit=OutcomeCredit()),
        "set-sequential": Papo(credit=SampleCredit(4)),
    }
    rollouts = {name: arm.config(BASE, 1).rollout for name, arm in ARMS.items()}
    assert {name for name, rollout in rollouts.items() if rollout.rejoins} == {n for n in ARMS if "rejoins" in n}
    assert all((rollout.mode is Mode.SEQUENTIAL) == ("sequential" in name) for name, rollout in rollouts.items())


def test_pairs_are_of_arms_that_there_are() -> None:
    assert {name for pair in ablation.PAIRS for name in pair} <= ARMS.keys()


@pytest.mark.parametrize("name", ["set-sequential", "set-parallel-balanced", "set-parallel-balanced-rejoins"])
def test_an_arm_trains_is_measured_and_has_a_row(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At tiny size, from a start that has hardly seen the grammar."""
    arm = ARMS[name]
    monkeypatch.setitem(ablation.START_STEPS, arm.mode, 30)
    monkeypatch.setattr(ablation, "PROBLEMS", 2)
    monkeypatch.setattr(ablation, "SAMPLES", 2)
    rollout = replace(BASE.rollout, prompts=2, samples=2, max_tokens=40)
    ablation.run(tmp_path, replace(BASE, steps=1, rollout=rollout), arm, 1)
    entry = json.loads((tmp_path / f"{name}-1" / "metrics.jsonl").read_text().splitlines()[-1])
    assert (entry["step"], entry["responses"]) == (1, 12 if arm.mode is Mode.SEQUENTIAL else 4)
    capsys.readouterr()
    ablation.report(tmp_path, None)
    assert f"| {name} | 1 |" in capsys.readouterr().out
    monkeypatch.setattr(ablation.train, "train", None)
    ablation.run(tmp_path, BASE, arm, 1)  # what is done is not done again
