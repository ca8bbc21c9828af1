from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from espalier.training.config import ConfigError
from espalier.training.loop import RunLength
from espalier.training.run.checkpoint import CheckpointError
from espalier.training.run.deadline import Deadline
from espalier.training.run.errors import NotFiniteError
from espalier.training.trainer import Trainer
from recipes.seedling.base import train
from recipes.seedling.settings import BaseConfig
from tests.training.conftest import TOKENIZER


def _run(config: BaseConfig, out: Path, length: RunLength, **options: Any) -> list[dict[str, Any]]:
    train(config, TOKENIZER, out, length, lambda entry: None, **options)
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def _weights(out: Path) -> dict[str, torch.Tensor]:
    (shard,) = (out / "checkpoint").glob("*/*.safetensors")
    return {name: tensor for name, tensor in load_file(shard).items() if not name.startswith("random.")}


def test_a_short_run_lowers_the_loss_and_leaves_a_loadable_model(tiny: BaseConfig, tmp_path: Path) -> None:
    records = _run(tiny, tmp_path, RunLength(steps=100))
    losses = [record["loss"] for record in records if "loss" in record]
    assert losses[-1] < 0.7 * losses[0]
    assert records[-1]["held_out"]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert model.dtype == torch.bfloat16
    assert len(AutoTokenizer.from_pretrained(tmp_path / "model")) == model.config.vocab_size


def test_a_run_in_parts_equals_an_uninterrupted_one_bit_for_bit(tiny: BaseConfig, tmp_path: Path) -> None:
    """Parts without any time: each takes a step."""
    whole = _run(tiny, tmp_path / "whole", RunLength(steps=4))
    for part in range(4):
        entries = _run(tiny, tmp_path / "parts", RunLength(steps=4), deadline=Deadline.after(0), resume=part > 0)
        assert [entry["step"] for entry in entries if "loss" in entry] == list(range(1, part + 2))
    assert entries[-1] == whole[-1]
    expected, found = _weights(tmp_path / "whole"), _weights(tmp_path / "parts")
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_killed_run_goes_on_from_its_last_checkpoint_bit_for_bit(tiny: BaseConfig, tmp_path: Path) -> None:
    config = replace(tiny, checkpoint_every=2)
    whole = _run(config, tmp_path / "whole", RunLength(steps=6))
    killed = mock.patch.object(Trainer, "step", _killed_at(5, Trainer.step))
    with pytest.raises(KeyboardInterrupt), killed:
        _run(config, tmp_path / "killed", RunLength(steps=6))
    (latest,) = (tmp_path / "killed" / "checkpoint").iterdir()
    assert json.loads((latest / "progress.json").read_text())["step"] == 4
    again = _run(config, tmp_path / "killed", RunLength(steps=6), resume=True)
    assert _untimed(again) == _untimed(whole)
    expected, found = _weights(tmp_path / "whole"), _weights(tmp_path / "killed")
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def _killed_at(call: int, real: Any) -> Any:
    calls = count(1)

    def step(*arguments: Any) -> Any:
        if next(calls) == call:
            raise KeyboardInterrupt
        return real(*arguments)

    return step


def _untimed(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in one.items() if name != "tokens_per_second"} for one in entries]


def test_settings_are_kept_with_the_run_and_cannot_change_in_it(tiny: BaseConfig, tmp_path: Path) -> None:
    _run(tiny, tmp_path, RunLength(steps=1))
    assert json.loads((tmp_path / "config.json").read_text())["model"]["hidden"] == 32
    with pytest.raises(ConfigError, match="other settings in seed"):
        _run(replace(tiny, seed=2), tmp_path, RunLength(steps=2), resume=True)
    _run(replace(tiny, seed=2), tmp_path, RunLength(steps=1))


def test_resuming_without_a_checkpoint_says_what_is_missing(tiny: BaseConfig, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        _run(tiny, tmp_path, RunLength(steps=1), resume=True)


def test_a_run_can_begin_from_exported_weights_of_its_shape_only(tiny: BaseConfig, tmp_path: Path) -> None:
    _run(tiny, tmp_path / "first", RunLength(steps=1))
    _run(tiny, tmp_path / "second", RunLength(steps=1), initial=tmp_path / "first" / "model")
    other = replace(tiny, model=replace(tiny.model, hidden=48))
    with pytest.raises(CheckpointError, match="holds no weights of a model of this shape"):
        _run(other, tmp_path / "third", RunLength(steps=1), initial=tmp_path / "first" / "model")


def test_a_loss_that_is_no_number_ends_the_run_with_its_rows_saved(tiny: BaseConfig, tmp_path: Path) -> None:
    wild = replace(tiny, trainer=replace(tiny.trainer, learning_rate=1e30))
    with pytest.raises(NotFiniteError, match=r"step \d+: the loss is .* gradient nan; .*not-finite-\d+-0") as caught:
        _run(wild, tmp_path, RunLength(steps=20))
    (saved,) = tmp_path.glob("not-finite-*-0.safetensors")
    assert str(saved) in str(caught.value)
    assert load_file(saved)["0.tokens"].shape == (1, 512)
    assert not (tmp_path / "checkpoint").exists()
    assert not (tmp_path / "model").exists()
