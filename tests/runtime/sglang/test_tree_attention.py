"""Which rows share what, and attention that reads it once: grouping, PyTorch, Triton's interpreter, and a server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from espalier.runtime.sglang.plugin import compat
from espalier.runtime.sglang.plugin.tree_attention import mirror
from espalier.runtime.sglang.plugin.tree_attention.backend import TreeAttention, tree_attention
from espalier.runtime.sglang.plugin.tree_attention.forest import MAX_DEPTH, group
from tests.runtime.local.tiny import tiny_qwen3
from tests.runtime.sglang.forests import dense, random_rows, relative
from tests.runtime.sglang.requests import CHECKED, IDS, VOCABULARY, cases, check, generate
from tests.runtime.sglang.scripts import follow_scripts, length
from tests.runtime.sglang.server import Server

TREES = {"ESPALIER_TREE_ATTENTION": "1"}
SAVED = "TEST_SAVED"
"""Names the file to which a server writes how many tokens a step it did not read again."""


@pytest.mark.parametrize("block_rows", [2, 8])
@pytest.mark.parametrize("min_saved", [1, 40])
def test_every_token_of_every_row_is_read_once_and_from_its_own_slot(block_rows, min_saved):
    shared = 0
    for seed in range(210):
        rows = random_rows(seed, longest=20)
        count = len(rows.slots)
        forest = group(rows.chains, block_rows=block_rows, min_saved=min_saved, max_segments=count)
        assert sorted(forest.order) == list(range(count))
        assert len(forest.segments) <= count
        read: list[list[int]] = [[] for _ in range(count)]
        depth = [0] * count
        for index, each in enumerate(forest.segments):
            assert 1 <= each.count <= block_rows
            assert each.parent < index
            members = forest.order[each.first : each.first + each.count]
            for row in members:  # the first member's slots stand for all
                assert len(read[row]) == each.start
                read[row] += rows.slots[members[0]][each.start : each.stop]
                depth[row] += 1
        for row, slots in enumerate(rows.slots):
            assert forest.own_start[row] == len(read[row]) < len(slots)
            assert read[row] + slots[forest.own_start[row] :] == slots
        assert max(depth) <= MAX_DEPTH
        shared += forest.saved
    assert shared > 10_000


def test_the_last_segment_of_a_row_leads_through_all_its_segments():
    for seed in range(50):
        rows = random_rows(seed)
        forest = group(rows.chains, block_rows=3, min_saved=1, max_segments=len(rows.slots))
        for row, deepest in enumerate(forest.last):
            last, lengths = deepest, []
            while last >= 0:
                lengths.append((forest.segments[last].start, forest.segments[last].stop))
                last = forest.segments[last].parent
            lengths.reverse()
            assert [start for start, _ in lengths] == [0, *(stop for _, stop in lengths[:-1])][: len(lengths)]
            assert forest.own_start[row] == (lengths[-1][1] if lengths else 0)


def test_what_saves_little_or_has_no_room_is_read_row_by_row():
    chains = [(("prompt", 100),)] * 4 + [(("other", 10),)] * 2
    assert [each.stop for each in group(chains, block_rows=8, min_saved=50, max_segments=6).segments] == [100]
    assert not group(chains, block_rows=8, min_saved=1, max_segments=0).segments


@pytest.mark.parametrize(("heads", "kv_heads"), [(8, 2), (7, 1), (2, 2)])
def test_pytorch_over_a_forest_is_attention_row_by_row(heads, kv_heads):
    for seed in range(40):
        torch.manual_seed(seed)
        rows = random_rows(seed, longest=20)
        forest = group(rows.chains, block_rows=4, min_saved=1, max_segments=len(rows.slots))
        k, v = torch.randn(2, 50_000, kv_heads, 8)
        q = torch.randn(len(rows.slots), heads, 8)
        lengths = [len(row) for row in rows.slots]

        def slots(row, start, stop, rows=rows):
            return torch.tensor(rows.slots[row][start:stop])

        out = mirror.attend(q, k, v, forest, lengths, slots, 8**-0.5)
        assert max(relative(out, dense(q, k, v, rows.slots, 8**-0.5))) < 1e-5


def test_kernels_fill_every_output_with_attention_row_by_row():
    """Through the hooks of the back end; keys that no row has and outputs are NaN before."""
    command = [sys.executable, "-m", "tests.runtime.sglang.interpreted", *"01236"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["seed"] for each in told] == [0, 1, 2, 3, 6]
    assert all(each["error"] < 1e-5 and each["stock"] == 0 for each in told), told
    assert sum(each["segments"] for each in told) > 10


def counting() -> None:
    """In the server: follow scripts, and write down what each step saves."""
    follow_scripts()
    attend = mirror.attend

    def counted(q, k, v, forest, *rest):
        with Path(os.environ[SAVED]).open("a") as file:
            print(forest.saved, file=file)
        return attend(q, k, v, forest, *rest)

    mirror.attend = counted


@pytest.mark.parametrize("scarce", [False, True], ids=["plenty", "scarce"])
def test_a_server_that_reads_prefixes_once_equals_the_dense_pass(model, tmp_path, scarce):
    """With scarce memory branches are retracted, parked in host memory, and come back to other slots."""
    requests = cases(11, 24)
    largest = max(len(case.prompt) + length(case.script, VOCABULARY) for case in requests)
    flags = {"max_total_tokens": largest + 8, "max_running_requests": 6} if scarce else {}
    environment = IDS | CHECKED | TREES | {SAVED: str(tmp_path / "saved")}
    answers = Server(model, flags, environment, counting).run(lambda engine: generate(engine, requests))
    module = tiny_qwen3(0)
    assert sum(check(module, case, answer) for case, answer in zip(requests, answers, strict=True)) > 1000
    saved = [int(line) for line in (tmp_path / "saved").read_text().split()]
    assert len(saved) > 20
    assert sum(saved) > 1000


def test_a_switch_turns_it_off_and_an_unknown_sglang_keeps_its_kernels(caplog):
    assert isinstance(tree_attention({}, []), TreeAttention)
    assert tree_attention({"ESPALIER_TREE_ATTENTION": "0"}, []) is None
    assert tree_attention({}, ["decode_attention_fwd takes (q), expected (q, k)"]) is None
    assert "tree attention is off: decode_attention_fwd takes (q)" in caplog.text


def test_this_sglang_is_as_the_table_says():
    assert list(compat.disagreements(compat.installed(), compat.ATTENTION_SIGNATURES)) == []
