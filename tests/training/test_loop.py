"""The training loop with a stepper that learns nothing: when it steps, saves, evaluates and ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from espalier.training import loop
from espalier.training.config import MetricsConfig, TrainerConfig
from espalier.training.loop import Run, RunLength, StepResult, resumable, train
from espalier.training.model.network import load_network
from espalier.training.run.checkpoint import CheckpointError, Progress, save
from espalier.training.run.deadline import Deadline
from espalier.training.run.distributed import ALONE
from espalier.training.run.metrics import Report
from espalier.training.trainer import Trainer
from tests.training.pretrained import pretrained


class Counting:
    """A stepper that writes down what it is asked; batches of these numbers train nothing."""

    def __init__(self, *fruitless: int) -> None:
        self.fruitless = fruitless
        self.asked: list[tuple[str, int]] = []

    async def begin(self, progress: Progress, record: Report) -> None:
        self.asked.append(("begin", progress.step))

    async def step(self, progress: Progress, done: float) -> StepResult:
        self.asked.append(("batch", progress.position))
        return StepResult(1, {"loss": 1.0}, counted=progress.position not in self.fruitless)

    def saved(self, step: int) -> None:
        self.asked.append(("saved", step))

    async def evaluate(self, step: int) -> Mapping[str, Any]:
        self.asked.append(("evaluate", step))
        return {"loss": 2.0}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pretrained(tmp_path_factory.mktemp("model"), "qwen2")


def run_of(out: Path, model: Path, steps: int, **settings: Any) -> Run:
    out.mkdir(exist_ok=True)
    return Run(out, RunLength(steps), MetricsConfig(), {}, lambda entry: None, model, **settings)


async def go(stepper: Any, model: Path, run: Run) -> bool:
    tokenizer = AutoTokenizer.from_pretrained(model)
    config = TrainerConfig(sequence_length=32, learning_rate=0.0)
    trainer = Trainer.of(load_network(model, ALONE.device), tokenizer, config, ALONE)
    return await train(stepper, trainer, tokenizer, run)


def entries(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


async def test_it_saves_and_evaluates_when_the_settings_say_and_at_the_end(model: Path, tmp_path: Path) -> None:
    stepper = Counting()
    run = run_of(tmp_path / "run", model, 5, checkpoint_every=2, evaluate_every=3, record_every=4, keep_checkpoints=2)
    assert await go(stepper, model, run)
    assert [one for one in stepper.asked if one[0] != "batch"] == [
        ("begin", 0),
        ("evaluate", 0),
        ("saved", 2),
        ("evaluate", 3),
        ("saved", 4),
        ("evaluate", 5),
        ("saved", 5),
    ]
    written = [(one["step"], "loss" if "loss" in one else "held_out") for one in entries(run.out)]
    assert written == [(0, "held_out"), (2, "loss"), (3, "held_out"), (4, "loss"), (5, "loss"), (5, "held_out")]
    assert [entry["done"] for entry in entries(run.out) if "loss" in entry] == [0.4, 0.8, 1.0]
    assert len(list((run.out / "checkpoint").iterdir())) == 2
    assert (run.out / "model" / "config.json").exists()


class Stopped(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("where", ["evaluating", "saving"])
async def test_a_run_that_stops_between_evaluation_and_checkpoint_loses_neither(
    model: Path, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopping(Counting):
        async def evaluate(self, step: int) -> Mapping[str, Any]:
            if where == "evaluating" and step == 4:
                raise Stopped
            return await super().evaluate(step)

    def saving(folder: Path, network: Any, optimizers: Any, progress: Progress, *rest: Any) -> None:
        if where == "saving" and progress.step == 4:
            raise Stopped
        save(folder, network, optimizers, progress, *rest)

    run = run_of(tmp_path / "run", model, 5, checkpoint_every=2, evaluate_every=2)
    monkeypatch.setattr(loop, "save", saving)
    with pytest.raises(Stopped):
        await go(Stopping(), model, run)
    monkeypatch.undo()
    assert await go(Counting(), model, replace(run, resume=resumable(run.out)))
    assert [entry["step"] for entry in entries(run.out) if "held_out" in entry] == [0, 2, 4, 5]
    assert [entry["step"] for entry in entries(run.out) if "loss" in entry] == [1, 2, 3, 4, 5]


async def test_a_batch_with_nothing_to_train_on_is_no_step(model: Path, tmp_path: Path) -> None:
    stepper = Counting(0, 2)
    run = run_of(tmp_path / "run", model, 2, checkpoint_every=1)
    assert await go(stepper, model, run)
    assert [number for what, number in stepper.asked if what == "batch"] == [0, 1, 2, 3]
    assert [number for what, number in stepper.asked if what == "saved"] == [1, 2]


async def test_each_part_takes_a_step_and_only_the_last_leaves_a_model(model: Path, tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", model, 3, deadline=Deadline.after(0))
    ends = []
    while not ends or not ends[-1]:
        stepper = Counting(1)
        ends.append(await go(stepper, model, replace(run, resume=resumable(run.out))))
        assert (run.out / "model").exists() is ends[-1]
    assert ends == [False, False, True]
    assert [entry["step"] for entry in entries(run.out) if "loss" in entry] == [1, 2, 3]
    assert [name for name, _ in stepper.asked] == ["begin", "batch", "evaluate", "saved"]


async def test_a_finished_run_is_not_trained_again(model: Path, tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", model, 1)
    assert await go(Counting(), model, run)
    again = Counting()
    assert await go(again, model, replace(run, resume=True))
    assert again.asked == [("begin", 1)]


async def test_resuming_without_a_checkpoint_says_what_is_missing(model: Path, tmp_path: Path) -> None:
    assert not resumable(tmp_path / "run")
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        await go(Counting(), model, run_of(tmp_path / "run", model, 1, resume=True))


async def test_an_interruption_ends_it_between_two_steps(model: Path, tmp_path: Path) -> None:
    """Ctrl-C cancels the loop's task; steps that never wait would not hear of it by themselves."""

    class Interrupted(Counting):
        async def step(self, progress: Progress, done: float) -> StepResult:
            if progress.step == 1:
                task.cancel()
            return await super().step(progress, done)

    stepper = Interrupted()
    task = asyncio.create_task(go(stepper, model, run_of(tmp_path / "run", model, 9, checkpoint_every=1)))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stepper.asked[-2:] == [("batch", 1), ("saved", 2)]


def test_a_run_is_as_long_as_its_steps_or_its_minutes() -> None:
    assert RunLength(steps=10).done(Progress(step=5)) == 0.5
    assert RunLength(minutes=2).done(Progress(seconds=30)) == 0.25
    with pytest.raises(ValueError, match="either in steps or in minutes"):
        RunLength(steps=1, minutes=1)
