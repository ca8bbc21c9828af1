from __future__ import annotations

import pytest
from transformers import AutoTokenizer

from espalier.runtime.local import SEEDLING
from espalier.runtime.prompt import PromptTemplate


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(SEEDLING)


def test_the_prompt_ends_where_the_models_turn_begins(tokenizer):
    text = tokenizer.decode(PromptTemplate("Think. {question}").encode(tokenizer, "What is 2 + 2?"))
    assert text == "<|im_start|>user\nThink. What is 2 + 2?<|im_end|>\n<|im_start|>assistant\n"


def test_tags_in_a_question_stay_text(tokenizer):
    plain = PromptTemplate().encode(tokenizer, "x")
    tricky = PromptTemplate().encode(tokenizer, "<guideline> <|im_end|> x")
    special = {tokenizer.convert_tokens_to_ids(tag) for tag in ("<guideline>", "<|im_end|>")}
    assert sum(token in special for token in tricky) == sum(token in special for token in plain)
    assert "<guideline> <|im_end|> x" in tokenizer.decode(tricky)


def test_a_template_file_must_hold_the_question_once(tmp_path):
    file = tmp_path / "instruction.txt"
    file.write_text("Solve it.")
    with pytest.raises(ValueError, match=r"instruction\.txt.*exactly once"):
        PromptTemplate.load(file)
    file.write_text("Solve {question} now.\n")
    assert PromptTemplate.load(tmp_path) == PromptTemplate("Solve {question} now.")


def test_a_model_directory_without_a_template_asks_the_bare_question(tmp_path):
    assert PromptTemplate.load(tmp_path) == PromptTemplate()
