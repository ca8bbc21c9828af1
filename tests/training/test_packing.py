from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.training.data.packing import bins


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
