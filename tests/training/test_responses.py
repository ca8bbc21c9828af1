"""Supervised fine-tuning of a pretrained model on a file of one's own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from espalier.runtime.defaults import DecodingDefaults
from espalier.runtime.grammar import Vocabulary
from espalier.runtime.prompt import PromptTemplate
from espalier.training.config import ConfigError, Form, HeldOutResponsesConfig, LoraConfig, SftConfig, TrainerConfig
from espalier.training.data.responses import ResponseFileError, read_examples
from espalier.training.run.deadline import Deadline
from espalier.training.sft import fine_tune, passed_on
from tests.training.conftest import TOKENIZER
from tests.training.pretrained import ARCHITECTURES, pretrained

PARALLEL = (
    "<guideline>\n<plan>1: add</plan>\n<plan>2: count up</plan>\n</guideline>\n<step>\n1: 2+2=4</step>\n<step>\n"
    "2: 3, 4</step><takeaway>\nboth say 4</takeaway>\nThe answer is \\boxed{4}."
)

CONFIG = SftConfig(
    epochs=20,
    batch_size=2,
    trainer=TrainerConfig(sequence_length=256, learning_rate=1e-2, recompute=True),
)


def write(path: Path, *lines: Any) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(
        tmp_path / "data.jsonl",
        {"prompt": "2+2?", "response": PARALLEL},
        {"prompt": "3+1?", "response": "4"},
        {"messages": [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}]},
    )


def test_a_response_with_tags_is_laid_out_as_engines_decode_it(data: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    vocabulary = Vocabulary.of(tokenizer)
    template = PromptTemplate("Solve: {question}")
    parallel, plain, chat = read_examples(data, tokenizer, template, Form.PARALLEL)
    assert len(parallel.layout.branches) == 3
    assert parallel.layout.critical_path < len(parallel.tokens)
    prompt = template.encode(tokenizer, "2+2?")
    assert tuple(parallel.tokens[: len(prompt)]) == prompt
    untrained = parallel.tokens[len(prompt) :][~parallel.trained[len(prompt) :]].tolist()
    assert untrained == [*vocabulary.step_opening(1), *vocabulary.step_opening(2), *vocabulary.takeaway_opening()]
    for one in (parallel, plain, chat):
        assert one.tokens[-1] == tokenizer.eos_token_id
        assert one.trained[-1]
    assert len(plain.layout.branches) == 1
    assert "Solve" not in tokenizer.decode(chat.tokens)
    (sequential, *_) = read_examples(data, tokenizer, template, Form.SEQUENTIAL)
    assert sequential.tokens.tolist() == parallel.tokens.tolist()
    assert sequential.trained[len(prompt) :].all()
    assert sequential.layout.critical_path == len(sequential.tokens)


def test_steps_that_are_context_are_not_trained(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    line = {"prompt": "2+2?", "response": PARALLEL}
    path = write(tmp_path / "data.jsonl", line, line | {"untrained_steps": [2]})
    whole, some = read_examples(path, tokenizer, PromptTemplate(), Form.PARALLEL)
    hidden = tokenizer.decode(some.tokens[whole.trained & ~some.trained])
    assert hidden.endswith("</step>")
    assert PARALLEL.split("\n2:")[1].startswith(hidden)


def test_a_run_leaves_what_its_model_is_prompted_with_and_its_adapter(data: Path, tmp_path: Path) -> None:
    source = pretrained(tmp_path / "source", "qwen2")
    PromptTemplate("Solve: {question}", {"enable_thinking": False}).save(source)
    DecodingDefaults(max_plans=4).save(source)
    (source / "generation_config.json").write_text('{"eos_token_id": [2, 3]}')
    config = replace(CONFIG, epochs=1, trainer=replace(CONFIG.trainer, lora=LoraConfig(rank=4, alpha=8)))
    assert fine_tune(config, source, data, tmp_path / "run", lambda entry: None)
    for folder in (tmp_path / "run" / "model", tmp_path / "run" / "adapter"):
        assert PromptTemplate.load(folder) == PromptTemplate.load(source)
        assert DecodingDefaults.stored(folder) == DecodingDefaults(max_plans=4)
        assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == [2, 3]
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").exists()


@pytest.mark.parametrize(
    ("response", "form", "has_blocks"),
    [(PARALLEL, Form.PARALLEL, True), (PARALLEL, Form.SEQUENTIAL, False), ("4", Form.PARALLEL, False)],
)
def test_only_a_model_that_is_trained_on_blocks_is_decoded_as_the_one_before(
    response: str, form: Form, has_blocks: bool, tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    data = write(tmp_path / "data.jsonl", {"prompt": "2+2?", "response": response}, {"prompt": "1?", "response": "1"})
    examples = read_examples(data, tokenizer, PromptTemplate(), form)
    assert passed_on(tmp_path, examples) is None
    DecodingDefaults(constrained=True).save(tmp_path)
    assert passed_on(tmp_path, examples) == (DecodingDefaults(constrained=True) if has_blocks else None)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"prompt": "a", "response": PARALLEL, "untrained_steps": [3]}, "untrained_steps: 3 is no step"),
        ({"prompt": "a", "response": "b", "extra": 1}, "unknown field 'extra'"),
        ({"prompt": "a"}, r'data.jsonl:2: write \{"prompt": "…", "response": "…"\}'),
        ({"messages": [{"role": "user", "content": "a"}]}, r"data.jsonl:2: write .* whose last message is the assist"),
        (
            {"prompt": "a", "response": PARALLEL.replace("</takeaway>", "")},
            r"data.jsonl:2: the response breaks the grammar: unfinished",
        ),
        ([1], r"data.jsonl:2: write"),
    ],
)
def test_a_line_that_cannot_be_trained_on_is_named(tmp_path: Path, line: Any, said: str) -> None:
    path = write(tmp_path / "data.jsonl", {"prompt": "a", "response": "b"}, line)
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    with pytest.raises(ResponseFileError, match=said):
        read_examples(path, tokenizer, PromptTemplate(), Form.PARALLEL)


def test_a_file_that_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    with pytest.raises(ResponseFileError, match=r"none.jsonl: No such file"):
        read_examples(tmp_path / "none.jsonl", tokenizer, PromptTemplate(), Form.PARALLEL)
    with pytest.raises(ResponseFileError, match=r"empty.jsonl: there is no response in it"):
        read_examples(write(tmp_path / "empty.jsonl"), tokenizer, PromptTemplate(), Form.PARALLEL)


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=4, alpha=8)], ids=["all weights", "lora"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_pretrained_model_learns_the_file_and_is_exported(
    architecture: str, lora: LoraConfig | None, data: Path, tmp_path: Path
) -> None:
    source = pretrained(tmp_path / "source", architecture)
    config = replace(CONFIG, trainer=replace(CONFIG.trainer, lora=lora))
    assert fine_tune(config, source, data, tmp_path / "run", lambda entry: None)
    entries = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    prompt = PromptTemplate().encode(tokenizer, "3+1?")
    with torch.no_grad():
        logits = model(torch.tensor([prompt])).logits[0, -1]
        before = AutoModelForCausalLM.from_pretrained(source)(torch.tensor([prompt])).logits[0, -1]
    answer = tokenizer.convert_tokens_to_ids("4")
    assert logits.log_softmax(-1)[answer] > before.log_softmax(-1)[answer] + 0.2
    assert [entry["step"] for entry in entries if "loss" in entry]


def test_a_run_in_parts_equals_an_uninterrupted_one(data: Path, tmp_path: Path) -> None:
    source = pretrained(tmp_path / "source", "qwen2")
    config = replace(CONFIG, epochs=6, trainer=replace(CONFIG.trainer, lora=LoraConfig(rank=2)))
    assert fine_tune(config, source, data, tmp_path / "whole", lambda entry: None)
    parts = 0
    while not fine_tune(
        config, source, data, tmp_path / "parts", lambda entry: None, deadline=Deadline.after(0), resume=True
    ):
        parts += 1
    assert parts > 1
    one, two = (AutoModelForCausalLM.from_pretrained(tmp_path / name / "model") for name in ("whole", "parts"))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_responses_that_fit_no_sequence_are_left_out_and_told(data: Path, tmp_path: Path) -> None:
    source = pretrained(tmp_path / "source", "qwen2")
    told: list[dict[str, Any]] = []
    short = replace(CONFIG, epochs=1, trainer=replace(CONFIG.trainer, sequence_length=40))
    assert fine_tune(short, source, data, tmp_path / "run", told.append)
    assert told[0]["note"].startswith("1 of 3 responses are longer than trainer.sequence_length 40 and left out")
    with pytest.raises(ResponseFileError, match="3 of 3 responses are longer"):
        shorter = replace(short, trainer=replace(short.trainer, sequence_length=8))
        fine_tune(shorter, source, data, tmp_path / "other", told.append)


def test_the_loss_on_held_out_responses_is_measured_on_the_way(data: Path, tmp_path: Path) -> None:
    source = pretrained(tmp_path / "source", "qwen2")
    held_out = tmp_path / "held-out.jsonl"
    held_out.write_text('{"prompt": "5+5?", "response": "10"}\n')
    config = replace(CONFIG, held_out=HeldOutResponsesConfig(str(held_out), every=2))
    assert fine_tune(config, source, data, tmp_path / "run", lambda entry: None)
    entries = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    measured = {entry["step"]: entry["held_out"]["responses"] for entry in entries if "held_out" in entry}
    last = entries[-1]["step"]
    assert list(measured) == sorted({*range(0, last + 1, 2), last})
    assert measured[0] != measured[last]
    with pytest.raises(ConfigError, match="every goes with file"):
        HeldOutResponsesConfig(every=2)
