from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from espalier.runtime.grammar import EIGHT_TAGS
from tests.runtime.local.tiny import tiny_qwen3


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that at the end no process waits for another one."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Qwen3 with a tokenizer whose ids are those of `TinyTokenizer`."""
    path = tmp_path_factory.mktemp("model")
    tiny_qwen3(0).save_pretrained(path)
    words = [tag.value for tag in EIGHT_TAGS] + ["<end>", "\n", *"0123456789", ":"]
    words += [chr(0x4E00 + token) for token in range(len(words), 64)]
    tokenizer = Tokenizer(models.WordLevel({word: token for token, word in enumerate(words)}, unk_token=words[21]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=words[8])
    wrapped.add_special_tokens({"additional_special_tokens": words[:8]})
    wrapped.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    wrapped.save_pretrained(path)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"eos_token_id": 8, "bos_token_id": None}))
    return path
