"""Engines in processes of their own are the engine in this process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from espalier.runtime.engine import EngineError, EngineUnavailable, GenerateRequest, Limits, Mode, RequestRefused
from espalier.runtime.local.engine import LocalConfig
from espalier.runtime.local.pool import EnginePool
from espalier.training.config import ConfigError, ServiceConfig
from espalier.training.rl.judged import JudgedRollout
from espalier.training.rl.reward import RolloutStatus
from espalier.training.rl.rollout import Collector
from tests.training.conftest import TOKENIZER
from tests.training.test_rl import CONFIG, _train, model_folder
from tests.training.test_rollout import SEED, collecting, network, problems

__all__ = ["model_folder", "network"]

LIMITS = Limits(max_tokens=24)


@asynccontextmanager
async def pooled(folder: Path, count: int = 2) -> AsyncIterator[tuple[EnginePool, Collector]]:
    """A collector whose engine is a pool over the model in a folder."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(TOKENIZER)
    network = Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32)
    pool = EnginePool(folder, tokenizer, LocalConfig(device="cpu", kv_tokens=4096), count)
    async with pool, collecting(network, limits=LIMITS) as collector:
        yield pool, replace(collector, engine=pool)


def _sampled(groups: list[list[JudgedRollout]]) -> list[object]:
    rollouts = [(attempt.rollout, attempt.finished.reason) for group in groups for attempt in group]
    return [(one.tokens, one.forced, one.positions, one.paths, reason) for one, reason in rollouts]


async def test_two_processes_sample_what_one_does_and_repeat_it_to_the_last_bit(model_folder: Path) -> None:
    network = Qwen3ForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    async with collecting(network, limits=LIMITS) as alone:
        expected = await alone.collect(problems(3), 3, SEED)
    async with pooled(model_folder) as (pool, collector):
        found = await collector.collect(problems(3), 3, SEED)
        again = await collector.collect(problems(3), 3, SEED)
        assert pool.info.details["processes"] == 2
        assert pool.info.context_length == network.config.max_position_embeddings
    assert _sampled(found) == _sampled(expected)
    assert [a.rollout for g in found for a in g] == [a.rollout for g in again for a in g]
    for one, other in zip([a for g in found for a in g], [a for g in expected for a in g], strict=True):
        assert one.rollout.logprobs == pytest.approx(other.rollout.logprobs, abs=1e-4)
        assert one.finished.usage == other.finished.usage


async def test_new_weights_reach_every_process_under_one_version(model_folder: Path) -> None:
    async with pooled(model_folder) as (pool, collector):
        before = await collector.collect(problems(2), 2, SEED)
        network = Qwen3ForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
        with torch.no_grad():
            network.model.norm.weight.mul_(-1.0)
        assert await pool.update_weights(dict(network.named_parameters())) == 1
        after = await collector.collect(problems(2), 2, SEED)
        assert pool.info.weight_version == 1
        with pytest.raises(EngineError, match="weights lack"):
            await pool.update_weights({"model.norm.weight": network.model.norm.weight})
        assert _sampled(await collector.collect(problems(2), 2, SEED)) == _sampled(after)
    async with collecting(network, limits=LIMITS) as alone:
        expected = await alone.collect(problems(2), 2, SEED)
    assert _sampled(after) == _sampled(expected) != _sampled(before)
    assert {a.rollout.weight_version for g in after for a in g} == {1}


async def test_a_request_that_is_refused_or_given_up_ends_no_other(model_folder: Path) -> None:
    async with pooled(model_folder) as (pool, collector):
        with pytest.raises(RequestRefused, match="prompt is empty"):
            async for _ in pool.generate(GenerateRequest("r", ())):
                pass
        endless = GenerateRequest("endless", (5, 6), limits=Limits(max_tokens=1900), mode=Mode.SEQUENTIAL)
        given_up = asyncio.create_task(_last(pool, endless))
        await asyncio.sleep(0.05)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        ((one, _),) = await collector.collect(problems(1), 2, SEED)
        assert one.status is RolloutStatus.TRUNCATED


async def _last(pool: EnginePool, request: GenerateRequest) -> None:
    async for _ in pool.generate(request):
        pass


async def test_a_process_that_ends_is_one_plain_error(model_folder: Path) -> None:
    async with pooled(model_folder) as (pool, collector):
        os.kill(pool._workers[1].process.pid or 0, signal.SIGKILL)
        with pytest.raises(EngineUnavailable, match=r"an engine's process has ended"):
            await collector.collect(problems(2), 2, SEED)


async def test_nothing_is_left_behind(model_folder: Path) -> None:
    async with pooled(model_folder) as (pool, _):
        processes = [worker.process for worker in pool._workers]
        assert all(process.is_alive() for process in processes)
    assert not any(process.is_alive() for process in processes)


_OWNER = """
import asyncio, sys
from pathlib import Path
from espalier.runtime.local.engine import LocalConfig
from espalier.runtime.local.pool import EnginePool

async def main():
    async with EnginePool(Path(sys.argv[1]), None, LocalConfig(device="cpu", kv_tokens=4096), 2) as pool:
        print(*(worker.process.pid for worker in pool._workers), flush=True)
        await asyncio.sleep(600)

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_processes_end_with_the_one_that_started_them_however_it_ends(model_folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "owner.py"
    script.write_text(_OWNER)
    command = [sys.executable, str(script), str(model_folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as owner:
        assert owner.stdout is not None
        processes = [psutil.Process(int(pid)) for pid in owner.stdout.readline().split()]
        assert len(processes) == 2
        owner.kill()
    _, alive = psutil.wait_procs(processes, timeout=60)
    assert not alive


async def test_a_model_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no model directory at"):
        async with EnginePool(tmp_path / "none", None, LocalConfig(device="cpu"), 2):
            pass


def test_a_run_that_samples_in_two_processes_takes_the_steps_of_one(model_folder: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, steps=2, trainer=replace(CONFIG.trainer, learning_rate=1e-4))
    pool = replace(config, service=ServiceConfig(processes=2))
    one, two = _train(config, model_folder, tmp_path / "one"), _train(pool, model_folder, tmp_path / "two")
    for alone, shared in zip(one, two, strict=True):
        assert shared["trained_tokens"] == alone["trained_tokens"]
        assert shared["max_logprob_diff"] < 1e-4
        for name in ("loss", "grad_norm", "reward_std", "reward", "entropy"):
            assert shared[name] == pytest.approx(alone[name], rel=1e-3, abs=1e-6), name


def test_settings_that_leave_a_process_without_a_row_are_refused() -> None:
    with pytest.raises(ConfigError, match="rows must be at least 4, one for each process, got 3"):
        ServiceConfig(processes=4, rows=3)
    with pytest.raises(ConfigError, match="processes must be at least 1"):
        ServiceConfig(processes=0)
