"""Text of tokens that arrive a few at a time."""

from __future__ import annotations

from pathlib import Path
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from espalier.runtime.decoding.detokenizer import Detokeniser

TOKENIZER = AutoTokenizer.from_pretrained(Path(__file__).parents[2] / "runtime/espalier/runtime/seedling")


@given(text=st.text(min_size=1), seed=st.integers(0, 99))
def test_pieces_together_are_the_text_and_hold_no_half_character(text: str, seed: int) -> None:
    tokens = TOKENIZER(text, add_special_tokens=False).input_ids
    whole = TOKENIZER.decode(tokens)
    random, detokeniser, pieces, at = Random(seed), Detokeniser(TOKENIZER), [], 0
    while at < len(tokens):
        size = random.randint(1, 5)
        pieces.append(detokeniser.feed(tokens[at : at + size]))
        at += size
    assert "".join(pieces) == whole
    assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in whole


def test_bytes_that_never_become_a_character_are_not_held_for_ever() -> None:
    half = TOKENIZER("\N{FIRE}", add_special_tokens=False).input_ids[:1]
    detokeniser = Detokeniser(TOKENIZER)
    shown = "".join(detokeniser.feed(half) for _ in range(8))
    assert shown.count("\ufffd") >= 5


def test_text_after_a_broken_character_is_shown() -> None:
    half = TOKENIZER("\N{FIRE}", add_special_tokens=False).input_ids[:1]
    detokeniser = Detokeniser(TOKENIZER)
    assert detokeniser.feed(half) == ""
    assert detokeniser.feed(TOKENIZER("ab", add_special_tokens=False).input_ids) == "\ufffdab"
