from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import pytest
from transformers import AutoModelForCausalLM

from espalier.runtime.engine import Mode
from espalier.training.config import RlConfig, load_as
from espalier.training.rl import papo
from espalier.training.rl.branches import set_counts
from espalier.training.rl.credit import OutcomeCredit, SampleCredit, SetCredit
from espalier.training.rl.objective import Papo
from recipes.ablation import report, runs
from recipes.ablation.arms import ARMS as ALL
from recipes.ablation.arms import PAIRS
from recipes.ablation.runs import Ablation

BASE = load_as(RlConfig, runs.HERE / "ablation.toml")
ARMS = {arm.name: arm for arm in ALL}


def tiny_in(folder: Path) -> Ablation:
    """From starts that have hardly seen the grammar."""
    rollout = replace(BASE.rollout, prompts=2, samples=2, max_tokens=40)
    steps = {Mode.PARALLEL: 30, Mode.SEQUENTIAL: 30}
    return Ablation(folder, replace(BASE, steps=1, rollout=rollout), start_steps=steps, problems=2, samples=2)


@pytest.fixture(scope="module")
def starts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the start of each mode: making one costs more than the runs behind it."""
    folder = tmp_path_factory.mktemp("starts")
    for mode in Mode:
        runs.start(tiny_in(folder), mode)
    return folder


@pytest.fixture
def tiny(starts: Path, tmp_path: Path) -> Ablation:
    shutil.copytree(starts, tmp_path, dirs_exist_ok=True)
    return tiny_in(tmp_path)


@pytest.mark.parametrize("mode", list(Mode))
def test_the_arms_have_a_start_that_is_made_once(mode: Mode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = tiny_in(tmp_path)
    folder = runs.start(replace(tiny, start_steps={mode: 1}), mode)
    AutoModelForCausalLM.from_pretrained(folder)
    monkeypatch.setattr(runs.from_nothing, "train", None)
    assert runs.start(tiny, mode) == folder


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
    assert {name for pair in PAIRS for name in pair} <= ARMS.keys()


@pytest.mark.parametrize("name", ["set-sequential", "set-parallel-balanced", "set-parallel-balanced-rejoins"])
def test_a_run_samples_its_tokens_is_measured_and_goes_on(
    name: str, tiny: Ablation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arm, folder = ARMS[name], tiny.folder(name, 1)
    for tokens in (500, 1000):
        runs.run(tiny, arm, 1, tokens)
        steps = runs.entries(folder)
        sampled = [runs.sampled_tokens(entry) for entry in steps]
        assert sum(sampled) == pytest.approx(tokens, rel=0.5)  # with steps of a few responses
        assert {entry["responses"] for entry in steps} == {12 if arm.mode is Mode.SEQUENTIAL else 4}
        measured = json.loads((folder / runs.measured_name(tokens)).read_text())
        assert (measured["steps"], measured["decided"]) == (len(steps), [2, 2])
        assert len((folder / f"responses-{tokens}.jsonl").read_text().splitlines()) == 4
    capsys.readouterr()
    report.report(tiny, [1], [500, 1000], tiny.out / "curves.png")
    said = capsys.readouterr().out
    assert said.count(f"| {name} | 1 |") == 2
    assert said.count(f"| {name} | {len(steps)} |") == 1
    assert (tiny.out / "curves.png").stat().st_size
    monkeypatch.setattr(runs.train, "train", None)
    runs.run(tiny, arm, 1, 1000)  # what is done is not done again
    with pytest.raises(ValueError, match="is past 700 tokens"):
        runs.run(tiny, arm, 1, 700)


def test_a_run_that_was_killed_before_it_left_its_model_is_measured_with_the_right_one(tiny: Ablation) -> None:
    arm = ARMS["outcome-sequential"]
    runs.run(tiny, arm, 1, 500)
    (tiny.folder(arm.name, 1) / runs.measured_name(500)).unlink()
    weights = tiny.folder(arm.name, 1) / "model" / "model.safetensors"
    right = weights.read_bytes()
    weights.write_bytes(b"of an earlier part")
    runs.run(tiny, arm, 1, 500)
    assert weights.read_bytes() == right


@pytest.mark.slow
def test_runs_go_on_in_processes_when_one_fails(tiny: Ablation) -> None:
    arms = [ARMS["outcome-sequential"], ARMS["set-sequential"]]
    broken = tiny.folder("set-sequential", 1)
    broken.mkdir()
    (broken / runs.measured_name(900)).write_text("{}")
    (failed,) = runs.train_all(tiny, arms, [1], [300, 600], 2)
    assert failed.startswith("set-sequential-1: ValueError")
    assert {path.name for path in tiny.out.glob("*/measured-*")} == {f"measured-{n}.json" for n in (0, 300, 600, 900)}
    assert {path.parent.name for path in tiny.out.glob("*/responses-*")} == {"start-sequential", "outcome-sequential-1"}


def _counts(seeds: int, problems: int) -> list[list[float]]:
    chance = random.Random(5)
    return [[float(chance.randrange(1, 9)) for _ in range(problems)] for _ in range(seeds)]


def test_a_mean_has_the_standard_errors_of_means_over_problems_and_over_seeds() -> None:
    values = _counts(3, 7)
    found = report.ratio(values, [[1.0] * 7] * 3)
    assert found is not None
    assert found.value == pytest.approx(fmean(map(fmean, values)))
    assert found.over_problems == pytest.approx(stdev(map(fmean, zip(*values, strict=True))) / 7**0.5)
    assert found.over_seeds == pytest.approx(stdev(map(fmean, values)) / 3**0.5)


def test_an_influence_is_what_more_of_a_problem_moves_a_ratio_by() -> None:
    """Against the change of the ratio itself when a problem weighs a little more."""
    over, under = _counts(2, 5), _counts(2, 5)[::-1]
    found = report.ratio(over, under)
    assert found is not None
    assert sum(found.influences) == pytest.approx(0, abs=1e-12)
    for problem in range(5):
        weights = [1.0 + 1e-6 * (one == problem) for one in range(5)]
        heavier = [[[w * v for w, v in zip(weights, row, strict=True)] for row in counts] for counts in (over, under)]
        moved = report.ratio(*heavier)
        assert moved is not None
        assert (moved.value - found.value) / 1e-6 == pytest.approx(found.influences[problem], abs=1e-5)


def test_a_difference_is_over_the_same_problems_and_seeds() -> None:
    values = _counts(3, 7)
    shifted = [[value + seed for value in row] for seed, row in enumerate(values)]
    ones = [[1.0] * 7] * 3
    first, second = report.ratio(shifted, ones), report.ratio(values, ones)
    assert first is not None
    assert second is not None
    difference = first - second
    assert difference.over_problems == pytest.approx(0, abs=1e-12)
    assert difference.by_seed == pytest.approx((0, 1, 2))


def test_a_share_of_nothing_is_none() -> None:
    assert report.ratio([[1.0, 2.0], [0.0, 0.0]], [[1.0, 2.0], [0.0, 0.0]]) is None


def test_arms_with_different_starts_are_compared_by_what_they_gained_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, tokens, passed in (
        ("start-parallel", 0, [1, 1]),
        ("start-sequential", 0, [2, 2]),
        ("set-parallel-1", 9, [3, 3]),
        ("outcome-sequential-1", 9, [3, 3]),
    ):
        (tmp_path / folder).mkdir()
        found = {"steps": 0, "passed": passed, "decided": [4, 4], "sets": [set_counts([])] * 2, "tokens": 1.0}
        (tmp_path / folder / runs.measured_name(tokens)).write_text(json.dumps(found))
    report.report(Ablation(tmp_path), [1], [9], None)
    assert (
        "- set-parallel minus outcome-sequential, 1 seeds: pass@1 0.0 ± 0.0 / -, pass@16 0.0 ± 0.0 / -; "
        "gains from their starts, pass@1 25.0 ± 0.0 / -" in capsys.readouterr().out
    )
