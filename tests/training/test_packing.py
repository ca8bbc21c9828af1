from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.training.data.example import TrainingExample
from espalier.training.data.packing import bins, pack_examples


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


@given(st.lists(st.integers(1, 50)), st.integers(50, 80))
def test_every_item_is_in_one_bin_and_no_bin_overflows_or_could_be_merged(sizes: list[int], capacity: int) -> None:
    found = bins(sizes, capacity)
    assert sorted(item for members in found for item in members) == list(range(len(sizes)))
    loads = sorted(sum(sizes[item] for item in members) for members in found)
    assert all(load <= capacity for load in loads)
    assert len(loads) < 2 or loads[0] + loads[1] > capacity


def test_an_item_larger_than_a_bin_is_named() -> None:
    with pytest.raises(ValueError, match="item 1 has 9 tokens and a packed sequence 8"):
        bins([3, 9, 4], 8)
