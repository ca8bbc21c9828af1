from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from espalier.runtime.grammar import EIGHT_TAGS, Vocabulary
from recipes.seedling.tokenizer import END, SPECIAL, prompt_text
from tests.training.conftest import TOKENIZER

FAST = AutoTokenizer.from_pretrained(TOKENIZER)


def ids(text: str) -> list[int]:
    return FAST.encode(text, add_special_tokens=False)


@given(st.text())
def test_any_text_survives_a_round_trip(text: str) -> None:
    assert FAST.decode(ids(text), skip_special_tokens=False) == text


def test_every_special_token_is_one_token_and_the_end_of_turn_ends_a_sequence() -> None:
    assert all(len(ids(token)) == 1 for token in SPECIAL)
    assert FAST.eos_token == END
    assert set(Vocabulary.of(FAST).tags) >= {ids(tag.value)[0] for tag in EIGHT_TAGS}


@given(st.integers(1, 16), st.text(alphabet="ab 19:;,+-*/=().\n"))
def test_forced_openings_are_the_same_tokens_wherever_they_stand(number: int, tail: str) -> None:
    vocabulary = Vocabulary.of(FAST)
    step = f"\n<step>\n{number}:"
    if not tail[:1].isdigit():
        assert tuple(ids(f"</guideline>{step} {tail}")[1:][: len(ids(step))]) == vocabulary.step_opening(number)
    assert tuple(ids(f"</step><takeaway>\n{tail}")[1:3]) == vocabulary.takeaway_opening()


@given(st.integers(0, 10**12))
def test_digits_are_single_tokens(number: int) -> None:
    assert len(ids(str(number))) == len(str(number))


@given(st.text())
def test_the_chat_template_writes_the_prompt_the_model_was_trained_on(question: str) -> None:
    messages = [{"role": "user", "content": question}]
    assert FAST.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == prompt_text(question)
