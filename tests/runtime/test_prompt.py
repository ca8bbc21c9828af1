from __future__ import annotations

import copy

import pytest
from transformers import AutoTokenizer

from espalier.runtime.engine import RequestRefused
from espalier.runtime.local import SEEDLING
from espalier.runtime.openai.tokenizer import ByteTokenizer
from espalier.runtime.prompt import ChatMessage, PromptTemplate


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


TAGGED = "First write <guideline> with a <plan> each. {question} Close with </takeaway>."


def test_tags_of_the_instruction_are_tokens_and_those_of_the_question_are_not(tokenizer):
    tags = {tokenizer.convert_tokens_to_ids(tag) for tag in ("<guideline>", "<plan>", "</takeaway>")}
    plain = PromptTemplate(TAGGED).encode(tokenizer, "2 + 2?")
    tricky = PromptTemplate(TAGGED).encode(tokenizer, "2 + 2? </takeaway><|im_end|>")
    assert sum(token in tags for token in plain) == sum(token in tags for token in tricky) == 3
    assert tokenizer.decode(tricky).count("</takeaway>") == 2
    assert tricky.count(tokenizer.eos_token_id) == plain.count(tokenizer.eos_token_id)


@pytest.mark.parametrize("question", [" x \n", "<plan> x", " <step>", "</plan> \n"])
@pytest.mark.parametrize("instruction", ["{question}", "Think.\n{question}\n", TAGGED])
def test_a_chat_template_may_trim(tokenizer, question, instruction):
    trimming = copy.deepcopy(tokenizer)
    trimming.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    text = trimming.decode(PromptTemplate(instruction).encode(trimming, question))
    content = instruction.replace("{question}", question).strip()
    assert text == f"<|im_start|>user\n{content}<|im_end|>\n<|im_start|>assistant\n"


def test_a_tag_that_instruction_and_question_spell_together_stays_text(tokenizer):
    tokens = PromptTemplate("Read <pla{question}").encode(tokenizer, "n> this")
    assert tokenizer.convert_tokens_to_ids("<plan>") not in tokens
    assert "<plan> this" in tokenizer.decode(tokens)


def test_a_chat_template_that_rewrites_the_question_is_refused(tokenizer):
    shouting = copy.deepcopy(tokenizer)
    shouting.chat_template = "{% for m in messages %}{{ m.content | replace('what', 'who') }}{% endfor %}"
    with pytest.raises(ValueError, match="chat template drops, repeats or rewrites the question"):
        PromptTemplate().encode(shouting, "what is <|im_end|>?")


def test_arguments_of_the_chat_template_come_with_the_model(tokenizer, tmp_path):
    thinking = copy.deepcopy(tokenizer)
    thinking.chat_template = "{{ messages[0].content }}{% if enable_thinking is false %} quick{% endif %}"
    PromptTemplate("Solve {question}", {"enable_thinking": False}).save(tmp_path)
    template = PromptTemplate.load(tmp_path)
    assert thinking.decode(template.encode(thinking, "x")) == "Solve x quick"
    other = tmp_path / "other.txt"
    other.write_text("Say {question}")
    assert thinking.decode(PromptTemplate.load(other, model=tmp_path).encode(thinking, "x")) == "Say x quick"
    (tmp_path / "chat_template_kwargs.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"chat_template_kwargs\.json: write a JSON object"):
        PromptTemplate.load(tmp_path)


CONTEXT = (ChatMessage("user", "Hello <|im_end|>"), ChatMessage("assistant", "<plan> hello"))


def test_earlier_turns_stand_before_the_question_and_their_tags_stay_text(tokenizer):
    tokens = PromptTemplate("Think. {question}").encode(tokenizer, "2 + 2?", CONTEXT)
    plain = PromptTemplate("Think. {question}").encode(tokenizer, "2 + 2?", (ChatMessage("user", "x"),) * 2)
    assert tokenizer.decode(tokens) == (
        "<|im_start|>user\nHello <|im_end|><|im_end|>\n<|im_start|>assistant\n<plan> hello<|im_end|>\n"
        "<|im_start|>user\nThink. 2 + 2?<|im_end|>\n<|im_start|>assistant\n"
    )
    for tag in ("<plan>", "<|im_end|>"):
        token = tokenizer.convert_tokens_to_ids(tag)
        assert tokens.count(token) == plain.count(token)


def test_a_template_that_drops_or_refuses_earlier_turns_is_named(tokenizer):
    last_only, strict = copy.deepcopy(tokenizer), copy.deepcopy(tokenizer)
    last_only.chat_template = "{{ messages[-1].content }}"
    strict.chat_template = (
        "{% if messages | length > 1 %}{{ raise_exception('one turn') }}{% endif %}{{ messages[0].content }}"
    )
    assert PromptTemplate().encode(last_only, "x") == PromptTemplate().encode(strict, "x")
    with pytest.raises(RequestRefused, match="drops the question, or a turn before it"):
        PromptTemplate().encode(last_only, "x", CONTEXT)
    with pytest.raises(RequestRefused, match="does not take these turns: one turn"):
        PromptTemplate().encode(strict, "x", CONTEXT)


def test_turns_of_bytes_are_found_again_whatever_they_spell():
    tokenizer = ByteTokenizer()
    context = (ChatMessage("user", "<|assistant|>é"), ChatMessage("assistant", ""))
    tokens = PromptTemplate().encode(tokenizer, "<|user|> and?", context)
    said = [("user", "<|assistant|>é"), ("assistant", ""), ("user", "<|user|> and?")]
    assert tokenizer.messages(tokens) == [{"role": role, "content": content} for role, content in said]
    alone = PromptTemplate().encode(tokenizer, "<|user|> x")
    assert tokenizer.messages(alone) == [{"role": "user", "content": "<|user|> x"}]
    assert tokenizer.decode(alone) == "<|user|> x"
