"""The model: loading it, and running one forward pass over packed tokens."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from espalier.runtime.engine import EngineError
from espalier.runtime.local import attention
from espalier.runtime.local.scheduler import Chunk

SEEDLING = Path(__file__).parent.parent / "seedling"
"""The bundled model."""


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
    _require_supported(config, source)
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
    _require_supported(module.config, name)
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
    device = model.module.device
    ordered = sorted(chunks, key=lambda chunk: len(chunk.tokens))
    tokens = torch.tensor([token for chunk in ordered for token in chunk.tokens], device=device)
    positions = torch.tensor([position for chunk in ordered for position in chunk.positions], device=device)
    slots = torch.tensor([slot for chunk in ordered for slot in chunk.slots], device=device)
    groups: list[attention.Group] = []
    start = at = 0
    last: list[int] = []
    wanting: list[Chunk] = []
    for index, chunk in enumerate(ordered):
        at += len(chunk.tokens)
        if chunk.wanted is not None:
            last.append(at - 1)
            wanting.append(chunk)
        if index + 1 == len(ordered) or len(ordered[index + 1].tokens) != len(chunk.tokens):
            new = len(chunk.tokens)
            members = ordered[index + 1 - (at - start) // new : index + 1]
            rows = [(member.pages, member.fills) for member in members]
            groups.append(attention.group(rows, new, slice(start, at), cache.size, device))
            start = at
    with torch.inference_mode():
        output = model.module(
            input_ids=tokens[None],
            position_ids=positions[None],
            use_cache=False,
            logits_to_keep=torch.tensor(last or [0], device=device),
            memory=cache,
            plan=attention.Pass(slots, tuple(groups)),
        )
    return output.logits[0][: len(last)], wanting


def _require_model_files(path: Path) -> None:
    if not path.is_dir():
        raise ModelError(f"no model directory at {path}")
    if not (path / "config.json").is_file():
        raise ModelError(f"{path} holds no config.json: not a model directory")
    if not any(path.glob("*.safetensors")):
        raise ModelError(f"{path} holds no *.safetensors weights")


def _require_supported(config: Any, source: object) -> None:
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


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
