"""Fork/join decoding equals one dense forward pass over the linearised sequence."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest
import torch

from espalier.runtime.engine import Finished, FinishReason, GenerateRequest, Limits, Rollout, SamplingParams
from espalier.runtime.grammar import Vocabulary
from espalier.runtime.layout import layout
from espalier.runtime.local import Capacity, LocalConfig, LocalEngine
from tests.budget import FULL
from tests.runtime.dense import dense_logprobs
from tests.runtime.local.tiny import TinyTokenizer, tiny_llama, tiny_qwen3
from tests.runtime.scripted import ScriptedSampler, random_script

TOKENIZER = TinyTokenizer()
VOCABULARY = Vocabulary.of(TOKENIZER)
GREEDY = SamplingParams(temperature=0)
ROOMY = LocalConfig(device="cpu", kv_tokens=1 << 16)


def requests(seed: int, count: int, sampling: SamplingParams = GREEDY) -> tuple[list[GenerateRequest], ScriptedSampler]:
    rng = random.Random(seed)
    scripts = {f"request-{index}": random_script(rng, VOCABULARY) for index in range(count)}
    prompts = [tuple(rng.randrange(30, 64) for _ in range(rng.randint(1, 40))) for _ in range(max(1, count // 4))]
    made = [GenerateRequest(name, rng.choice(prompts), sampling, limits=Limits(max_tokens=100_000)) for name in scripts]
    return made, ScriptedSampler(VOCABULARY, scripts)


async def finish(engine: LocalEngine, request: GenerateRequest) -> Finished:
    async for event in engine.generate(request):
        if isinstance(event, Finished):
            return event
    raise AssertionError("no end")


def check(module: Any, rollout: Rollout, *, greedy: bool = True) -> int:
    """Compare a rollout with the dense pass. Returns how many tokens the model chose freely."""
    tokens = [*rollout.prompt, *rollout.tokens]
    start = len(rollout.prompt)
    found = layout(tokens, start, VOCABULARY)
    assert list(rollout.positions) == found.positions[start:].tolist()
    assert list(rollout.paths) == [found.branches[branch].path for branch in found.branch[start:]]
    logprobs = dense_logprobs(module, tokens, found)
    free = logprobs.clone()
    free[:, list(VOCABULARY.tags)] = -torch.inf
    chosen = 0
    for index, token in enumerate(rollout.tokens):
        if rollout.forced[index]:
            assert rollout.logprobs[index] == 0.0
            continue
        before = logprobs[start + index - 1]
        assert abs(float(before[token]) - rollout.logprobs[index]) < 1e-4, index
        if token not in VOCABULARY.tags:
            chosen += 1
            assert not greedy or token == int(free[start + index - 1].argmax()), index
    return chosen


async def run(module: Any, config: LocalConfig, made: list[GenerateRequest], sampler: Any) -> tuple[int, LocalEngine]:
    async with LocalEngine.serve(module, TOKENIZER, config, sampler) as engine:
        ends = await asyncio.gather(*(finish(engine, request) for request in made))
        for request, end in zip(made, ends, strict=True):
            assert end.reason is FinishReason.STOP, end
            assert end.request_id == request.request_id
        assert engine.info.details["kv_tokens_free"] == engine.info.details["kv_tokens"]
        return sum(check(module, end.rollout, greedy=request.sampling.temperature == 0) for end in ends), engine


@pytest.mark.parametrize("seed", range(3))
async def test_passes_of_fixed_shapes_equal_the_dense_pass(seed):
    """What a GPU records; here the shapes alone are tested, and where there is a GPU, the recordings."""
    made, sampler = requests(100 + seed, 25)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    config = replace(ROOMY, fixed_shapes=True, device=device, page_size=(4, 16, 64)[seed])
    chosen, engine = await run(tiny_qwen3(seed).to(device), config, made, sampler)
    assert chosen > 1000
    assert engine.info.details["replayed_passes"] > 100


@pytest.mark.parametrize("seed", range(8 if FULL else 4))
async def test_every_greedy_token_equals_the_dense_pass(seed):
    made, sampler = requests(seed, 25)
    chosen, _ = await run(tiny_qwen3(seed), ROOMY, made, sampler)
    assert chosen > 1000


async def test_sampled_tokens_carry_the_dense_log_probabilities():
    made, sampler = requests(100, 16, SamplingParams(temperature=1.0, seed=5))
    await run(tiny_qwen3(3), ROOMY, made, sampler)


async def test_the_llama_family_is_served_exactly_too():
    made, sampler = requests(200, 16)
    await run(tiny_llama(1), ROOMY, made, sampler)


@pytest.mark.parametrize("seed", range(4 if FULL else 2))
async def test_short_memory_makes_requests_wait_but_changes_nothing(seed):
    made, sampler = requests(300 + seed, 16)
    async with LocalEngine.serve(tiny_qwen3(seed), TOKENIZER, ROOMY, sampler) as engine:
        ends = await asyncio.gather(*(finish(engine, request) for request in made))
    longest = max(len(end.rollout.prompt) + len(end.rollout.tokens) for end in ends)
    made, sampler = requests(300 + seed, 16)
    tight = LocalConfig(device="cpu", kv_tokens=2 * longest, page_size=4, capacity=Capacity(rows=40, tokens=48))
    _, engine = await run(tiny_qwen3(seed), tight, made, sampler)
    assert engine.info.details["evictions"] > 0


@pytest.mark.parametrize("page_size", [1, 3, 64])
async def test_page_size_changes_nothing(page_size):
    made, sampler = requests(400, 12)
    await run(tiny_qwen3(2), LocalConfig(device="cpu", kv_tokens=1 << 16, page_size=page_size), made, sampler)


async def test_a_plain_causal_pass_would_be_wrong():
    """The comparison can fail: without the block mask the same rollouts disagree with the dense pass."""
    made, sampler = requests(500, 4)
    module = tiny_qwen3(0)
    wrong = 0
    async with LocalEngine.serve(module, TOKENIZER, ROOMY, sampler) as engine:
        for request in made:
            rollout = (await finish(engine, request)).rollout
            tokens = [*rollout.prompt, *rollout.tokens]
            causal = layout(tokens, len(tokens), VOCABULARY)
            logprobs = dense_logprobs(module, tokens, causal)
            start = len(rollout.prompt)
            for index, token in enumerate(rollout.tokens):
                if not rollout.forced[index]:
                    wrong += abs(float(logprobs[start + index - 1, token]) - rollout.logprobs[index]) > 1e-3
    assert wrong > 100
