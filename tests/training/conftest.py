"""The fixtures of the recipe: its traces are what examples are made of here, too."""

from tests.recipes.conftest import RECIPES, ROOT, TOKENIZER, codec, one_thread, some_examples, tiny

__all__ = ["RECIPES", "ROOT", "TOKENIZER", "codec", "one_thread", "some_examples", "tiny"]
