"""The engine over OpenAI's chat completions against SGLang's own endpoint."""

from __future__ import annotations

import asyncio

import pytest

from espalier.runtime.engine import Finished, FinishReason, GenerateRequest, Limits, SamplingParams, Tokens
from espalier.runtime.openai.engine import OpenAIEngine
from espalier.runtime.prompt import PromptTemplate
from tests.runtime.sglang.server import Server

pytestmark = pytest.mark.xdist_group("http")
QUESTION = "".join(chr(0x4E00 + token) for token in range(30, 40))


@pytest.fixture(scope="module")
def address(model):
    with Server(model, {"skip_tokenizer_init": False}, {"SGLANG_PLUGINS": "none"}).serve() as address:
        yield address


async def response(engine, name, **changes):
    prompt = PromptTemplate().encode(engine.tokenizer, QUESTION)
    return [event async for event in engine.generate(GenerateRequest(name, prompt, **changes))]


async def test_a_real_server_counts_and_repeats_its_text(address):
    greedy = {"sampling": SamplingParams(temperature=0.0, seed=7), "limits": Limits(max_tokens=20)}
    async with OpenAIEngine(f"{address}/v1") as engine:
        assert engine.info.context_length < 1 << 20
        runs = await asyncio.gather(*(response(engine, str(number), **greedy) for number in range(4)))
    (first, *others) = [engine.tokenizer.decode(run[-1].rollout.tokens) for run in runs]
    assert others == [first] * 3
    last = runs[0][-1]
    assert isinstance(last, Finished)
    assert last.reason in (FinishReason.STOP, FinishReason.LENGTH)
    assert last.usage.prompt_tokens > 0
    assert 0 < last.usage.sampled_tokens <= 20


async def test_a_real_server_ends_what_is_aborted(address):
    async with OpenAIEngine(f"{address}/v1") as engine:
        prompt = PromptTemplate().encode(engine.tokenizer, QUESTION)
        request = GenerateRequest("long", prompt, SamplingParams(seed=1), limits=Limits(max_tokens=400))
        stream = engine.generate(request)
        event = await anext(stream)
        assert isinstance(event, Tokens | Finished)
        await engine.abort("long")
        *_, last = [event, *[event async for event in stream]]
        assert last.reason in (FinishReason.ABORTED, FinishReason.STOP)  # a random model may have ended by itself
