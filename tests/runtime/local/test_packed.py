"""Chunks as arrays."""

from __future__ import annotations

from array import array
from typing import Any

from espalier.runtime.local.batch import pack, padded
from espalier.runtime.local.scheduler import Chunk

SOMEONE: Any = ("response", "branch")


def test_tokens_stand_one_after_the_other_and_the_last_of_those_who_want_more_are_named():
    nothing = array("q")
    chunks = [
        Chunk([9, 1], [8, 9], 1, [21], nothing, nothing, SOMEONE),
        Chunk([2, 3, 4], [5, 6, 7], 0, [31, 32, 33], nothing, nothing),
        Chunk([5, 6], [1, 2], 0, [41, 42], nothing, nothing, SOMEONE),
    ]
    packed = pack(chunks)
    assert packed.tokens.tolist() == [1, 2, 3, 4, 5, 6]
    assert packed.positions.tolist() == [9, 5, 6, 7, 1, 2]
    assert packed.slots.tolist() == [21, 31, 32, 33, 41, 42]
    assert packed.last.tolist() == [0, 5]
    assert pack(chunks[1:2]).last.tolist() == []


def test_shorter_rows_end_in_zeros():
    assert padded([array("q", [7]), array("q", [4, 5, 6])]).tolist() == [[7, 0, 0], [4, 5, 6]]
