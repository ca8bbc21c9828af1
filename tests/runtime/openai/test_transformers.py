"""The engine over OpenAI's chat completions against a second real server: that of `transformers`, on the CPU."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest

from espalier.common.ports import free_port
from espalier.runtime.engine import Finished, FinishReason, GenerateRequest, Limits, SamplingParams, Tokens
from espalier.runtime.openai.engine import OpenAIConfig, OpenAIEngine
from espalier.runtime.prompt import ChatMessage, PromptTemplate

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("transformers-serve")]
SERVE = "import sys; from transformers.cli.transformers import main; sys.argv[0] = 'transformers'; main()"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of a tiny random model."""
    import torch
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    from espalier.runtime.local import SEEDLING
    from tests.runtime.local.tiny import SIZES

    folder = tmp_path_factory.mktemp("served")
    tokenizer = AutoTokenizer.from_pretrained(SEEDLING)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {**SIZES, "vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
    Qwen3ForCausalLM(Qwen3Config(**sizes)).save_pretrained(folder)
    yield from _serve(folder)


def _serve(folder: Path) -> Iterator[str]:
    with httpx.Client() as client, (folder / "log").open("w") as log:
        port = free_port()
        command = [sys.executable, "-c", SERVE, "serve", str(folder), "--device", "cpu", "--port", str(port)]
        serving = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        url = f"http://127.0.0.1:{port}/v1"
        try:
            for _ in range(600):
                assert serving.poll() is None, (folder / "log").read_text()
                try:
                    if client.get(f"{url}/models").status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                with pytest.raises(subprocess.TimeoutExpired):
                    serving.wait(0.2)
            yield url
        finally:
            serving.terminate()
            serving.wait(30)


async def response(
    engine: OpenAIEngine, name: str, context: tuple[ChatMessage, ...] = (), tokens: int = 12
) -> Finished:
    prompt = PromptTemplate().encode(engine.tokenizer, "What is 2 + 2?", context)
    request = GenerateRequest(name, prompt, SamplingParams(temperature=0.0, seed=7), limits=Limits(max_tokens=tokens))
    *_, last = [event async for event in engine.generate(request)]
    assert isinstance(last, Finished)
    return last


async def test_the_only_model_is_found_and_its_text_repeats_and_is_counted(address: str) -> None:
    async with OpenAIEngine(address) as engine:
        first, second = await asyncio.gather(response(engine, "a"), response(engine, "b"))
    assert engine.tokenizer.decode(first.rollout.tokens) == engine.tokenizer.decode(second.rollout.tokens) != ""
    assert first.reason in (FinishReason.STOP, FinishReason.LENGTH)
    assert 0 < first.usage.sampled_tokens <= 12
    assert first.usage.prompt_tokens > 0


async def test_earlier_turns_are_part_of_the_prompt(address: str) -> None:
    said = (ChatMessage("user", "Hello, are you there?"), ChatMessage("assistant", "I am. What is it?"))
    async with OpenAIEngine(address) as engine:
        alone, behind = await response(engine, "a"), await response(engine, "b", said)
    assert behind.usage.prompt_tokens > alone.usage.prompt_tokens + 10


async def test_an_abort_frees_the_server_for_the_next_request(address: str) -> None:
    async with OpenAIEngine(address, OpenAIConfig(concurrent=1)) as engine:
        prompt = PromptTemplate().encode(engine.tokenizer, "What is 2 + 2?")
        long = GenerateRequest("long", prompt, SamplingParams(seed=1), limits=Limits(max_tokens=400))
        stream = engine.generate(long)
        first = await anext(stream)
        assert isinstance(first, Tokens | Finished)
        await engine.abort("long")
        *_, last = [first, *[event async for event in stream]]
        assert isinstance(last, Finished)
        assert last.reason in (FinishReason.ABORTED, FinishReason.STOP)  # a random model may have ended by itself
        assert (await response(engine, "next")).usage.sampled_tokens > 0
