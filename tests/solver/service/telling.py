"""A real engine whose words a test chooses: a tiny random model, the bundled tokenizer, and a sampler with a script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

from espalier.runtime.grammar import Vocabulary
from espalier.runtime.layout import Path
from espalier.runtime.local import SEEDLING, LocalConfig, LocalEngine
from espalier.runtime.local.sampler import DefaultSampler, SamplingInput

Words = str | dict[Path, str] | None
"""What one candidate says: a text, a text for each branch, or None for random words without end."""


class TellingSampler:
    """Says what it is told, candidate by candidate.

    Args:
        tell: From the number of a candidate to its words.
    """

    def __init__(self, tokenizer: Any, tell: Callable[[int], Words]) -> None:
        self._tokenizer = tokenizer
        self._banned = [*Vocabulary.of(tokenizer).tags, tokenizer.eos_token_id]
        self._said: Counter[tuple[str, Path]] = Counter()
        self.tell = tell

    def sample(self, draws: Sequence[SamplingInput], logits: torch.Tensor) -> tuple[list[int], list[float]]:
        masked = logits.clone()
        masked[:, self._banned] = -torch.inf
        tokens, logprobs = DefaultSampler().sample(draws, masked)
        for row, draw in enumerate(draws):
            place = (draw.request_id, draw.path)
            wish = self._wish(draw, self._said[place])
            self._said[place] += 1
            if wish is not None:
                tokens[row], logprobs[row] = wish, 0.0
        return tokens, logprobs

    def _wish(self, draw: SamplingInput, said: int) -> int | None:
        number = draw.request_id.rpartition("/")[2]
        words = self.tell(int(number)) if number.isdecimal() else "ready"
        text = words.get(draw.path) if isinstance(words, dict) else words
        if text is None:
            return None
        tokens = self._tokenizer.encode(text, add_special_tokens=False)
        if not draw.path:
            tokens = [*tokens, self._tokenizer.eos_token_id]
        return tokens[said] if said < len(tokens) else None


@cache
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(SEEDLING)


@cache
def model() -> Any:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer()),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=2048,
    )
    return Qwen3ForCausalLM(config).eval()


def telling(tell: Callable[[int], Words] | Words, kv_tokens: int = 1 << 14) -> LocalEngine:
    """An engine that says what it is told: the same for every candidate, or by candidate."""
    said = tell if callable(tell) else lambda _: tell
    config = LocalConfig(device="cpu", kv_tokens=kv_tokens)
    return LocalEngine.serve(model(), tokenizer(), config, TellingSampler(tokenizer(), said))


def free_tokens(engine: LocalEngine) -> int:
    """Tokens whose memory is free."""
    return int(engine.info.details["kv_tokens_free"])
