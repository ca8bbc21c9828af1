"""LoRA: what is trained, what engines get, what is stored."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from espalier.runtime.grammar import EIGHT_TAGS
from espalier.training.config import ConfigError, LoraConfig, TrainerConfig
from espalier.training.export import export
from espalier.training.model.logprobs import Scores
from espalier.training.model.network import MicroBatch, collate, load_network, score
from espalier.training.model.weights import full_weights, save_adapter
from espalier.training.run.checkpoint import Progress, restore, save
from espalier.training.run.distributed import ALONE
from espalier.training.trainer import Trainer
from tests.training.conftest import TOKENIZER
from tests.training.pretrained import ARCHITECTURES, pretrained
from tests.training.synthetic import forked, random_sequence

CPU = torch.device("cpu")
CONFIG = TrainerConfig(sequence_length=64, learning_rate=1e-2, recompute=True, lora=LoraConfig(rank=2, alpha=4))


TAGS = [AutoTokenizer.from_pretrained(TOKENIZER).convert_tokens_to_ids(tag.value) for tag in EIGHT_TAGS]


def batches() -> list[MicroBatch]:
    row = random_sequence([forked(10, [7, 12, 5], 9), forked(6, [], 4)], 64, seed=1, vocabulary=900)
    row.tokens[10:18] = TAGS
    return [collate([row], CPU)]


def loss(_: MicroBatch, scores: Scores, tokens: int) -> torch.Tensor:
    return -scores.logprobs.sum() / tokens


def trained(folder: Path, out: Path, config: TrainerConfig = CONFIG, steps: int = 3) -> tuple[Trainer, Any]:
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    trainer = Trainer.of(load_network(folder, CPU), tokenizer, config, ALONE)
    for number in range(steps):
        trainer.step(batches(), loss, number, 0.0, out)
    return trainer, tokenizer


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_only_factors_and_the_rows_of_the_tags_change(architecture: str, tmp_path: Path) -> None:
    source = pretrained(tmp_path / "source", architecture)
    before = dict(load_network(source, CPU).named_parameters())
    trainer, _ = trained(source, tmp_path)
    after = dict(full_weights(trainer.network, torch.float32))
    assert after.keys() == before.keys(), "names of the plain architecture"
    for name, weight in before.items():
        changed = (after[name] != weight).flatten(1).any(1) if weight.ndim == 2 else after[name] != weight
        if "embed_tokens" in name or "lm_head" in name:
            assert set(changed.nonzero().flatten().tolist()) <= set(TAGS), name
            assert changed.any(), name
        else:
            assert changed.any() == ("_proj.weight" in name), name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_merged_weights_score_as_the_adapter_does(architecture: str, tmp_path: Path) -> None:
    source = pretrained(tmp_path / "source", architecture)
    trainer, tokenizer = trained(source, tmp_path)
    (batch,) = batches()
    with torch.no_grad():
        expected = score(trainer.network, batch).logprobs
        plain = load_network(source, CPU)
        plain.load_state_dict(dict(full_weights(trainer.network, torch.float32)), strict=False)
        assert torch.allclose(score(plain, batch).logprobs, expected, atol=1e-5)
        assert not torch.allclose(score(load_network(source, CPU), batch).logprobs, expected, atol=1e-3)
    export(tmp_path / "out", trainer.network, tokenizer)
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert exported.state_dict().keys() == AutoModelForCausalLM.from_pretrained(source).state_dict().keys()


def test_an_exported_adapter_is_one_for_peft(tmp_path: Path) -> None:
    source = pretrained(tmp_path / "source", "llama")
    trainer, _ = trained(source, tmp_path)
    save_adapter(trainer.network, tmp_path / "adapter", str(source))
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(source), tmp_path / "adapter").eval()
    merged = dict(full_weights(trainer.network, torch.float32))
    own = AutoModelForCausalLM.from_pretrained(source).eval()
    own.load_state_dict(merged)
    ids = torch.arange(5, 40)[None]
    with torch.no_grad():
        assert torch.allclose(loaded(ids).logits, own(ids).logits, atol=0.05), "bfloat16 apart"
    size = sum(path.stat().st_size for path in (tmp_path / "adapter").iterdir())
    assert size < (source / "model.safetensors").stat().st_size / 4


@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
def test_a_checkpoint_holds_the_adapter_alone_and_goes_on_bit_for_bit(architecture: str, tmp_path: Path) -> None:
    source = pretrained(tmp_path / "source", architecture)
    whole, _ = trained(source, tmp_path, steps=4)
    first, tokenizer = trained(source, tmp_path, steps=2)
    save(tmp_path / "checkpoint", first.network, first.optimizers, Progress(2))
    (shard,) = (tmp_path / "checkpoint").glob("*/*.safetensors")
    assert not any("base_layer" in name or "norm" in name for name in load_file(shard))
    second = Trainer.of(load_network(source, CPU), tokenizer, CONFIG, ALONE)
    progress = restore(tmp_path / "checkpoint", second.network, second.optimizers)
    for number in range(progress.step, 4):
        second.step(batches(), loss, number, 0.0, tmp_path)
    for one, two in zip(whole.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(one, two)


def test_an_engine_serves_the_merged_weights(tmp_path: Path) -> None:
    from espalier.runtime.local.engine import LocalConfig, LocalEngine
    from espalier.training.rl.rollout_engine import served_copy, sync_weights

    source = pretrained(tmp_path / "source", "qwen2")
    tokenizer = AutoTokenizer.from_pretrained(source)
    network = load_network(source, CPU)
    served = served_copy(network)

    async def run() -> None:
        async with LocalEngine.serve(served, tokenizer, LocalConfig(device="cpu", kv_tokens=2048)) as engine:
            trainer = Trainer.of(network, tokenizer, CONFIG, ALONE)
            trainer.step(batches(), loss, 0, 0.0, tmp_path)
            assert await sync_weights(engine, network, ALONE) == 1
            trainer.step(batches(), loss, 1, 0.0, tmp_path)
            assert await sync_weights(engine, network, ALONE) == 2
            merged = dict(full_weights(network, torch.float32))
            assert all(torch.equal(merged[name], p) for name, p in served.named_parameters())

    asyncio.run(run())


def test_targets_that_no_layer_has_are_named(tmp_path: Path) -> None:
    source = pretrained(tmp_path / "source", "qwen2")
    config = replace(CONFIG, lora=LoraConfig(targets=("query",)))
    with pytest.raises(ConfigError, match=r"trainer.lora.targets: .*query"):
        trained(source, tmp_path, config)
