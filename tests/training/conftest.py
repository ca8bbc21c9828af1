from __future__ import annotations

from itertools import islice

import pytest

from espalier.training.data.example import TrainingExample
from espalier.training.tasks import Split
from recipes.seedling.settings import BaseConfig
from recipes.seedling.stream import Codec, examples
from tests.recipes.conftest import RECIPES, ROOT, TOKENIZER, codec, one_thread, tiny

__all__ = ["RECIPES", "ROOT", "TOKENIZER", "codec", "one_thread", "tiny"]


@pytest.fixture(scope="session")
def some_examples(codec: Codec, tiny: BaseConfig) -> list[tuple[int, TrainingExample]]:
    """A few examples of cheap tasks, corrupted steps among them."""
    return list(islice(examples(codec, tiny.data, Split.TRAIN, 0), 40))
