"""The endless, reproducible stream of packed rows.

The stream is cut into shards. Shard number s is a function of the data seed and s alone, so workers can make shards in
any order and a resumed run continues exactly where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedTokenizerFast

from espalier.runtime.grammar import Vocabulary
from espalier.training.config import DataConfig
from espalier.training.example import Example, encode, response_text
from espalier.training.packing import Row, fill_rows
from espalier.training.tasks import TASKS, Problem, Split
from espalier.training.tasks.phrasing import reword
from espalier.training.traces import write

TASK_NAMES = tuple(sorted(TASKS))

TRACES_PER_PROBLEM = {"countdown": 3, "polynomial_equations": 4, "puzzle24": 6}
"""Different traces written of one problem, where problems are slow to make (1 for tasks not named)."""


@dataclass(frozen=True, slots=True)
class Codec:
    """A tokenizer in the two forms that encoding needs."""

    tokenizer: Tokenizer
    vocabulary: Vocabulary

    @classmethod
    def load(cls, folder: Path) -> Codec:
        """Read the tokenizer from its folder."""
        fast = PreTrainedTokenizerFast.from_pretrained(folder)
        return cls(fast.backend_tokenizer, Vocabulary.of(fast))


def examples(
    codec: Codec, split: Split, seed: int, shard: int, weights: dict[str, float], reworded_share: float
) -> Iterator[tuple[int, Example]]:
    """Endless (task index, example) pairs of one shard."""
    rng = Random(f"{split}/{seed}/{shard}")
    shares = [weights.get(name, 1.0) / TRACES_PER_PROBLEM.get(name, 1) for name in TASK_NAMES]
    while True:
        kind = rng.choices(range(len(TASK_NAMES)), shares)[0]
        name = TASK_NAMES[kind]
        problem = TASKS[name].generate(split, rng.getrandbits(48), 0)
        for _ in range(TRACES_PER_PROBLEM.get(name, 1)):
            example = _example(problem, codec, rng, reworded_share)
            if example is not None:
                yield kind, example


def _example(problem: Problem, codec: Codec, rng: Random, reworded_share: float) -> Example | None:
    trace = write(problem, rng)
    if trace is None:
        return None
    question = reword(problem, rng) if rng.random() < reworded_share else problem.text
    return encode(question, trace, codec.tokenizer, codec.vocabulary)


class Shards(Dataset[list[Row]]):
    """Shards by number, without an end."""

    def __init__(self, tokenizer: Path, config: DataConfig, split: Split) -> None:
        self._tokenizer = tokenizer
        self._config = config
        self._split = split
        self._codec: Codec | None = None  # loaded in the worker: a tokenizer is not worth sending

    def __getitem__(self, shard: int) -> list[Row]:
        config = self._config
        if self._codec is None:
            self._codec = Codec.load(self._tokenizer)
        source = examples(self._codec, self._split, config.seed, shard, config.weights, config.reworded_share)
        return list(fill_rows(source, config.row_length, config.rows_per_shard))


class _From(torch.utils.data.Sampler[int]):
    def __init__(self, first: int) -> None:
        self._first = first

    def __iter__(self) -> Iterator[int]:
        return count(self._first)


def rows(tokenizer: Path, config: DataConfig, position: int) -> Iterator[Row]:
    """The stream of training rows from row number `position` on.

    With `reuse` above 1 a window of shards is kept in memory and visited that often, in a new order each time.
    """
    window = 1 if config.reuse == 1 else 64
    lap_rows = window * config.reuse * config.rows_per_shard
    lap, skip = divmod(position, lap_rows)
    loader = DataLoader(
        Shards(tokenizer, config, Split.TRAIN),
        batch_size=None,
        sampler=_From(lap * window),
        num_workers=config.workers,
        prefetch_factor=3 if config.workers else None,
        multiprocessing_context="spawn" if config.workers else None,
    )
    shards = iter(loader)
    while True:
        kept: list[Row] = []
        for _ in range(window):
            fresh = next(shards)
            kept += fresh
            yield from fresh[skip:]
            skip = max(0, skip - len(fresh))
        for visit in range(1, config.reuse):
            order = Random(f"{config.seed}/{lap}/{visit}").sample(range(len(kept)), k=len(kept))
            yield from (kept[i] for i in order[skip:])
            skip = max(0, skip - len(order))
        lap += 1


def held_out_rows(tokenizer: Path, config: DataConfig, size: int) -> list[Row]:
    """Rows of held-out problems in the original wording, for the loss by task."""
    codec = Codec.load(tokenizer)
    source = examples(codec, Split.HELD_OUT, config.seed, 0, {}, 0.0)
    return list(fill_rows(source, config.row_length, size))


def tokenizer_texts(samples: int, seed: int) -> Iterator[str]:
    """Questions in both wordings and responses of `samples` training problems per task."""
    rng = Random(f"tokenizer/{seed}")
    for name in TASK_NAMES:
        for index in range(samples):
            problem = TASKS[name].generate(Split.TRAIN, seed, index)
            trace = write(problem, rng)
            yield from (problem.text, reword(problem, rng))
            if trace is not None:
                yield response_text(trace)
