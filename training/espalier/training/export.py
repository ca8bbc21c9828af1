"""What a run leaves: a model directory as `transformers` reads it, and an adapter as `peft` reads it."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from espalier.runtime.defaults import DECODING_FILE, DecodingDefaults
from espalier.runtime.prompt import CHAT_TEMPLATE_KWARGS_FILE, INSTRUCTION_FILE
from espalier.training.config import ConfigError
from espalier.training.model.weights import full_weights, has_adapter, is_adapter, plain_name, save_adapter
from espalier.training.run.distributed import ALONE, TrainingGroup

SHARD_SIZE = "5GB"


def exported(network: Any) -> Any:
    """A network of the plain architecture in bfloat16, without weights: what an export fills and writes.

    Raises:
        ConfigError: `transformers` makes other parameters of the config than the network has.
    """
    config = copy.deepcopy(network.config)
    config.use_cache = True
    with torch.device("meta"):
        plain: Any = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)  # type: ignore[no-untyped-call]
    here = {plain_name(name): p.shape for name, p in network.named_parameters() if not is_adapter(name)}
    there = {name: p.shape for name, p in plain.named_parameters()}
    if here != there:
        strange = sorted(set(here.items()) ^ set(there.items()))[0][0]
        raise ConfigError(f"{type(network).__name__} cannot be exported: {strange} is not what its config says")
    return plain


KEPT_FILES = (INSTRUCTION_FILE, CHAT_TEMPLATE_KWARGS_FILE, "generation_config.json")
"""What a model is prompted with and where it ends a turn: the same from stage to stage."""


def finish(
    out: Path,
    network: Any,
    tokenizer: Any,
    initial: Path | None,
    decoding: DecodingDefaults | None,
    group: TrainingGroup = ALONE,
) -> None:
    """Write what a run leaves: the model to `out/model`, and its adapter, if it has one, to `out/adapter`.

    Instruction text, arguments of the chat template and generation config of the model in `initial` go along with both,
    and so does `decoding`. All processes must call it.
    """
    if has_adapter(network):
        save_adapter(network, out / "adapter", str(initial))
    export(out / "model", network, tokenizer, group)
    if not group.is_main:
        return
    for folder in filter(Path.is_dir, (out / "model", out / "adapter")):
        if initial is not None:
            for name in KEPT_FILES:
                if (initial / name).is_file():
                    shutil.copyfile(initial / name, folder / name)
        (folder / DECODING_FILE).unlink(missing_ok=True)  # of an earlier run
        if decoding is not None:
            decoding.save(folder)


def export(
    folder: Path,
    network: Any,
    tokenizer: Any,
    group: TrainingGroup = ALONE,
) -> None:
    """Write weights (bfloat16, adapters merged), config and tokenizer as `AutoModelForCausalLM` reads them.

    All processes must call it, before the network is sharded or after.
    """
    weights = full_weights(network)
    if not group.is_main:
        for _ in weights:  # gathering takes everyone
            pass
        return
    plain = exported(network)
    plain.load_state_dict({name: weight.cpu() for name, weight in weights}, strict=False, assign=True)
    plain.tie_weights()
    plain.save_pretrained(folder, max_shard_size=SHARD_SIZE)
    save_tokenizer(tokenizer, folder)


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write the tokenizer's files, chat template included, as `AutoTokenizer` reads them."""
    tokenizer.save_pretrained(folder, save_jinja_files=False)
