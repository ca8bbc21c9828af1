"""Small random models of the architectures that users bring, with a real tokenizer that knows the tags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tests.training.conftest import TOKENIZER

SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "initializer_range": 0.1,
    "bos_token_id": None,
}

ARCHITECTURES = {
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, {"tie_word_embeddings": True}),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {"tie_word_embeddings": True}),
    "llama": (LlamaForCausalLM, LlamaConfig, {"tie_word_embeddings": False}),
    "mistral": (MistralForCausalLM, MistralConfig, {"tie_word_embeddings": False, "sliding_window": None}),
}


def pretrained(folder: Path, architecture: str, seed: int = 0, **settings: Any) -> Path:
    """A model directory of this architecture."""
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    kind, config, own = ARCHITECTURES[architecture]
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    torch.manual_seed(seed)
    kind(config(vocab_size=len(tokenizer), **SHAPE, **ids, **own, **settings)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
