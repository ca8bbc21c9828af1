#!/usr/bin/env python
"""The embedded engine on a GPU: passes that are recorded and replayed, against kernels started one by one.

    python benchmarks/recorded_passes.py [--requests 256] [--processes 1] [--ways one-by-one recorded]

The bundled model answers training problems of eight tasks, eight responses each, all asked for at once. The engine does
so twice; the first round also loads kernels and records passes. `ms/pass` is the time over the tokens of the longest
chain of all responses: what one pass takes when it is never waited for. With several `--processes` each has an engine
of its own, with an equal share of the requests. On a CPU nothing is recorded; `recorded` then only pads passes.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from espalier.runtime.engine import Finished, FinishReason, GenerateRequest, Limits, SamplingParams
from espalier.runtime.local.engine import LocalConfig, LocalEngine
from espalier.runtime.local.model import SEEDLING
from espalier.runtime.local.pool import EnginePool
from espalier.runtime.local.scheduler import Capacity
from espalier.runtime.prompt import PromptTemplate
from espalier.training.tasks import Split, task

TASKS = (
    "chain_sum", "countdown", "fraction_simplification", "gcd", "lcm", "products", "puzzle24", "simple_equations",
)  # fmt: skip
SAMPLES = 8
ROUNDS = 2
WAYS = {"one-by-one": False, "recorded": True}


def requests(count: int, round_: int, tokenizer: Any) -> list[GenerateRequest]:
    """Equal for every way: the same problems, seeds and limits."""
    template = PromptTemplate.load(SEEDLING)
    each = -(-count // (SAMPLES * len(TASKS)))
    texts = [problem.text for name in TASKS for problem in task(name).problems(Split.TRAIN, 5, each)]
    prompts = [template.encode(tokenizer, text) for text in texts]
    numbers = range(round_ * count, (round_ + 1) * count)
    return [
        GenerateRequest(str(seed), prompts[at // SAMPLES], SamplingParams(seed=seed), limits=Limits(max_tokens=1600))
        for at, seed in enumerate(numbers)
    ]


async def finished(engine: Any, request: GenerateRequest) -> Finished:
    """The last event of a request."""
    async for event in engine.generate(request):
        if isinstance(event, Finished):
            return event
    raise RuntimeError("the engine ended without its last event")


async def run(opened: AbstractAsyncContextManager[Any], name: str, count: int) -> None:
    """A line for each round."""
    async with opened as engine:
        for round_ in range(ROUNDS):
            asked = requests(count, round_, engine.tokenizer)
            begin = time.perf_counter()
            with engine.together():
                waiting = [asyncio.create_task(finished(engine, request)) for request in asked]
                await asyncio.sleep(0)
            ends = await asyncio.gather(*waiting)
            seconds = time.perf_counter() - begin
            tokens = sum(end.usage.new_tokens for end in ends)
            longest = max(end.usage.critical_path_tokens for end in ends)
            whole = sum(end.reason is FinishReason.STOP for end in ends)
            print(
                f"{name:12}{round_ + 1:>7}{count:>10}{seconds:9.2f}{tokens / seconds:11.0f}"
                f"{1000 * seconds / longest:9.1f}{longest:9}{whole:8}",
                flush=True,
            )


def main() -> None:
    """Measure, line by line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=256, help=f"a multiple of {SAMPLES * len(TASKS)}")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--rows", type=int, default=1024, help="branches in a pass, of each process")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    if arguments.requests % (SAMPLES * len(TASKS)):
        parser.error(f"--requests must be a multiple of {SAMPLES * len(TASKS)}, got {arguments.requests}")

    place = torch.cuda.get_device_name() if arguments.device.startswith("cuda") else "CPU"
    print(f"{place}, torch {torch.__version__}, {arguments.processes} processes, {arguments.rows} rows each")
    print(
        f"{'way':12}{'round':>7}{'requests':>10}{'seconds':>9}{'tokens/s':>11}{'ms/pass':>9}{'longest':>9}{'whole':>8}"
    )
    for name in arguments.ways:
        config = LocalConfig(
            device=arguments.device,
            kv_tokens=1_572_864 // arguments.processes,
            capacity=Capacity(arguments.rows, 8192, arguments.rows),
            fixed_shapes=WAYS[name],
        )
        if arguments.processes == 1:
            asyncio.run(run(LocalEngine.load(SEEDLING, config), name, arguments.requests))
        else:
            tokenizer = PreTrainedTokenizerFast.from_pretrained(SEEDLING)
            asyncio.run(run(EnginePool(SEEDLING, tokenizer, config, arguments.processes), name, arguments.requests))


if __name__ == "__main__":
    main()
