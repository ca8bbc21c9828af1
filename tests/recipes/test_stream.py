from __future__ import annotations

from dataclasses import replace

from espalier.training.data.example import TrainingExample
from recipes.seedling.settings import BaseConfig
from recipes.seedling.stream import pack_examples, packed_sequences
from tests.recipes.conftest import TOKENIZER


def test_the_stream_continues_at_any_row(tiny: BaseConfig) -> None:
    for reuse in (1, 3):
        config = replace(tiny.data, reuse=reuse)
        stream = packed_sequences(TOKENIZER, config, 0)
        whole = [next(stream).tokens.tolist() for _ in range(16)]
        for position in (0, 3, 10, 11):
            resumed = packed_sequences(TOKENIZER, config, position)
            assert [next(resumed).tokens.tolist() for _ in range(16 - position)] == whole[position:]
        assert len({tuple(row) for row in whole}) == -(-16 // reuse)


def test_every_row_is_full_of_whole_examples(some_examples: list[tuple[int, TrainingExample]]) -> None:
    rows = list(pack_examples(some_examples, 1024, 6))
    assert len(rows) == 6
    originals = {example.tokens.tobytes() for _, example in some_examples}
    for row in rows:
        documents = row.packed.document
        assert len(row.tokens) == len(row.trained) == len(documents) == 1024
        for number in range(int(documents.max())):
            mine = documents == number
            assert row.tokens[mine].tobytes() in originals
        padding = documents == documents.max()
        if (row.tokens[padding] == 0).all():
            assert not row.trained[padding].any()


def test_no_example_is_packed_twice(some_examples: list[tuple[int, TrainingExample]]) -> None:
    rows = list(pack_examples(some_examples, 1024, 6))
    packed = [row.tokens[row.packed.document == d].tobytes() for row in rows for d in range(row.packed.document.max())]
    assert len(set(packed)) == len(packed)


def test_an_example_longer_than_a_row_is_left_out(some_examples: list[tuple[int, TrainingExample]]) -> None:
    shortest = min((pair for pair in some_examples), key=lambda pair: len(pair[1].tokens))
    length = len(shortest[1].tokens)
    first, _ = pack_examples([*some_examples, shortest, shortest, shortest], length, 2)
    assert first.tokens.tolist() == shortest[1].tokens.tolist()
