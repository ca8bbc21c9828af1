from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import create_block_mask, create_mask

from espalier.runtime.layout import Packed, block_mask, dense_mask, layout, mask_mod, pack
from tests.budget import examples
from tests.runtime.trees import VOCABULARY, Step, place, responses, texts, visible


def lay_out(response: Step, prompt: tuple[int, ...]):
    placed = place(response, prompt)
    return placed, layout([item.token for item in placed], len(prompt), VOCABULARY)


def truth(placed) -> np.ndarray:
    return np.array([[visible(placed, i, j) for j in range(len(placed))] for i in range(len(placed))])


def flex_mask(packed: Packed) -> np.ndarray:
    return create_mask(mask_mod(packed), 1, 1, len(packed), len(packed), device="cpu")[0, 0].numpy()


@given(responses(), texts())
def test_positions_follow_the_rules(response, prompt):
    placed, found = lay_out(response, prompt)
    assert found.positions.tolist() == [item.position for item in placed]
    assert found.critical_path == max(item.position for item in placed) + 1


@given(responses(), texts())
def test_paths_name_the_steps_that_hold_each_token(response, prompt):
    placed, found = lay_out(response, prompt)
    for item, index in zip(placed, found.branch, strict=True):
        path = found.branches[index].path
        assert [number for _, number in path] == [number for _, number in item.steps]
    spans = {branch.path: (branch.start, branch.end) for branch in found.branches}
    assert len(spans) == len(found.branches)
    for path, (start, end) in spans.items():
        inside = [found.branches[branch].path[: len(path)] == path for branch in found.branch]
        assert [start <= i < end for i in range(len(found))] == inside


@settings(max_examples=examples(0.8))
@given(responses(), texts())
def test_dense_mask_and_mask_mod_are_the_brute_force_definition(response, prompt):
    placed, found = lay_out(response, prompt)
    packed = pack([found])
    expected = truth(placed)
    assert (dense_mask(packed) == expected).all()
    assert (flex_mask(packed) == expected).all()


@settings(max_examples=examples(0.3))
@given(st.lists(st.tuples(responses(1), texts()), min_size=1, max_size=3), st.integers(0, 9))
def test_packed_layouts_never_see_each_other(pairs, padding):
    both = [lay_out(*pair) for pair in pairs]
    length = sum(len(found) for _, found in both)
    packed = pack([found for _, found in both], length + padding)
    mask = dense_mask(packed)
    start = 0
    for placed, found in both:
        end = start + len(found)
        assert (mask[start:end, start:end] == truth(placed)).all()
        assert not mask[start:end, :start].any()
        assert not mask[end:, start:end].any()
        start = end
    assert mask.diagonal().all()  # no row is empty: softmax stays finite in the padding too
    assert (flex_mask(packed) == mask).all()


@settings(max_examples=examples(0.3))
@given(st.lists(st.tuples(responses(2), texts()), min_size=1, max_size=3), st.integers(0, 40), st.sampled_from([4, 16]))
def test_block_mask_covers_exactly_the_visible_pairs(pairs, padding, size):
    layouts = [lay_out(*pair)[1] for pair in pairs]
    packed = pack(layouts, sum(map(len, layouts)) + padding)
    mask = dense_mask(packed)
    found = block_mask(packed, block_size=size)
    reference = create_block_mask(mask_mod(packed), 1, 1, len(packed), len(packed), device="cpu", BLOCK_SIZE=size)
    assert found.shape == reference.shape
    full = _grid(found.full_kv_num_blocks, found.full_kv_indices)
    partial = _grid(found.kv_num_blocks, found.kv_indices)
    assert not (full & partial).any()
    for row in range(full.shape[0]):
        for column in range(full.shape[1]):
            tile = mask[row * size : (row + 1) * size, column * size : (column + 1) * size]
            assert tile.any() == bool(full[row, column] or partial[row, column]), (row, column)
            assert not full[row, column] or tile.all()


def _grid(counts: torch.Tensor, order: torch.Tensor) -> np.ndarray:
    rows = counts.shape[-1]
    grid = np.zeros((rows, rows), dtype=bool)
    for row in range(rows):
        grid[row, order[0, 0, row, : counts[0, 0, row]].numpy()] = True
    return grid


@given(responses(2), texts(), st.data())
def test_a_prefix_of_a_sequence_has_the_prefix_of_its_layout(response, prompt, data):
    placed, whole = lay_out(response, prompt)
    cut = data.draw(st.integers(len(prompt), len(placed)))
    part = layout([item.token for item in placed[:cut]], len(prompt), VOCABULARY)
    assert part.positions.tolist() == whole.positions[:cut].tolist()
    assert (dense_mask(pack([part])) == dense_mask(pack([whole]))[:cut, :cut]).all()


def test_tags_in_the_prompt_are_text():
    found = layout([0, 2, 31, 3, 1, 9], 5, VOCABULARY)
    assert found.positions.tolist() == list(range(6))
    assert len(found.branches) == 1


def test_a_row_that_is_too_short_is_refused():
    with pytest.raises(ValueError, match="3 tokens do not fit into a row of 2"):
        pack([layout([31, 32, 33], 3, VOCABULARY)], 2)


def test_metadata_grows_with_tokens_not_with_their_square():
    found = layout([31] * 30_000, 10, VOCABULARY)
    packed = pack([found])
    arrays = [packed.positions, packed.document, packed.hidden_from, packed.hidden_until]
    assert sum(array.nbytes for array in arrays) <= 30_000 * 4 * 4
    assert block_mask(packed).full_kv_indices.numel() == (30_000 // 128 + 1) ** 2
