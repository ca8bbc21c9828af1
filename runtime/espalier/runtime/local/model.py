"""The model: loading it, and running one forward pass over packed tokens."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from espalier.runtime.engine import EngineError
from espalier.runtime.local import attention
from espalier.runtime.local.batch import Int64Array, pack, padded
from espalier.runtime.local.cuda_graphs import Compute
from espalier.runtime.local.scheduler import Chunk

BACKENDS = (SDPBackend.EFFICIENT_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.MATH)
"""Of attention. Not cuDNN's: it makes a plan for every new shape, and nearly every pass is one; some it fails on."""

SEEDLING = Path(__file__).parent.parent / "seedling"
"""The bundled model."""


_REFUSED = {"attn_logit_softcapping": None, "final_logit_softcapping": None, "logit_scale": 1.0, "logits_scaling": 1.0}
"""Settings that change logits or scores behind the engine's back, with the value at which they do nothing."""


class ModelError(EngineError):
    """The model cannot be loaded or is of a kind that the engine does not serve."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A causal language model with rotary positions, set up for paged attention."""

    module: Any
    tokenizer: Any
    name: str

    @property
    def config(self) -> Any:
        return self.module.config

    @property
    def head_dim(self) -> int:
        config = self.config
        return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)

    @property
    def end_of_turn(self) -> tuple[int, ...]:
        """Ids that end a turn: the tokenizer's own, and those of the generation config or else of the config."""
        generation = getattr(self.module, "generation_config", None)
        named = getattr(generation, "eos_token_id", None)
        if named is None:
            named = getattr(self.config, "eos_token_id", None)
        ids = [self.tokenizer.eos_token_id, *(named if isinstance(named, list | tuple) else [named])]
        return tuple(dict.fromkeys(one for one in ids if one is not None))

    @property
    def heads_per_key(self) -> int:
        """Query heads that share a key-value head."""
        return int(self.config.num_attention_heads // self.config.num_key_value_heads)

    @property
    def kv_bytes_per_token(self) -> int:
        size = torch.empty((), dtype=self.module.dtype).element_size()
        return int(2 * self.config.num_hidden_layers * self.config.num_key_value_heads * self.head_dim * size)


def load_model(path: str | Path | None, device: torch.device, dtype: torch.dtype) -> LoadedModel:
    """Load weights and tokenizer.

    Args:
        path: A directory, a name that `transformers` can resolve, or None for the bundled seedling.
        device: Where it runs.
        dtype: Of weights and computation.

    Raises:
        ModelError: Nothing is there, the files are broken, or the architecture is not supported.
    """
    source = SEEDLING if path is None else path
    if Path(source).is_absolute() or str(source).startswith(".") or os.sep in str(source):
        _require_model_files(Path(source))
    try:
        config = AutoConfig.from_pretrained(source)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"no model at {source}: {_first_line(error)}") from error
    require_supported(config, source)
    try:
        loaded = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, attn_implementation=attention.NAME)
        tokenizer = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"the model files at {source} cannot be loaded: {_first_line(error)}") from error
    module: Any = loaded
    return LoadedModel(module.to(device).eval(), tokenizer, str(source))


def adopt_model(module: Any, tokenizer: Any, name: str = "in memory") -> LoadedModel:
    """Serve a model that is already in memory. It keeps its weights: training it changes what is served.

    Raises:
        ModelError: The architecture is not supported.
    """
    require_supported(module.config, name)
    module.set_attn_implementation(attention.NAME)
    return LoadedModel(module, tokenizer, name)


def forward(model: LoadedModel, cache: attention.KVCache, chunks: Sequence[Chunk]) -> tuple[torch.Tensor, list[Chunk]]:
    """Compute keys, values and logits of one pass.

    Args:
        model: The model.
        cache: Where keys and values go.
        chunks: What to compute; C of them want a token.

    Returns:
        (C, vocabulary) logits behind the last token of each chunk that wants one, and those chunks in the same order.
    """
    ordered = sorted(chunks, key=len)
    alike = [list(same) for _, same in groupby(ordered, key=len)]
    packed = pack(ordered)
    count = len(packed.last)
    last = packed.last if count else np.zeros(1, np.int64)
    numbers = [packed.tokens, packed.positions, packed.slots, last]
    for same in alike:
        numbers += [padded([chunk.pages for chunk in same]), padded([chunk.fills for chunk in same])]
    tokens, positions, slots, kept, *tables = _transfer(numbers, model.module.device)
    groups: list[attention.ChunkGroup] = []
    start = 0
    with torch.inference_mode():
        for same, pages, fills in zip(alike, tables[::2], tables[1::2], strict=True):
            new = len(same[0])
            stop = start + new * len(same)
            groups.append(attention.group(pages, fills, new, slice(start, stop), cache, model.heads_per_key))
            start = stop
        plan = attention.Pass(slots, tuple(groups))
        logits = _logits(model, cache, tokens, positions, kept, plan)
    return logits[:count], [chunk for chunk in ordered if chunk.wanted is not None]


def fixed_pass(model: LoadedModel, cache: attention.KVCache) -> Compute:
    """The pass over rows of one token, as a function of tensors alone (:mod:`espalier.runtime.local.cuda_graphs`)."""

    def compute(parts: tuple[torch.Tensor, ...]) -> torch.Tensor:
        tokens, positions, slots, kept, pages, fills = parts
        with torch.inference_mode():
            rows = attention.group(pages, fills, 1, slice(0, len(tokens)), cache, model.heads_per_key)
            return _logits(model, cache, tokens, positions, kept, attention.Pass(slots, (rows,)))

    return compute


def _logits(
    model: LoadedModel,
    cache: attention.KVCache,
    tokens: torch.Tensor,
    positions: torch.Tensor,
    kept: torch.Tensor,
    plan: attention.Pass,
) -> torch.Tensor:
    """(K, vocabulary) logits behind the packed tokens `kept`, (K,)."""
    with sdpa_kernel(list(BACKENDS)):
        output = model.module(
            input_ids=tokens[None],
            position_ids=positions[None],
            use_cache=False,
            logits_to_keep=kept,
            memory=cache,
            plan=plan,
        )
    logits: torch.Tensor = output.logits[0]
    return logits


def _transfer(arrays: Sequence[Int64Array], device: torch.device) -> list[torch.Tensor]:
    """The arrays on the device. They travel in one piece: each copy would make the host wait."""
    pieces = torch.from_numpy(np.concatenate([numbers.ravel() for numbers in arrays])).to(device)
    sizes = [numbers.size for numbers in arrays]
    return [piece.view(numbers.shape) for piece, numbers in zip(torch.split(pieces, sizes), arrays, strict=True)]


def _require_model_files(path: Path) -> None:
    if not path.is_dir():
        raise ModelError(f"no model directory at {path}")
    if not (path / "config.json").is_file():
        raise ModelError(f"{path} holds no config.json: not a model directory")
    if not any(path.glob("*.safetensors")):
        raise ModelError(f"{path} holds no *.safetensors weights")


def require_supported(config: Any, source: object) -> None:
    """Refuse what the engine would compute differently from the model, by name.

    Raises:
        ModelError: The architecture is not supported; the message names what it has or lacks.
    """
    kind = getattr(config, "model_type", "unknown")
    lacks = [
        name for name in ("num_hidden_layers", "num_key_value_heads", "rope_parameters") if not hasattr(config, name)
    ]
    if lacks:
        raise ModelError(
            f"{source} is a {kind!r} model without {', '.join(lacks)}: only rotary causal models are served"
        )
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    if layers != {"full_attention"}:
        kinds = ", ".join(sorted(layers - {"full_attention"}))
        raise ModelError(f"{source} ({kind}) has {kinds} layers; only full attention is served")
    window = getattr(config, "sliding_window", None)
    if window is not None and window < config.max_position_embeddings:
        raise ModelError(
            f"{source} ({kind}) has a sliding window of {window} tokens; only full attention is served. Where it "
            "is used below that length, set sliding_window to null in its config.json"
        )
    strange = [name for name, neutral in _REFUSED.items() if getattr(config, name, neutral) not in (None, neutral)]
    if strange:
        values = ", ".join(f"{name} = {getattr(config, name)}" for name in strange)
        raise ModelError(f"{source} ({kind}) has {values}; only plain logits and attention scores are served")


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
