"""The steps of supervised training: what their speed counts, and what is held in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import AutoTokenizer

from espalier.training import sft
from espalier.training.config import TrainerConfig
from espalier.training.data.packing import PackedSequence
from espalier.training.model.network import MicroBatch, load_network
from espalier.training.run.checkpoint import Progress
from espalier.training.run.distributed import ALONE
from espalier.training.sft import SupervisedStepper
from espalier.training.trainer import Trainer
from tests.training.pretrained import pretrained
from tests.training.synthetic import rows

LENGTH = 96


class Clock:
    """Stands in for the clock: it goes on when it is told to."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


class Rows:
    """A source whose sequences take two seconds each to make."""

    names: Sequence[str] = ("random",)

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def packed_sequences(self, position: int) -> Iterator[PackedSequence]:
        while True:
            self.clock.now += 2.0
            yield rows(1, LENGTH)[0]

    def held_out(self) -> list[PackedSequence]:
        return rows(3, LENGTH)


def stepper_of(tmp_path: Path, clock: Clock) -> SupervisedStepper:
    model = pretrained(tmp_path / "model", "qwen2")
    config = TrainerConfig(sequence_length=LENGTH, learning_rate=1e-3, micro_batch_size=1)
    trainer = Trainer.of(load_network(model, ALONE.device), AutoTokenizer.from_pretrained(model), config, ALONE)
    return SupervisedStepper(trainer, Rows(clock), batch_size=2, out=tmp_path)


def ignored(entry: dict[str, Any]) -> None:
    """A report that goes nowhere."""


async def test_the_speed_counts_the_time_of_steps_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    stepper = stepper_of(tmp_path, clock)
    monkeypatch.setattr(sft, "time", SimpleNamespace(monotonic=clock.monotonic))
    await stepper.begin(Progress(), ignored)
    for step in range(2):
        clock.now += 1000.0  # an evaluation, or a checkpoint
        taken = await stepper.step(Progress(step, 2 * step), step / 2)
        assert taken.entry is not None
        assert taken.entry["tokens_per_second"] == LENGTH / 2


async def test_held_out_sequences_are_collated_one_micro_batch_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stepper = stepper_of(tmp_path, Clock())
    done: list[str] = []
    collate = sft.collate

    def collating(*arguments: Any) -> MicroBatch:
        done.append("collated")
        return collate(*arguments)

    monkeypatch.setattr(sft, "collate", collating)
    stepper.trainer.policy.register_forward_hook(lambda *_: done.append("passed"))
    await stepper.begin(Progress(), ignored)
    assert done == []
    assert (await stepper.evaluate(0)).keys() == {"random"}
    assert done == ["collated", "passed"] * 3
