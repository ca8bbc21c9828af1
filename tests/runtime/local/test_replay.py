"""Passes of fixed shapes."""

from __future__ import annotations

from array import array

import pytest
import torch

from espalier.runtime.local.cuda_graphs import PAGES, ROWS, CudaGraphRunner, Shape, shape_of, views
from espalier.runtime.local.scheduler import Chunk


def chunk(tokens: list[int], pages: list[int], fills: list[int]) -> Chunk:
    """A chunk that computes all tokens of a branch but the first."""
    slots = [200 + token for token in tokens]
    return Chunk([0, *tokens], [0, *(100 + t for t in tokens)], 1, slots, array("q", pages), array("q", fills))


def test_a_token_of_a_chunk_does_not_see_those_after_it():
    pages, fills = views([chunk([1], [7], [3]), chunk([2, 3, 4], [7, 8, 9], [2, 4, 1])])
    assert pages.tolist() == [[7, 0, 0], [7, 8, 9], [7, 8, 9], [7, 8, 9]]
    assert fills.tolist() == [[3, 0, 0], [2, 3, 0], [2, 4, 0], [2, 4, 1]]


@pytest.mark.parametrize(
    ("rows", "pages", "size", "shape"),
    [
        (1, 1, 16, Shape(8, 4)),
        (8, 4, 16, Shape(8, 4)),
        (9, 5, 16, Shape(16, 8)),
        (1024, 64, 16, Shape(1024, 64)),
        (1024, 65, 16, None),  # more slots than are gathered at once
        (1025, 1, 16, None),
        (1, 257, 16, None),
    ],
)
def test_the_least_shape_that_holds_a_pass_is_taken(rows, pages, size, shape):
    assert shape_of(rows, pages, size) == shape


def test_shapes_rise():
    assert list(ROWS) == sorted(set(ROWS))
    assert list(PAGES) == sorted(set(PAGES))


def test_padding_writes_to_the_scratch_page_and_sees_one_slot_of_it():
    seen = []

    def compute(parts):
        seen.append([part.tolist() for part in parts])
        return torch.arange(8.0)[:, None]

    replay = CudaGraphRunner(compute, torch.device("cpu"), page_size=4, scratch=50)
    assert replay([chunk([5, 6], [3], [2])])[1] == []
    assert replay([chunk([9], [4, 2], [4, 1])])[0].shape == (0, 1)
    first, second = seen
    assert first[2] == [205, 206, *[200] * 6]
    assert first[4] == [[3, 0, 0, 0], [3, 0, 0, 0], *[[50] * 4] * 6]
    assert first[5] == [[1, 0, 0, 0], [2, 0, 0, 0], *[[1, 0, 0, 0]] * 6]
    assert second[0] == [9, *[0] * 7]
    assert second[4] == [[4, 2, 0, 0], *[[50] * 4] * 7]


def test_a_pass_that_no_shape_holds_is_left_to_others():
    replay = CudaGraphRunner(lambda parts: pytest.fail("computed"), torch.device("cpu"), page_size=16, scratch=9)
    assert replay([chunk([1] * 1025, [1], [16])]) is None
