from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from espalier.runtime.engine import Mode
from espalier.training.config import ConfigError, load_as
from espalier.training.curriculum import Curriculum, CurriculumConfig, Leg
from espalier.training.deadline import Deadline
from espalier.training.measure import Measured
from espalier.training.table import NothingJudgedError, holds, last_line, table
from tests.training.conftest import ROOT

CONFIGS = ROOT / "training" / "configs"


def _measured(accuracy: float | None) -> Measured:
    error = None if accuracy is None else 0.03
    return Measured(100, accuracy, error, 1.0, 0.5, 90.0, 40.0, 0 if accuracy is not None else 800)


RESULTS = {
    name: {"gcd": _measured(accuracy), "lcm": _measured(accuracy)}
    for name, accuracy in (("base", 0.3), ("zero", 0.314), ("beta", 0.4), ("papo", 0.5))
}


@pytest.fixture
def config() -> CurriculumConfig:
    return load_as(CurriculumConfig, CONFIGS / "train-tiny.toml")


def test_the_last_line_has_the_accuracy_of_the_four_stages() -> None:
    line = last_line(Path("configs/train-tiny.toml"), RESULTS)
    assert line == "train-tiny: base 30.0% zero 31.4% beta 40.0% papo 50.0%"


@pytest.mark.parametrize(("margin", "held"), [(5.0, True), (9.99, True), (10.01, False)])
def test_papo_has_to_be_above_beta_by_the_margin(margin: float, held: bool) -> None:
    assert holds(RESULTS, margin) is held


def test_the_table_states_the_noise(config: CurriculumConfig) -> None:
    # Two tasks with a standard error of 3 points each: 2.1 for their mean, 3.0 for a difference of two means.
    assert "papo is +10.0 points from beta, standard error 3.0" in table(RESULTS, config)


def test_papo_is_compared_with_sequential_reinforcement_learning_where_that_was_measured(
    config: CurriculumConfig,
) -> None:
    whole = {**RESULTS, "sequential-rl": {"gcd": _measured(0.6), "lcm": _measured(0.45)}}
    assert "papo is -2.5 points from sequential-rl, standard error 3.0" in table(whole, config)
    assert "sequential-rl" not in table(RESULTS, config)


def test_a_task_without_verdicts_counts_in_no_mean(config: CurriculumConfig) -> None:
    """A machine without a sandbox judges no programs, which says nothing of the model."""
    unjudged = {leg: {**tasks, "programming": _measured(None)} for leg, tasks in RESULTS.items()}
    assert last_line(Path("train-tiny.toml"), unjudged) == last_line(Path("train-tiny.toml"), RESULTS)
    assert holds(unjudged, 9.9)
    text = table(unjudged, config)
    assert "mean of 2 tasks" in text
    (line, *_) = (line for line in text.splitlines() if "programming" in line)
    assert line.split()[2] == "-"
    assert line.endswith(" 800")
    partly = {**RESULTS, "beta": {**RESULTS["beta"], "gcd": _measured(None)}}
    assert "mean of 1 tasks" in table(partly, config)
    with pytest.raises(NothingJudgedError, match="no task has verdicts for every model"):
        table({leg: {"programming": _measured(None)} for leg in RESULTS}, config)


def test_a_stopped_curriculum_goes_on_where_it_was(config: CurriculumConfig, tmp_path: Path) -> None:
    trained: list[str] = []
    stop_at = {"zero"}

    class Short(Curriculum):
        """Legs that train nothing; what is tested is which of them are begun."""

        def legs(self) -> Iterator[Leg]:
            for name in ("base", "zero", "beta"):
                yield Leg(name, Mode.SEQUENTIAL, self._fake)

        def _fake(self, folder: Path) -> bool:
            folder.mkdir(parents=True, exist_ok=True)
            trained.append(folder.name)
            return folder.name not in stop_at

        async def _measured(self, leg: Leg) -> dict[str, Measured] | None:
            return {"gcd": _measured(0.5)}

    run = Short(config, CONFIGS, tmp_path, torch.device("cpu"), Deadline(), lambda entry: None)
    assert run.run() is None
    stop_at.clear()
    assert run.run() == {name: {"gcd": _measured(0.5)} for name in ("base", "zero", "beta")}
    assert trained == ["base", "zero", "zero", "beta"]


def test_the_controls_differ_from_the_stages_in_their_mode_alone(config: CurriculumConfig, tmp_path: Path) -> None:
    whole = replace(config, controls=True)
    run = Curriculum(whole, CONFIGS, tmp_path, torch.device("cpu"), Deadline(), lambda entry: None)
    assert [(leg.name, leg.mode.value) for leg in run.legs()] == [
        ("base", "sequential"),
        ("zero", "sequential"),
        ("beta", "parallel"),
        ("papo", "parallel"),
        ("sequential-sft", "sequential"),
        ("sequential-rl", "sequential"),
    ]


def test_a_curriculum_begins_from_a_recipe_or_from_a_model(config: CurriculumConfig) -> None:
    with pytest.raises(ConfigError, match="either base and base_steps, or base_model"):
        replace(config, base_model="somewhere")
    with pytest.raises(ConfigError, match="either base and base_steps, or base_model"):
        replace(config, base_steps=0)
