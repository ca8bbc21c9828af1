from __future__ import annotations

from itertools import islice
from random import Random

import pytest

from espalier.training.tasks import TASKS, Split
from recipes.seedling.phrasing import fields, reword, wordings


@pytest.mark.parametrize("task, text", [(t, w) for t, templates in sorted(wordings().items()) for w in templates])
def test_every_wording_can_be_filled_in(task: str, text: str) -> None:
    problem = TASKS[task].generate(Split.TRAIN, 3, 0)
    filled = text.format_map(fields(problem))
    assert "{" not in filled.replace(problem.text, "") or task == "programming"


@pytest.mark.parametrize("name", sorted(TASKS))
def test_other_words_keep_every_number_of_the_problem(name: str) -> None:
    problem = TASKS[name].generate(Split.TRAIN, 3, 0)
    facts = problem.metadata
    numbers = facts.get("numbers") or facts.get("sequence", [0])[:-1]
    for text in {reword(problem, Random(seed)) for seed in range(8)}:
        assert all(str(n) in text for n in islice(numbers, 8))
