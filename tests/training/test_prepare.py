"""Pretrained models of several architectures, prepared; all tiny and random, with real tokenizers."""

from __future__ import annotations

import json

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from typer.testing import CliRunner

from espalier.runtime.defaults import DecodingDefaults
from espalier.runtime.engine import EngineError
from espalier.runtime.grammar import EIGHT_TAGS, Tag, Vocabulary
from espalier.runtime.prompt import PromptTemplate
from espalier.training.model.cli import app
from espalier.training.model.prepare import INSTRUCTION, PrepareError, apply, check, prepare, tie

SIZES = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "eos_token_id": 257,
    "bos_token_id": None,
    "pad_token_id": None,
}
KINDS = {
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
    "llama": (LlamaConfig, LlamaForCausalLM),
    "mistral": (MistralConfig, MistralForCausalLM),
}


def byte_tokenizer(fillers: int = 0) -> PreTrainedTokenizerFast:
    """Every byte a token (0 to 255), two special tokens, and names for rows that nothing uses."""
    vocabulary = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocabulary |= {"<|endoftext|>": 256, "<|im_end|>": 257}
    vocabulary |= {f"[PAD{258 + number}]": 258 + number for number in range(fillers)}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")  # noqa: S106
    fast.chat_template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    return fast


def source(folder, kind="qwen2", rows=300, tied=True, fillers=0, template=True, **settings):
    """A model directory as a hub would give it."""
    config, network = KINDS[kind]
    torch.manual_seed(0)
    shape = {**SIZES, "vocab_size": rows, "tie_word_embeddings": tied}
    if kind == "mistral":
        shape["sliding_window"] = None
    model = network(config(**{**shape, **settings}))
    model.save_pretrained(folder)
    tokenizer = byte_tokenizer(fillers)
    if not template:
        tokenizer.chat_template = None
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_any_architecture_gets_its_tags_and_stays_the_same_function(tmp_path, kind, tied):
    made = prepare(str(source(tmp_path / "in", kind, tied=tied)), tmp_path / "out")
    assert made.tags == tuple(range(258, 266))
    assert made.unused_rows
    before = AutoModelForCausalLM.from_pretrained(tmp_path / "in", dtype=torch.bfloat16)
    after = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.bfloat16)
    assert after.config.tie_word_embeddings is tied
    ids = torch.arange(40, 60)[None]
    assert torch.equal(before(ids).logits[..., :258], after(ids).logits[..., :258])


@pytest.mark.parametrize("tied", [True, False])
def test_a_tag_starts_as_the_mean_of_what_it_was_split_into(tmp_path, tied):
    made = prepare(str(source(tmp_path / "in", tied=tied)), tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.bfloat16)
    pieces = byte_tokenizer().encode("</step>", add_special_tokens=False)
    row = made.tags[EIGHT_TAGS.index(Tag.END_STEP)]
    for table in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
        assert torch.allclose(table[row].float(), table[pieces].float().mean(0), atol=2e-3)
    rows = model.get_input_embeddings().weight[list(made.tags)]
    assert len({tuple(row.tolist()) for row in rows}) == 8  # an opening and its closing begin apart


def test_one_table_that_was_quantised_twice_is_tied_again_and_two_tables_are_not(tmp_path):
    folder = source(tmp_path / "in", tied=False)
    for noise, tied in ((0.02, True), (3.0, False)):
        model = AutoModelForCausalLM.from_pretrained(folder)
        table, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        with torch.no_grad():
            table.copy_(head + noise * head.std() * torch.randn_like(head))
        kept = head.clone()
        tie(model)
        assert model.config.tie_word_embeddings is tied
        assert (model.get_input_embeddings().weight is model.get_output_embeddings().weight) is tied
        assert torch.equal(model.get_output_embeddings().weight, kept)


def test_rows_are_appended_where_none_is_unused(tmp_path):
    made = prepare(str(source(tmp_path / "in", rows=258, tied=False)), tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert (made.unused_rows, made.tags[-1]) == (False, 265)
    assert model.get_output_embeddings().weight.shape[0] == model.config.vocab_size == 266


def test_named_but_unused_rows_become_the_tags(tmp_path):
    made = prepare(str(source(tmp_path / "in", rows=300, fillers=42)), tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert made.tags == tuple(range(258, 266))
    assert len(tokenizer) == 266
    assert "[PAD260]" not in tokenizer.get_vocab()


def test_a_prepared_model_prompts_with_its_instruction_and_ends_where_its_template_does(tmp_path):
    folder = source(tmp_path / "in", eos_token_id=256)  # the model's config names another end than its template
    made = prepare(str(folder), tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(made.out)
    template = PromptTemplate.load(made.out)
    assert template.instruction == INSTRUCTION
    assert set(made.tags) <= set(template.encode(tokenizer, "2 + 2?"))
    assert tokenizer.eos_token_id == 257
    assert json.loads((made.out / "generation_config.json").read_text())["eos_token_id"] == [257, 256]


def test_a_model_without_a_chat_template_gets_one_and_a_thinking_one_is_asked_not_to(tmp_path):
    prepare(str(source(tmp_path / "plain", template=False)), tmp_path / "one")
    text = AutoTokenizer.from_pretrained(tmp_path / "one").apply_chat_template(
        [{"role": "user", "content": "x"}], tokenize=False, add_generation_prompt=True
    )
    assert text == "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n"
    folder = source(tmp_path / "thinking")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template += "{% if enable_thinking is false %}<none>{% endif %}"
    tokenizer.save_pretrained(folder)
    prepare(str(folder), tmp_path / "two")
    assert PromptTemplate.load(tmp_path / "two").chat_template_kwargs == {"enable_thinking": False}


def test_what_is_not_served_is_refused_by_name(tmp_path):
    windowed = source(tmp_path / "a", "mistral", sliding_window=64)
    with pytest.raises(EngineError, match=r"mistral.*sliding window of 64 tokens"):
        prepare(str(windowed), tmp_path / "out")
    torch.manual_seed(0)
    capped = Gemma2ForCausalLM(Gemma2Config(**SIZES, vocab_size=300))
    capped.save_pretrained(tmp_path / "b")
    byte_tokenizer().save_pretrained(tmp_path / "b")
    with pytest.raises(EngineError, match=r"gemma2.*(sliding|softcapping)"):
        prepare(str(tmp_path / "b"), tmp_path / "out")
    for missing in ("./nowhere", "/nowhere/model.gguf"):
        with pytest.raises(PrepareError, match="nowhere"):
            prepare(missing, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_check_compares_with_transformers_and_says_by_how_much_it_misses(tmp_path, monkeypatch):
    made = prepare(str(source(tmp_path / "in", "llama")), tmp_path / "out")
    vocabulary, difference = check(made.out)
    assert 0 < difference < 1e-4
    assert vocabulary == Vocabulary.of(AutoTokenizer.from_pretrained(made.out), end_of_turn=[257])
    monkeypatch.setattr("espalier.training.model.prepare.MAX_LOGPROB_DIFF", difference / 2)
    with pytest.raises(PrepareError, match=r"differ from those of transformers by up to .*llama"):
        check(made.out)


def test_an_adapter_makes_the_whole_model(tmp_path):
    from peft import LoraConfig, get_peft_model

    folder = source(tmp_path / "in", "qwen2")
    base = prepare(str(folder), tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(base.out, dtype=torch.float32)
    tuned = get_peft_model(
        model, LoraConfig(r=2, target_modules=["q_proj"], trainable_token_indices={"embed_tokens": list(base.tags)})
    )
    with torch.no_grad():
        for parameter in (one for one in tuned.parameters() if one.requires_grad):
            parameter.add_(0.05)
    ids = torch.tensor([[40, 41, *base.tags]])
    expected = tuned(ids).logits
    tuned.save_pretrained(tmp_path / "adapter")
    PromptTemplate("Say {question}").save(tmp_path / "adapter")
    DecodingDefaults(constrained=True, max_plans=4).save(tmp_path / "adapter")
    assert DecodingDefaults.stored(base.out) is None
    ran = CliRunner().invoke(
        app, ["apply", str(tmp_path / "adapter"), "--base", str(folder), "--out", str(tmp_path / "whole")]
    )
    assert ran.exit_code == 0, ran.output
    assert "next:" in ran.output
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "whole", dtype=torch.float32)
    untouched = AutoModelForCausalLM.from_pretrained(base.out, dtype=torch.float32)
    assert (whole(ids).logits - expected).abs().max() < 0.1  # the whole model is stored in bfloat16
    assert (untouched(ids).logits - expected).abs().max() > 1.0
    assert PromptTemplate.load(tmp_path / "whole") == PromptTemplate("Say {question}")
    assert DecodingDefaults.stored(tmp_path / "whole") == DecodingDefaults(constrained=True, max_plans=4)
    twice = apply([tmp_path / "adapter", tmp_path / "adapter"], str(folder), tmp_path / "twice")
    q_proj = [
        AutoModelForCausalLM.from_pretrained(one).model.layers[0].self_attn.q_proj.weight.float()
        for one in (base.out, tmp_path / "whole", twice.out)
    ]
    assert torch.allclose(q_proj[2] - q_proj[1], q_proj[1] - q_proj[0], atol=0.01)


def test_a_folder_that_holds_a_model_is_not_written_over(tmp_path):
    folder = source(tmp_path / "in")
    ran = CliRunner().invoke(app, ["prepare", str(folder), "--out", str(folder)])
    assert ran.exit_code == 2
    assert "holds a model already" in ran.output
