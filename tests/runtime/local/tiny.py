"""Tiny random models and a tokenizer of the grammar's ids alone."""

from __future__ import annotations

from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from espalier.runtime.grammar import EIGHT_TAGS


class TinyTokenizer:
    """Ids 0..7 are the tags, 8 the end of turn, 9 the newline, 10..19 digits, 20 the colon; the rest is text."""

    eos_token_id = 8
    vocab_size = 64

    def __len__(self) -> int:
        return self.vocab_size

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        for index, tag in enumerate(EIGHT_TAGS):
            if text == tag.value:
                return [index]
        return [9 if c == "\n" else 20 if c == ":" else 10 + int(c) for c in text]

    def convert_tokens_to_ids(self, tokens: str) -> int | None:
        return None


SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 2048,
    "initializer_range": 0.3,
}


def tiny_qwen3(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return Qwen3ForCausalLM(Qwen3Config(**SIZES)).eval()


def tiny_llama(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(**SIZES)).eval()
