from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from espalier.training.config import load_as
from espalier.training.data.example import TrainingExample
from espalier.training.tasks import Split
from recipes.seedling.settings import BaseConfig
from recipes.seedling.stream import Codec, examples

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes"
TOKENIZER = ROOT / "runtime/espalier/runtime/seedling"


@pytest.fixture(scope="session")
def codec() -> Codec:
    return Codec.load(TOKENIZER)


@pytest.fixture(scope="session")
def tiny() -> BaseConfig:
    """A run of seconds: two layers, cheap tasks, everything in this process."""
    config = load_as(BaseConfig, RECIPES / "tiny" / "supervised.toml")
    return replace(
        config,
        held_out_sequences=1,
        model=replace(config.model, hidden=32, layers=2, heads=2, kv_heads=1, head_dim=16, intermediate=48),
        data=replace(
            config.data,
            workers=0,
            sequence_length=512,
            sequences_per_shard=2,
            weights={"countdown": 0.0, "puzzle24": 0.0, "polynomial_equations": 0.0, "gcd": 5.0},
        ),
        batch_size=2,
        trainer=replace(config.trainer, sequence_length=512, micro_batch_size=1, warmup_steps=2),
    )


@pytest.fixture(scope="session")
def some_examples(codec: Codec, tiny: BaseConfig) -> list[tuple[int, TrainingExample]]:
    """A few examples of cheap tasks, corrupted steps among them."""
    return list(islice(examples(codec, tiny.data, Split.TRAIN, 0), 40))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
