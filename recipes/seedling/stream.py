"""The endless, reproducible stream of packed sequences.

The stream is cut into shards. Shard number s is a function of the data seed and s alone, so workers can make shards in
any order and a resumed run continues exactly where it stopped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedTokenizerFast

from espalier.runtime.grammar import Vocabulary
from espalier.training.config import Form
from espalier.training.data.example import TrainingExample
from espalier.training.data.packing import PackedSequence, packed_sequence
from espalier.training.tasks import EASIER_TASKS, TASKS, Split, task
from recipes.seedling.encoding import encode, encode_plain, plain_text, response_text, without_a_tag
from recipes.seedling.phrasing import reword
from recipes.seedling.settings import DataConfig
from recipes.seedling.traces import Demonstration, write

TASK_NAMES = tuple(sorted(TASKS))

TRACES_PER_PROBLEM = {"countdown": 6, "polynomial_equations": 8, "puzzle24": 2, "simple_equations": 4}
"""Different traces written of one problem, where problems are slow to make (1 for tasks not named)."""


REPLAYED = 4096
"""Fresh packed sequences that are kept for reuse."""


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


def examples(codec: Codec, config: DataConfig, split: Split, shard: int) -> Iterator[tuple[int, TrainingExample]]:
    """Endless (task index, example) pairs of one shard."""
    rng = Random(f"{split}/{config.seed}/{shard}")
    names = config.tasks or TASK_NAMES
    shares = [config.weights.get(name, 1.0) / TRACES_PER_PROBLEM.get(name, 1) for name in names]
    tuned = {name: task(name, settings) for name, settings in config.settings.items()}
    while True:
        name = rng.choices(names, shares)[0]
        kind = TASK_NAMES.index(name)
        tasks = EASIER_TASKS if rng.random() < config.easier_share else TASKS
        problem = {**tasks, **tuned}[name].generate(split, rng.getrandbits(48), 0)
        for _ in range(TRACES_PER_PROBLEM.get(name, 1)):
            trace = write(problem, rng)
            if trace is not None:
                question = reword(problem, rng) if rng.random() < config.reworded_share else problem.text
                yield kind, _written(question, trace, codec, config, rng)


def _written(question: str, trace: Demonstration, codec: Codec, config: DataConfig, rng: Random) -> TrainingExample:
    """The example of a trace, in the form that the config asks for."""
    if config.form is Form.PARALLEL:
        return encode(question, trace, codec.tokenizer, codec.vocabulary)
    text = plain_text(trace)
    if rng.random() < config.tagged_share:
        text = response_text(trace) if rng.random() < 0.5 else without_a_tag(response_text(trace), rng)
    return encode_plain(question, text, codec.tokenizer)


def pack_examples(examples: Iterable[tuple[int, TrainingExample]], length: int, count: int) -> Iterator[PackedSequence]:
    """Pack (task index, example) pairs into exactly `count` packed sequences, each into the first one that has room.

    Examples longer than `length` are left out. At most four sequences are open at a time; the fullest one is closed
    when none has room.
    """
    unfinished: list[list[tuple[int, TrainingExample]]] = []
    space: list[int] = []
    for kind, example in examples:
        if count == 0:
            return
        size = len(example.tokens)
        if size > length:
            continue
        at = next((i for i, free in enumerate(space) if free >= size), None)
        if at is None:
            if len(unfinished) == min(4, count):
                fullest = space.index(min(space))
                yield packed_sequence(unfinished.pop(fullest), length)
                space.pop(fullest)
                count -= 1
                if count == 0:
                    return
                if len(unfinished) == count:
                    continue
            unfinished.append([])
            space.append(length)
            at = len(unfinished) - 1
        unfinished[at].append((kind, example))
        space[at] -= size


class Shards(Dataset[list[PackedSequence]]):
    """Shards by number, without an end."""

    def __init__(self, tokenizer: Path, config: DataConfig, split: Split) -> None:
        self._tokenizer = tokenizer
        self._config = config
        self._split = split
        self._codec: Codec | None = None  # loaded in the worker: a tokenizer is not worth sending

    def __getitem__(self, shard: int) -> list[PackedSequence]:
        config = self._config
        if self._codec is None:
            self._codec = Codec.load(self._tokenizer)
        source = examples(self._codec, config, self._split, shard)
        return list(pack_examples(source, config.sequence_length, config.sequences_per_shard))


class _From(torch.utils.data.Sampler[int]):
    def __init__(self, first: int) -> None:
        self._first = first

    def __iter__(self) -> Iterator[int]:
        return count(self._first)


def packed_sequences(tokenizer: Path, config: DataConfig, position: int) -> Iterator[PackedSequence]:
    """The stream of packed sequences to train on, from number `position` on.

    Every number that is a multiple of `reuse` is fresh; each of the others repeats one of the latest `REPLAYED` fresh
    ones, drawn by its number alone.
    """
    past = -(-position // config.reuse)  # fresh ones before this position
    first = (max(0, past - REPLAYED) if config.reuse > 1 else past) // config.sequences_per_shard
    loader = DataLoader(
        Shards(tokenizer, config, Split.TRAIN),
        batch_size=None,
        sampler=_From(first),
        num_workers=config.workers,
        prefetch_factor=3 if config.workers else None,
        multiprocessing_context="spawn" if config.workers else None,
    )
    fresh = (sequence for shard in loader for sequence in shard)
    latest = deque(islice(fresh, past - first * config.sequences_per_shard), maxlen=REPLAYED)
    for number in count(position):
        if number % config.reuse == 0:
            latest.append(next(fresh))
            yield latest[-1]
        else:
            yield latest[Random(f"{config.seed}/{number}").randrange(len(latest))]


def held_out_sequences(tokenizer: Path, config: DataConfig, size: int) -> list[PackedSequence]:
    """Held-out problems at full difficulty, in the original wording and equal shares, for the loss by task."""
    plain = replace(config, easier_share=0.0, reworded_share=0.0, weights={})
    return list(pack_examples(examples(Codec.load(tokenizer), plain, Split.HELD_OUT, 0), config.sequence_length, size))


def tokenizer_texts(samples: int, seed: int) -> Iterator[str]:
    """Questions in both wordings and responses of `samples` training problems per task."""
    rng = Random(f"tokenizer/{seed}")
    for name in TASK_NAMES:
        for index in range(samples):
            tasks = EASIER_TASKS if index % 4 == 0 else TASKS
            problem = tasks[name].generate(Split.TRAIN, seed, index)
            trace = write(problem, rng)
            yield from (problem.text, reword(problem, rng))
            if trace is not None:
                yield response_text(trace)
