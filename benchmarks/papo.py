#!/usr/bin/env python
"""Where the time of a PAPO step goes: generate, verify, train, sync.

    python benchmarks/papo.py                                           # the bundled model, its tasks and verifiers
    python benchmarks/papo.py --processes 8 --prompts 16 --samples 16   # the same, sampled in eight processes
    python benchmarks/papo.py --size 4b --prompts 8 --samples 4         # Qwen3-4B's shape, random weights, on a GPU

Everything is what a run uses: the local engine, `Collector`, `Learner` and `sync_weights`. Random weights solve nothing
and write no blocks; so for the 4B shape a script puts the tags into what they say, and a coin, named so, judges it.
Verification overlaps generation: `verify s` is what it adds, from the end of the last response to the last verdict, and
`judging s` the sum over all verdicts. The first step compiles and warms up and is not printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import asdict, dataclass, replace
from itertools import count, islice
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any, Self

import torch
from transformers import PreTrainedTokenizerFast

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.engine import Scripted, block_script
from benchmarks.training import SIZES
from tests.training.synthetic import Words

from espalier.runtime.engine import Event, GenerateRequest, Limits, Mode
from espalier.runtime.grammar import Vocabulary
from espalier.runtime.local import SEEDLING
from espalier.runtime.local.engine import LocalConfig, LocalEngine
from espalier.runtime.local.pool import EnginePool
from espalier.runtime.local.sampler import Sampler
from espalier.runtime.local.scheduler import Capacity
from espalier.runtime.prompt import PromptTemplate
from espalier.training.config import TrainerConfig
from espalier.training.model.network import load_network
from espalier.training.rl.learner import Learner
from espalier.training.rl.objective import Papo
from espalier.training.rl.rollout import Collector
from espalier.training.rl.rollout_engine import served_copy, sync_weights
from espalier.training.rl.verifiers import RetryingVerifiers, RolloutVerifiers
from espalier.training.run.distributed import TrainingGroup
from espalier.training.tasks import TASKS, Split
from espalier.training.trainer import Trainer
from espalier.verifiers.check import Check, Claim
from espalier.verifiers.open import open_verifiers
from espalier.verifiers.verdict import Status, Verdict
from espalier.verifiers.verifier import VerifierInfo
from recipes.seedling.network import build

KV_TOKENS = 2**17

SCRATCH = Path(tempfile.gettempdir())
"""Where a batch that breaks a step is left."""


@dataclass(frozen=True, slots=True)
class Step:
    """Seconds of one step, and what it was about."""

    responses: int
    tokens: int
    trained_tokens: int
    generate: float
    verify: float
    judging: float
    train: float
    sync: float


class Coin:
    """A judge that does not look."""

    def __init__(self) -> None:
        self.draw = Random(0)

    async def verify(self, claim: Claim, check: Check, *, timeout: float | None = None) -> Verdict:
        passed = self.draw.random() < 0.5
        return Verdict(Status.PASS if passed else Status.FAIL, float(passed), "coin")

    async def describe(self) -> tuple[VerifierInfo, ...]:
        return ()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: Any) -> None: ...


class Watched:
    """A judge, and how long it has worked."""

    def __init__(self, judge: RolloutVerifiers) -> None:
        self.judge = judge
        self.describe = judge.describe
        self.seconds = 0.0

    async def verify(self, claim: Claim, check: Check, *, timeout: float | None = None) -> Verdict:
        start = perf_counter()
        try:
            return await self.judge.verify(claim, check, timeout=timeout)
        finally:
            self.seconds += perf_counter() - start


class Clocked:
    """An engine, and when its last response ended."""

    def __init__(self, engine: LocalEngine | EnginePool) -> None:
        self.engine = engine
        self.ended = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Event]:
        async with aclosing(self.engine.generate(request)) as events:
            async for event in events:
                self.ended = perf_counter()
                yield event


@dataclass(frozen=True, slots=True)
class Subject:
    """What is trained, how it samples, and who judges."""

    network: Any
    tokenizer: Any
    sampler: Sampler | None
    judge: RolloutVerifiers


def seedling(device: torch.device, branch: int) -> Subject:
    """The bundled model with the verifiers of this process."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(SEEDLING)
    return Subject(load_network(SEEDLING, device), tokenizer, None, open_verifiers())


def random_4b(device: torch.device, branch: int) -> Subject:
    """Qwen3-4B's shape with random float32 weights; five steps of `branch` tokens in every response."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(SEEDLING)
    shape = SIZES["4b"]
    with device:
        network = build(shape.model, Words(shape.words))
    network.config.eos_token_id = tokenizer.eos_token_id
    vocabulary = Vocabulary.of(tokenizer)
    sampler = Scripted(vocabulary)
    sampler.scripts = block_script(vocabulary, 5, branch)
    return Subject(network, tokenizer, sampler, Coin())


SUBJECTS = {"seedling": seedling, "4b": random_4b}


def shared(settings: LocalConfig, processes: int, device: torch.device) -> LocalConfig:
    """The share of one process."""
    rows = max(1, settings.capacity.rows // processes)
    capacity = replace(settings.capacity, rows=rows, requests=rows)
    return replace(settings, device=str(device), kv_tokens=KV_TOKENS // processes, capacity=capacity)


async def steps(subject: Subject, arguments: argparse.Namespace, device: torch.device) -> AsyncIterator[Step]:
    """Step after step, on fresh problems."""
    network, tokenizer, group = subject.network, subject.tokenizer, TrainingGroup(device=device)
    capacity = Capacity(rows=arguments.rows, tokens=8192, requests=arguments.rows)
    settings = LocalConfig(kv_tokens=KV_TOKENS, capacity=capacity)
    trainer = TrainerConfig(sequence_length=arguments.sequence_length, learning_rate=1e-7, recompute=True)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(subject.judge)
        local: LocalEngine | EnginePool
        if arguments.processes > 1:
            local = EnginePool(SEEDLING, tokenizer, shared(settings, arguments.processes, device), arguments.processes)
        else:
            local = LocalEngine.serve(served_copy(network), tokenizer, settings, subject.sampler)
        engine = Clocked(await stack.enter_async_context(local))
        judge = Watched(subject.judge)
        limits = Limits(max_tokens=arguments.sequence_length * 3 // 4)  # the prompt takes its share of a sequence
        vocabulary, template = Vocabulary.of(tokenizer), PromptTemplate.load(SEEDLING)
        collector = Collector(engine, RetryingVerifiers(judge, print), template, vocabulary, Mode.PARALLEL, limits)
        learner = Learner(Trainer.of(network, tokenizer, trainer, group), Papo(None), max_mismatch_kl=1.0)
        learner.version = await sync_weights(local, network, group)
        problems = TASKS["chain_sum"].problems(Split.TRAIN, 0, 10_000)
        for number in count():
            judge.seconds = 0.0
            start = perf_counter()
            found = await collector.collect(list(islice(problems, arguments.prompts)), arguments.samples, str(number))
            judged = perf_counter()
            valid = [[one for one in group if one.reward.value is not None] for group in found]
            learned = learner.learn(valid, number, SCRATCH)
            trained = perf_counter()
            learner.version = await sync_weights(local, network, group)
            attempts = [attempt for group in found for attempt in group]
            yield Step(
                responses=len(attempts),
                tokens=sum(attempt.finished.usage.new_tokens for attempt in attempts),
                trained_tokens=learned.trained_tokens if learned else 0,
                generate=engine.ended - start,
                verify=max(0.0, judged - engine.ended),
                judging=judge.seconds,
                train=trained - judged,
                sync=perf_counter() - trained,
            )


async def run(arguments: argparse.Namespace) -> None:
    """Print what was measured."""
    device = torch.device(arguments.device)
    subject = SUBJECTS[arguments.size](device, arguments.branch)
    if not arguments.json:
        print("responses  tokens  trained  generate s  verify s  (judging s)  train s  sync s  tokens/s")
    async with aclosing(steps(subject, arguments, device)) as measured:
        number = 0
        async for step in measured:
            if number and arguments.json:
                print(json.dumps(asdict(step)), flush=True)
            elif number:
                total = step.generate + step.verify + step.train + step.sync
                print(
                    f"{step.responses:9}{step.tokens:8}{step.trained_tokens:9}{step.generate:12.2f}{step.verify:10.2f}"
                    f"{step.judging:13.2f}{step.train:9.2f}{step.sync:8.2f}{step.tokens / total:10.0f}",
                    flush=True,
                )
            number += 1
            if number > arguments.steps:
                return


def main() -> int:
    """Measure, line by line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SUBJECTS, default="seedling")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=2)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--branch", type=int, default=256, help="tokens of a scripted step (4b)")
    parser.add_argument("--sequence-length", type=int, default=1024, help="tokens of a packed sequence")
    parser.add_argument("--rows", type=int, default=64, help="branches that are decoded at once")
    parser.add_argument("--processes", type=int, default=1, help="that decode, in place of this one (seedling)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", action="store_true", help="JSON lines instead of a table")
    arguments = parser.parse_args()
    if arguments.processes > 1 and arguments.size != "seedling":
        parser.error(
            "--processes: only for the seedling; a script that puts tags into random weights stays in this process"
        )
    asyncio.run(run(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
