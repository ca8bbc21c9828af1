"""Speed of the embedded engine with the bundled model, against `transformers.generate` and against itself.

    python benchmarks/engine.py [--tokens 256] [--repeats 3]

Prints two tables. The first: decoded tokens per second for 1, 4, 16 and 32 branches, and for `transformers.generate`
with a batch of 16 on the same weights. The second: the same traces decoded with fork and join and one token after the
other, against the limit that the critical path sets. Ratios matter: the machine's own speed cancels out.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LogitsProcessor, LogitsProcessorList

from espalier.runtime.engine import Finished, GenerateRequest, Limits, Mode, SamplingParams
from espalier.runtime.grammar import Tag, Vocabulary
from espalier.runtime.layout import Path
from espalier.runtime.local import SEEDLING, LocalEngine
from espalier.runtime.local.sampler import DefaultSampler, SamplingInput


class Scripted:
    """Draws every token, then puts the script's tag where it has one: equal work for every trace."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.scripts: dict[Path, Sequence[int | None]] = {}
        self.done: dict[tuple[str, Path], int] = {}

    def sample(self, inputs: Sequence[SamplingInput], logits: torch.Tensor) -> tuple[list[int], list[float]]:
        logits = logits.clone()
        logits[:, list(self.vocabulary.tags)] = -torch.inf
        tokens, logprobs = DefaultSampler().sample(inputs, logits)
        for row, draw in enumerate(inputs):
            script = self.scripts.get(draw.path, ())
            done = self.done.get((draw.request_id, draw.path), 0)
            self.done[draw.request_id, draw.path] = done + 1
            wish = script[done] if done < len(script) else None
            tokens[row] = tokens[row] if wish is None else wish
        return tokens, logprobs


class NoEnd(LogitsProcessor):  # type: ignore[misc]
    """Forbids the tags, as :class:`Scripted` does."""

    def __init__(self, banned: list[int]) -> None:
        self.banned = banned

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores[:, self.banned] = -torch.inf
        return scores


async def finish(engine: LocalEngine, request: GenerateRequest) -> Finished:
    async for event in engine.generate(request):
        if isinstance(event, Finished):
            return event
    raise AssertionError("no end")


async def decode(engine: LocalEngine, requests: list[GenerateRequest]) -> tuple[float, list[Finished]]:
    start = time.perf_counter()
    ends = await asyncio.gather(*(finish(engine, request) for request in requests))
    return time.perf_counter() - start, list(ends)


def sequential(prompt: tuple[int, ...], count: int, tokens: int, tag: str) -> list[GenerateRequest]:
    limits = Limits(max_tokens=tokens)
    return [
        GenerateRequest(f"{tag}-{i}", prompt, SamplingParams(seed=i), limits=limits, mode=Mode.SEQUENTIAL)
        for i in range(count)
    ]


def block_script(vocabulary: Vocabulary, branches: int, length: int) -> dict[Path, Sequence[int | None]]:
    tag = vocabulary.id_of
    plan = [tag(Tag.PLAN), *[None] * 12, tag(Tag.END_PLAN)]
    root = [tag(Tag.GUIDELINE), *plan * branches, tag(Tag.END_GUIDELINE), *[None] * 20, tag(Tag.END_TAKEAWAY)]
    steps: dict[Path, Sequence[int | None]] = {
        ((0, i),): [*[None] * (length - 1), tag(Tag.END_STEP)] for i in range(1, branches + 1)
    }
    return {(): [*root, *[None] * 20, tag(Tag.END_OF_TURN)], **steps}


def generate_rate(prompt: tuple[int, ...], count: int, tokens: int, banned: list[int]) -> float:
    module: Any = AutoModelForCausalLM.from_pretrained(SEEDLING, dtype=torch.float32)
    inputs = torch.tensor([prompt] * count)
    start = time.perf_counter()
    with torch.inference_mode():
        module.generate(
            inputs,
            attention_mask=torch.ones_like(inputs),
            max_new_tokens=tokens,
            do_sample=True,
            logits_processor=LogitsProcessorList([NoEnd(banned)]),
            pad_token_id=0,
        )
    return count * tokens / (time.perf_counter() - start)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=256, help="tokens per branch")
    parser.add_argument("--repeats", type=int, default=3, help="the median of so many runs is printed")
    arguments = parser.parse_args()
    engine = LocalEngine.load()
    vocabulary = Vocabulary.of(engine.tokenizer)
    sampler = Scripted(vocabulary)
    engine._sampler = sampler
    prompt = tuple(engine.tokenizer.encode("Using the numbers 19, 36, 55 and 7, make 65. " * 4))
    banned = list(vocabulary.tags)
    rates: dict[str, list[float]] = {}
    async with engine:
        await decode(engine, sequential(prompt, 2, 16, "warm"))
        for repeat in range(arguments.repeats):
            for count in (1, 4, 16, 32):
                seconds, ends = await decode(engine, sequential(prompt, count, arguments.tokens, f"{repeat}-{count}"))
                done = sum(end.usage.sampled_tokens for end in ends)
                rates.setdefault(f"espalier, {count} branches", []).append(done / seconds)
            rates.setdefault("transformers.generate, batch 16", []).append(
                generate_rate(prompt, 16, arguments.tokens, banned)
            )
        one = statistics.median(rates["espalier, 1 branches"])
        print(f"torch threads {torch.get_num_threads()}, prompt {len(prompt)} tokens, {arguments.tokens} new tokens")
        print(f"{'':34}{'tokens/s':>10}{'vs 1 branch':>13}")
        for name, values in rates.items():
            print(f"{name:34}{statistics.median(values):10.0f}{statistics.median(values) / one:12.1f}x")
        print()
        print(
            f"{'branches':>8}{'tokens':>8}{'critical':>10}{'sequential s':>14}{'parallel s':>12}{'gain':>7}{'limit':>7}"
        )
        for branches in (2, 4, 8):
            sampler.scripts = block_script(vocabulary, branches, 96)
            parallel, chain = [], []
            for repeat in range(arguments.repeats):
                request = GenerateRequest(f"fork-{branches}-{repeat}", prompt, SamplingParams(seed=1))
                seconds, ends = await decode(engine, [request])
                usage = ends[0].usage
                parallel.append(seconds)
                sampler.scripts = {}
                seconds, _ = await decode(engine, sequential(prompt, 1, usage.new_tokens, f"chain-{branches}-{repeat}"))
                chain.append(seconds)
                sampler.scripts = block_script(vocabulary, branches, 96)
            fast, slow = statistics.median(parallel), statistics.median(chain)
            limit = usage.new_tokens / usage.critical_path_tokens
            print(
                f"{branches:8}{usage.new_tokens:8}{usage.critical_path_tokens:10}{slow:14.2f}{fast:12.2f}"
                f"{slow / fast:6.2f}x{limit:6.2f}x"
            )


if __name__ == "__main__":
    asyncio.run(main())
