"""Any decoder-only architecture is trained as it computes itself, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    PhiConfig,
    PhiForCausalLM,
)

from espalier.runtime.layout import dense_mask
from espalier.training.config import ConfigError
from espalier.training.data.packing import packed_sequence
from espalier.training.export import export
from espalier.training.model import network as networks
from espalier.training.model.network import ATTENTION, check_architecture, collate, load_network, score
from tests.training.pretrained import ARCHITECTURES, pretrained
from tests.training.synthetic import forked, random_sequence

CPU = torch.device("cpu")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_branches_are_blind_to_each_other_in_every_architecture(architecture: str, tmp_path: Path) -> None:
    """Against the network's own attention under an additive mask."""
    network = load_network(pretrained(tmp_path, architecture), CPU).eval()
    row = random_sequence([forked(10, [7, 12, 5], 9), forked(6, [], 4)], 64, seed=1, vocabulary=900)
    batch = collate([row], CPU)
    with torch.no_grad():
        found = score(network, batch).logprobs
        network.set_attn_implementation("sdpa")
        seen = torch.from_numpy(dense_mask(row.packed))[None, None]
        additive = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
        logits = network(
            input_ids=batch.tokens, position_ids=batch.positions, attention_mask=additive, use_cache=False
        ).logits
    kept = batch.targets >= 0
    expected = logits.log_softmax(-1)[kept].gather(-1, batch.targets[kept][:, None])[:, 0]
    assert torch.allclose(found[kept], expected, atol=1e-5)
    assert kept.sum() > 20


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_is_exported_as_it_came(architecture: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    source = pretrained(tmp_path / "source", architecture)
    network = load_network(source, CPU)
    export(tmp_path / "out", network, AutoTokenizer.from_pretrained(source))
    before, after = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("source", "out"))
    assert after["architectures"] == before["architectures"]
    assert after["dtype"] == "bfloat16"
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    for (name, one), (other_name, other) in zip(network.named_parameters(), again.named_parameters(), strict=True):
        assert name == other_name
        assert torch.equal(one.bfloat16(), other)


SMALL = {
    "vocab_size": 101,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
    "pad_token_id": 0,
}

REFUSED = {
    "capped logits and sliding windows": (Gemma2ForCausalLM, Gemma2Config, {"head_dim": 8}, "layers of kind sliding"),
    "scaled logits (Cohere)": (CohereForCausalLM, CohereConfig, {"logit_scale": 0.5}, "differs from the trainer's by"),
    "scaled logits (Granite)": (GraniteForCausalLM, GraniteConfig, {"logits_scaling": 4.0}, "differs from the trainer"),
    "a bias of the output layer": (PhiForCausalLM, PhiConfig, {}, "differs from the trainer's by"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_trainer_would_compute_otherwise_is_refused(case: str) -> None:
    kind, config, settings, said = REFUSED[case]
    torch.manual_seed(0)
    network = kind(config(**SMALL, **settings))
    if case.startswith("a bias"):
        torch.nn.init.normal_(network.lm_head.bias)
    network.set_attn_implementation(ATTENTION)
    with pytest.raises(ConfigError, match=said):
        check_architecture(network)


def test_an_attention_that_sees_everything_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What happened to all architectures whose masks did not reach the attention."""
    from transformers import AttentionInterface

    def sees_everything(module, query, key, value, _mask, *, scaling, **_):  # type: ignore[no-untyped-def]
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        return ((query @ key.mT * scaling).softmax(-1) @ value).transpose(1, 2), None

    AttentionInterface.register("espalier_test_everything", sees_everything)
    monkeypatch.setattr(networks, "ATTENTION", "espalier_test_everything")
    with pytest.raises(ConfigError, match=r"its own forward pass differs from the trainer's by"):
        load_network(pretrained(tmp_path, "llama"), CPU)


def test_a_sliding_window_is_refused_by_name(tmp_path: Path) -> None:
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    MistralForCausalLM(MistralConfig(**SMALL, sliding_window=16)).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="MistralForCausalLM has a sliding window of 16 tokens"):
        load_network(tmp_path, CPU)


def test_a_row_of_padding_trains_nothing() -> None:
    assert not np.any(packed_sequence([], 16).trained)
