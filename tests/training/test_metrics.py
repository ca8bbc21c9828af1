from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from espalier.training.config import ConfigError, MetricsConfig
from espalier.training.run.metrics import journal, read_metrics
from espalier.training.run.plot import Over, plot, positions

PLAIN = MetricsConfig()


def _write(folder: Path, entries: list[dict[str, Any]], step: int = 0, config: MetricsConfig = PLAIN) -> None:
    folder.mkdir(exist_ok=True)
    with journal(folder, config, step, {}, lambda entry: None) as record:
        for entry in entries:
            record(entry)


def _curve(steps: range) -> list[dict[str, Any]]:
    return [{"step": step, "reward": step / 10, "accuracy": 0.5} for step in steps]


def test_a_resumed_run_takes_back_what_lies_behind_its_checkpoint(tmp_path: Path) -> None:
    _write(tmp_path, _curve(range(1, 6)))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "rew')  # killed while writing
    _write(tmp_path, _curve(range(4, 8)), step=3)
    assert [entry["step"] for entry in read_metrics(tmp_path)] == [1, 2, 3, 4, 5, 6, 7]


def test_notes_are_kept_and_shown_with_the_rest(tmp_path: Path) -> None:
    shown: list[dict[str, Any]] = []
    with journal(tmp_path, PLAIN, 0, {}, shown.append) as record:
        record({"step": 1, "reward": 1.0})
        record({"note": "the verifier is back"})
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()] == shown
    assert len(shown) == 2


def test_tensorboard_gets_the_numbers(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    entries = [{**entry, "accuracy_by_task": {"gcd": 0.5}} for entry in _curve(range(1, 4))]
    _write(tmp_path, entries, config=MetricsConfig(tensorboard=True))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [round(scalar.value, 3) for scalar in events.Scalars("reward")] == [0.1, 0.2, 0.3]
    assert len(events.Scalars("accuracy_by_task/gcd")) == 3


def test_wandb_is_only_needed_when_it_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"metrics.wandb_project: wandb is not installed"):
        _write(tmp_path, [], config=MetricsConfig(wandb_project="espalier"))


class FakeWandb(ModuleType):
    """Stands in for the package, which is no dependency: what was begun and logged."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.begun: list[dict[str, Any]] = []
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.finished = 0

    def init(self, **settings: Any) -> FakeWandb:
        self.begun.append(settings)
        return self

    def log(self, numbers: dict[str, float], step: int) -> None:
        self.logged.append((step, numbers))

    def finish(self) -> None:
        self.finished += 1


def test_wandb_gets_the_numbers_and_a_resumed_run_is_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    config = MetricsConfig(wandb_project="espalier")
    _write(tmp_path, [*_curve(range(1, 3)), {"note": "x"}], config=config)
    _write(tmp_path, _curve(range(3, 4)), step=2, config=config)
    _write(tmp_path, _curve(range(1, 2)), config=config)  # begun anew
    assert [step for step, _ in wandb.logged] == [1, 2, 3, 1]
    assert wandb.logged[0][1] == {"reward": 0.1, "accuracy": 0.5}
    assert wandb.finished == 3
    first, resumed, anew = (settings["id"] for settings in wandb.begun)
    assert first == resumed != anew
    assert {settings["project"] for settings in wandb.begun} == {"espalier"}


def test_runs_are_drawn_side_by_side(tmp_path: Path) -> None:
    for name in ("papo", "sequential-rl"):
        _write(tmp_path / name, [*_curve(range(1, 5)), {"note": "x"}])
    plot([tmp_path / "papo", tmp_path / "sequential-rl"], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_runs_are_drawn_over_the_tokens_that_they_have_sampled(tmp_path: Path) -> None:
    entries = [
        {"step": step, "reward": 0.1, "tokens": 100.0 * step, "responses": 4, "rejoin_tokens": 10} for step in (1, 2)
    ]
    assert positions(entries, Over.TOKENS) == [410, 1220]
    assert positions(entries, Over.STEP) == [1, 2]
    assert positions([{"step": 1, "tokens": 100.0, "responses": 4}], Over.TOKENS) == [400], "of an earlier version"
    _write(tmp_path / "papo", [{"step": 0, "held_out": 0.5}, *entries])
    plot([tmp_path / "papo"], tmp_path / "curves.png", Over.TOKENS)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_that_samples_nothing_is_not_drawn_over_tokens(tmp_path: Path) -> None:
    _write(tmp_path / "beta", [*_curve(range(1, 3))])
    with pytest.raises(ValueError, match="only runs of reinforcement learning sample tokens; draw over steps"):
        plot([tmp_path / "beta"], tmp_path / "curves.png", Over.TOKENS)


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no metrics.jsonl with entries: is it the folder of a run\?"):
        plot([tmp_path], tmp_path / "curves.png")
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "other": 1}\n')
    with pytest.raises(ValueError, match="no curves yet"):
        plot([tmp_path], tmp_path / "curves.png")
