"""A run of two processes is the run of one."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, Qwen3ForCausalLM

from espalier.runtime.engine import Finished
from espalier.runtime.local import LocalConfig, LocalEngine
from espalier.training import rejection_sampling as beta
from espalier.training.config import (
    BetaConfig,
    Form,
    LoraConfig,
    OptimizerName,
    ProblemsConfig,
    RlConfig,
    Schedule,
    SftConfig,
    TrainerConfig,
)
from espalier.training.rejection_sampling import SAMPLES
from espalier.training.rl.reward import Reward, RolloutStatus, reward
from espalier.training.rl.rollout import Collector
from espalier.training.run.checkpoint import restore
from espalier.training.run.deadline import Deadline
from espalier.training.run.distributed import ALONE
from espalier.training.sft import fine_tune
from espalier.training.trainer import Trainer
from recipes.seedling.stream import Codec
from tests.runtime.sglang_client.fake import FakeSglang
from tests.training import test_rl
from tests.training.pretrained import pretrained
from tests.training.ranks import Ranks
from tests.training.test_reward import GOOD
from tests.training.test_rl import CONFIG, _by_parity, _train, model_folder, network

__all__ = ["model_folder", "network"]

pytestmark = pytest.mark.slow

WORKER = """
import sys
from pathlib import Path
from unittest import mock
import torch
torch.set_num_threads(1)
from espalier.training.run.distributed import training_group
from espalier.training.run.torchrun import leave
from tests.training import test_processes, test_rl
by_parity = mock.patch.object(test_rl, "_by_parity", test_processes.without_the_last_problem)
with training_group("cpu") as group, by_parity:
    config = test_processes.config_of_two("ahead" in sys.argv)
    test_rl._train(config, Path(sys.argv[1]), Path(sys.argv[2]), group=group)
leave()
"""

CONFIG_OF_TWO = replace(CONFIG, steps=2, trainer=replace(CONFIG.trainer, learning_rate=1e-4))


def config_of_two(ahead: bool) -> RlConfig:
    """The same with batches that are sampled ahead, or without."""
    objective = replace(CONFIG.objective, max_importance_weight=2.0 if ahead else 0.0)
    return replace(CONFIG_OF_TWO, rollout=replace(CONFIG.rollout, ahead=ahead), objective=objective)


def without_the_last_problem(self: Collector, last: Finished, *rest: Any) -> Reward:
    """In the second batch, of problems 2 and 3, the second process has nothing to train on."""
    if last.request_id.startswith("rollout-1/3/"):
        return reward(RolloutStatus.VERIFIER_ERROR)
    return _by_parity(self, last, *rest)


@pytest.mark.parametrize("ahead", [False, True])
def test_two_processes_take_the_steps_of_one(ranks: Ranks, model_folder: Path, ahead: bool, tmp_path: Path) -> None:
    ranks.run(WORKER, model_folder, tmp_path / "two", *["ahead"] * ahead)
    with mock.patch.object(test_rl, "_by_parity", without_the_last_problem):
        one = _train(config_of_two(ahead), model_folder, tmp_path / "one")
    two = [json.loads(line) for line in (tmp_path / "two" / "metrics.jsonl").open()]
    assert len(one) == len(two) == 2
    assert (
        [entry["dropped_too_few_valid"] for entry in one] == [entry["dropped_too_few_valid"] for entry in two] == [0, 1]
    )
    for alone, together in zip(one, two, strict=True):
        for name in ("loss", "grad_norm", "reward_std", "reward", "trained_tokens", "entropy"):
            assert together[name] == pytest.approx(alone[name], rel=1e-4, abs=1e-6), name
    weights, expected = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("two", "one"))
    for name in expected:
        # bfloat16, and Adam's first steps are the signs of gradients, noise included
        close = (weights[name].float() - expected[name].float()).abs() < 1e-3
        assert close.float().mean() > 0.99, name
    Qwen3ForCausalLM.from_pretrained(tmp_path / "two" / "model")


async def test_two_processes_share_servers_of_sglang(ranks: Ranks, model_folder: Path, tmp_path: Path) -> None:
    """One process updates the servers, and every one of them knows which weights its rollouts are made by."""
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    network = Qwen3ForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    engine = LocalEngine.serve(network, tokenizer, LocalConfig(device="cpu", kv_tokens=1 << 14))
    fake = FakeSglang(engine, model=str(model_folder), says_version=None)
    async with fake.engine, fake.serving():
        setting = "sglang://" + fake.url.removeprefix("http://")
        (tmp_path / "setting").write_text(setting)
        await asyncio.to_thread(ranks.run, SERVED, model_folder, tmp_path / "two")
    entries = [json.loads(line) for line in (tmp_path / "two" / "metrics.jsonl").open()]
    assert [entry["step"] for entry in entries] == [1, 2]
    assert fake.weight_version == "3", "before the first step and behind every one"


SERVED = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
torch.set_num_threads(1)
from espalier.training.config import ServiceConfig
from espalier.training.run.distributed import training_group
from espalier.training.run.torchrun import leave
from tests.training import test_processes, test_rl
service = ServiceConfig(engine=(Path(sys.argv[2]).parent / "setting").read_text())
trainer = replace(test_rl.CONFIG.trainer, learning_rate=1e-5)
config = replace(test_processes.CONFIG_OF_TWO, service=service, trainer=trainer)
with training_group("cpu") as group:
    test_rl._train(config, Path(sys.argv[1]), Path(sys.argv[2]), group=group)
leave()
"""

SUPERVISED = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from espalier.training.run.deadline import Deadline
from espalier.training.run.distributed import training_group
from espalier.training import rejection_sampling as beta
from espalier.training.run.torchrun import leave
from tests.training.test_processes import BETA
with training_group("cpu") as group:
    assert group.size == 2
    assert beta.train(BETA, Path(sys.argv[1]), Path(sys.argv[2]), Deadline(), lambda entry: None, group)
leave()
"""

BETA = BetaConfig(
    seed=1,
    form=Form.PARALLEL,
    problems=ProblemsConfig(1, tasks={"gcd": 1.0}),
    count=2,
    max_tokens=64,
    epochs=4,
    batch_size=2,
    checkpoint_every=2,
    trainer=TrainerConfig(
        sequence_length=128,
        learning_rate=1e-3,
        optimizer=OptimizerName.MUON,
        muon_learning_rate=1e-3,
        weight_decay=0.1,
        schedule=Schedule.LINEAR,
        decay_share=0.5,
    ),
)


def test_two_processes_fine_tune_as_one_does(ranks: Ranks, model_folder: Path, codec: Codec, tmp_path: Path) -> None:
    """Matrices under Muon, and all of them on what was kept before. A run of one goes on from their checkpoint."""
    texts = [GOOD.replace("x", word) for word in ("one", "two three", "four", "five")]
    ids = [codec.tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    line = {"problems": BETA.count, "kept": [["0", [5, 6, 7], tokens] for tokens in ids]}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / SAMPLES).write_text(json.dumps(line) + "\n")
    with mock.patch.object(beta, "collector_for", side_effect=AssertionError("all is sampled")):
        assert beta.train(BETA, model_folder, tmp_path / "one", Deadline(), lambda entry: None)
    ranks.run(SUPERVISED, model_folder, tmp_path / "two")
    one, two = ([json.loads(text) for text in (tmp_path / name / "metrics.jsonl").open()] for name in ("one", "two"))
    assert [entry["step"] for entry in one] == [entry["step"] for entry in two]
    losses, others = ([entry["loss"] for entry in entries if "loss" in entry] for entries in (one, two))
    assert len(losses) > 1
    assert others == pytest.approx(losses, abs=2e-4)
    weights, expected = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("two", "one"))
    for name in expected:
        close = (weights[name].float() - expected[name].float()).abs() < 1e-3
        assert close.float().mean() > 0.99, name
    network = Qwen3ForCausalLM.from_pretrained(tmp_path / "one" / "model")
    trainer = Trainer.of(network, None, BETA.trainer, ALONE)
    assert restore(tmp_path / "two" / "checkpoint", network, trainer.optimizers).step == one[-1]["step"]


def test_samples_without_a_good_one_are_named_again_when_the_run_is_begun_again(
    model_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / SAMPLES).write_text(json.dumps({"problems": BETA.count, "kept": []}) + "\n")
    with pytest.raises(beta.NothingKeptError, match="of 16 samples none is correct and well-formed"):
        beta.train(BETA, model_folder, tmp_path / "run", Deadline(), lambda entry: None)


ADAPTED = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from espalier.training.run.distributed import training_group
from espalier.training.run.torchrun import leave
from espalier.training.sft import fine_tune
from tests.training.test_processes import ADAPTER
initial, out = map(Path, sys.argv[1:])
with training_group("cpu") as group:
    assert group.size == 2
    assert fine_tune(ADAPTER, initial, initial / "data.jsonl", out, lambda entry: None, group=group)
leave()
"""

ADAPTER = SftConfig(
    epochs=4,
    batch_size=2,
    checkpoint_every=1,
    trainer=TrainerConfig(sequence_length=64, learning_rate=1e-3, recompute=True, lora=LoraConfig(rank=2)),
)


@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
def test_two_processes_train_the_adapter_of_one(ranks: Ranks, architecture: str, tmp_path: Path) -> None:
    """Tied and untied embeddings, sharded under FSDP2; both leave the same model, and an adapter."""
    source = pretrained(tmp_path / "source", architecture)
    lines = [{"prompt": f"{i}+1?", "response": str(i + 1) * 20} for i in range(4)]
    (source / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert fine_tune(ADAPTER, source, source / "data.jsonl", tmp_path / "one", lambda entry: None)
    ranks.run(ADAPTED, source, tmp_path / "two")
    one, two = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two"))
    before = load_file(source / "model.safetensors")
    assert one.keys() == two.keys() == before.keys()
    for name in one:
        assert ((one[name].float() - two[name].float()).abs() < 4e-3).float().mean() > 0.99, name
    assert any((one[name] != before[name].bfloat16()).any() for name in one)
    adapters = [load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in ("one", "two")]
    assert adapters[0].keys() == adapters[1].keys()
