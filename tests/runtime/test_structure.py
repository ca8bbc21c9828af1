from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.runtime.grammar import Tag
from espalier.runtime.structure import read
from tests.runtime.trees import VOCABULARY, place, responses, texts

CASES = [json.loads(line) for line in (Path(__file__).parent / "grammar_cases.jsonl").read_text().splitlines()]
WORDS = {
    "G": Tag.GUIDELINE,
    "/G": Tag.END_GUIDELINE,
    "P": Tag.PLAN,
    "/P": Tag.END_PLAN,
    "S": Tag.STEP,
    "/S": Tag.END_STEP,
    "T": Tag.TAKEAWAY,
    "/T": Tag.END_TAKEAWAY,
    "EOT": Tag.END_OF_TURN,
}


def tokens(text: str) -> list[int]:
    """One token per word; `n` is the newline, `n2:` the label of step 2."""
    found: list[int] = []
    for word in text.split():
        if word in WORDS:
            found.append(VOCABULARY.id_of(WORDS[word]))
        elif word == "n":
            found += VOCABULARY.newline
        elif word[0] == "n":
            found += VOCABULARY.labels[int(word[1]) - 1]
        else:
            found.append(31 + ord(word) - ord("a"))
    return found


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_faults_are_named_with_their_place(case):
    response = read(tokens(case["text"]), 0, VOCABULARY)
    assert [[fault.kind.value, fault.at] for fault in response.faults] == case["faults"]
    assert response.well_formed == (not case["faults"])


@given(responses(), texts())
def test_every_tree_is_well_formed_and_read_back(response, prompt):
    placed = place(response, prompt)
    found = read([item.token for item in placed], len(prompt), VOCABULARY)
    assert found.well_formed, found.faults
    outer = [block for block in found.blocks if block.depth == 0]
    assert [len(block.steps) for block in outer] == [len(block.plans) for block, _ in response.blocks]
    assert [tuple(map(len, block.plans)) for block in outer] == [
        tuple(map(len, block.plans)) for block, _ in response.blocks
    ]
    answer = [item.token for item in placed][found.answer.start : found.answer.end]
    assert tuple(answer) == response.blocks[-1][1]


@given(st.lists(st.integers(0, 34), max_size=60), st.integers(0, 5))
def test_any_tokens_can_be_read(junk, prompt_length):
    response = read(junk, min(prompt_length, len(junk)), VOCABULARY)
    assert all(0 <= fault.at <= len(junk) for fault in response.faults)


@given(responses(1), texts(), st.data())
def test_a_cut_response_is_unfinished_or_ends_in_text(response, prompt, data):
    placed = place(response, prompt)
    cut = data.draw(st.integers(len(prompt), len(placed) - 1))
    found = read([item.token for item in placed[:cut]], len(prompt), VOCABULARY)
    assert [fault.kind.value for fault in found.faults] == ["unfinished"]
