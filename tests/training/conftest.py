"""The fixtures of the recipe, whose traces are what examples are made of here, too; and groups of processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.recipes.conftest import RECIPES, ROOT, TOKENIZER, codec, one_thread, some_examples, tiny
from tests.training.ranks import Ranks

__all__ = ["RECIPES", "ROOT", "TOKENIZER", "codec", "one_thread", "some_examples", "tiny"]


@pytest.fixture(scope="session")
def ranks() -> Iterator[Ranks]:
    started = Ranks()
    yield started
    started.close()
