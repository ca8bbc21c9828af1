"""Best of k beside its_hub and optillm, on one server with one model: accuracy, tokens and wall clock.

    pip install its_hub==1.2.0 && pip install --no-deps optillm==0.4.0
    python benchmarks/best_of_k_peers.py --server http://127.0.0.1:8080/v1 --model NAME --problems gsm8k_test.jsonl \\
        [--n 200] [--k 8] [--tokens 512] [--temperature 1] [--at-once 8] [--only WORD ...] [--file peers.jsonl]

The file of problems has JSON lines of `problem` (or `question`) and `answer`. Every way gets the same instruction,
the same limits and the same server, which has to take fields that it does not know, as vLLM and SGLang do. its_hub
votes on the text in the last box; here votes are by equivalence, and `with check` is told the reference, which is
what a verifier of one's own would tell. optillm's functions are called as its proxy calls them, without the proxy;
they sample at temperature 1 whatever they are told. Whether an answer is right is decided by this project's verifier
for all ways. Tokens are those that the server counts; of responses that were aborted, the pieces of their streams.

Answers are stored as they come, each way's when it is done; `--report` asks no server and judges what is stored.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import platform
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console
from rich.table import Table
from stored_rows import stored

from espalier.runtime.engine import Limits, SamplingParams
from espalier.runtime.openai.engine import OpenAIConfig, OpenAIEngine
from espalier.runtime.prompt import PromptTemplate
from espalier.solver.core.generation import Generation
from espalier.solver.core.loop import Solver
from espalier.solver.core.policies import Adaptive, BestOfK
from espalier.solver.core.policy import Budget, Policy
from espalier.solver.core.problem import Problem
from espalier.training.data.datasets import rows
from espalier.verifiers.answer import boxes
from espalier.verifiers.check import Claim, ReferenceCheck
from espalier.verifiers.local import LocalVerifiers, load

INSTRUCTION = "{question}\n\nPlease reason step by step, and put your final answer within \\boxed{{}}."

Row = tuple[str, str]
"""A problem and its reference."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What a way gave for a problem.

    Attributes:
        answer: A response, or an answer by itself.
        bare: It is an answer by itself.
        tokens: New tokens that it cost.
    """

    answer: str
    bare: bool
    tokens: int


Way = Callable[[str, str], Awaitable[Answered]]
"""From a problem and its reference to what was answered."""


def read(path: Path) -> list[Row]:
    """The rows of a file; GSM8K's own has `question`, and its answer behind `####`."""
    return [
        (row.get("problem") or row["question"], str(row["answer"]).rpartition("####")[2].strip()) for row in rows(path)
    ]


# Ways.


def espalier(solver: Solver, policy: Policy, k: int, *, checked: bool) -> Way:
    async def solve(problem: str, reference: str) -> Answered:
        check = ReferenceCheck(reference) if checked else None
        result = await solver.solve(Problem("", problem, check), policy, Budget(candidates=k))
        return Answered(result.selection.answer or "", True, result.spent.total.new_tokens)

    return solve


def last_box(response: str) -> str:
    found = boxes(response)
    return found[-1].strip() if found else ""


def its_hub_ways(arguments: argparse.Namespace, model: object) -> dict[str, Way]:
    from its_hub.core.algorithms.adaptive_self_consistency import AdaptiveSelfConsistency
    from its_hub.core.algorithms.self_consistency import SelfConsistency

    def way(algorithm: Any) -> Way:
        async def solve(problem: str, _: str) -> Answered:
            asked = INSTRUCTION.format(question=problem)
            result = await algorithm.ainfer(model, asked, arguments.k, return_response_only=False)
            return Answered(str(result.the_one.get("content") or ""), False, result.usage.completion_tokens)

        return solve

    return {
        "its_hub, self-consistency": way(SelfConsistency(last_box)),
        "its_hub, adaptive self-consistency": way(AdaptiveSelfConsistency(consistency_space_projection_func=last_box)),
    }


def optillm_ways(arguments: argparse.Namespace) -> dict[str, Way]:
    """Its functions block, so each call has a thread."""
    from openai import OpenAI

    _without_proxy("optillm")
    from optillm.bon import best_of_n_sampling
    from optillm.self_consistency import AdvancedSelfConsistency

    client = OpenAI(base_url=arguments.server, api_key="none")
    limits = {"max_tokens": arguments.tokens}

    def best_of_n(asked: str) -> Answered:
        text, tokens = best_of_n_sampling("", asked, client, arguments.model, arguments.k, limits)
        return Answered(text, False, tokens)

    def self_consistency(asked: str) -> Answered:
        sampler = AdvancedSelfConsistency(client, arguments.model, arguments.k, request_config=limits)
        clusters = sampler.evaluate("", asked)["aggregated_result"]["clusters"]
        return Answered(clusters[0]["answer"] if clusters else "", False, sampler.self_consistency_completion_tokens)

    def way(function: Callable[[str], Answered]) -> Way:
        async def solve(problem: str, _: str) -> Answered:
            return await asyncio.to_thread(function, INSTRUCTION.format(question=problem))

        return solve

    return {"optillm, bon": way(best_of_n), "optillm, self-consistency": way(self_consistency)}


def _without_proxy(name: str) -> None:
    """Make a package's modules importable without its `__init__`, which starts a proxy's many needs."""
    found = importlib.util.find_spec(name)
    assert found is not None and found.submodule_search_locations is not None
    package = ModuleType(name)
    package.__path__, package.__spec__ = list(found.submodule_search_locations), found
    sys.modules[name] = package


# Measuring.


async def measure(name: str, way: Way, asked: Sequence[Row], at_once: int, file: Path) -> None:
    """Ask for all answers and store them, with the seconds that all took."""
    free = asyncio.Semaphore(at_once)

    async def one(row: Row) -> Answered:
        async with free:
            return await way(*row)

    start = time.perf_counter()
    answers = await asyncio.gather(*map(one, asked))
    seconds = time.perf_counter() - start
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    with file.open("a", encoding="utf-8") as out:
        row = {
            "way": name,
            "seconds": seconds,
            "load": os.getloadavg()[0],
            "machine": machine,
            "answers": [asdict(one) for one in answers],
        }
        out.write(json.dumps(row) + "\n")


async def ask(arguments: argparse.Namespace, asked: Sequence[Row]) -> None:
    """Every way that is not stored yet."""
    limits, sampling = Limits(max_tokens=arguments.tokens), SamplingParams(temperature=arguments.temperature)
    ladder, k = {"temperatures": (arguments.temperature,)}, arguments.k
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(arguments.at_once))
    async with AsyncExitStack() as stack:
        config = OpenAIConfig(model=arguments.model, concurrent=arguments.at_once * k)
        engine = await stack.enter_async_context(OpenAIEngine(arguments.server, config))
        judge = await stack.enter_async_context(LocalVerifiers(load(["math"])))
        template = PromptTemplate(INSTRUCTION.replace("{{}}", "{}"))
        solver = Solver(engine, judge, template, Generation(sampling, limits=limits))
        ways: dict[str, Way] = {
            "espalier, best_of_k by votes": espalier(solver, BestOfK(**ladder), k, checked=False),
            "espalier, adaptive by votes": espalier(solver, Adaptive(**ladder), k, checked=False),
            "espalier, adaptive with check": espalier(solver, Adaptive(**ladder), k, checked=True),
        }
        if importlib.util.find_spec("its_hub"):
            from its_hub.core.lms.openai_lm import OpenAICompatibleLanguageModel

            model = OpenAICompatibleLanguageModel(
                endpoint=arguments.server,
                api_key="none",
                model_name=arguments.model,
                max_completion_tokens=arguments.tokens,
                temperature=arguments.temperature,
            )
            await stack.enter_async_context(model)
            ways |= its_hub_ways(arguments, model)
        if importlib.util.find_spec("optillm"):
            ways |= optillm_ways(arguments)
        known = {row["way"] for row in stored(arguments.file)}
        for name, way in _chosen(ways, arguments.only).items():
            if f"{name}, {k}" not in known:
                await measure(f"{name}, {k}", way, asked, arguments.at_once, arguments.file)


def _chosen(ways: Mapping[str, Way], words: Sequence[str]) -> dict[str, Way]:
    return {name: way for name, way in ways.items() if not words or any(word in name for word in words)}


async def report(arguments: argparse.Namespace, asked: Sequence[Row]) -> None:
    """Judge the stored answers."""
    table = Table(title=f"{len(asked)} problems of {arguments.problems.name}, {arguments.model}")
    for column in ("way", "accuracy, %", "standard error", "tokens a problem", "wall clock, s", "load"):
        table.add_column(column, justify="left" if column == "way" else "right")
    async with LocalVerifiers(load(["math"])) as judge:

        async def right(answered: Answered, reference: str) -> bool:
            claim = Claim(answered.answer, bare=answered.bare)
            return (await judge.verify(claim, ReferenceCheck(reference), timeout=30)).passed

        for row in stored(arguments.file):
            answers = [Answered(**one) for one in row["answers"]]
            verdicts = await asyncio.gather(
                *(right(answered, reference) for answered, (_, reference) in zip(answers, asked, strict=True))
            )
            share, tokens = sum(verdicts) / len(asked), sum(one.tokens for one in answers) / len(asked)
            error = (share * (1 - share) / len(asked)) ** 0.5
            cells = (
                f"{100 * share:.1f}",
                f"{100 * error:.1f}",
                f"{tokens:,.0f}",
                f"{row['seconds']:,.1f}",
                f"{row['load']:.0f}",
            )
            table.add_row(row["way"], *cells)
    console = Console(width=120)
    versions = [f"{name} {version(name)}" for name in ("its_hub", "optillm") if importlib.util.find_spec(name)]
    console.print(", ".join([*dict.fromkeys(row["machine"] for row in stored(arguments.file)), *versions]))
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="http://127.0.0.1:8080/v1")
    parser.add_argument("--model", required=True)
    parser.add_argument("--problems", type=Path, required=True)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--k", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--only", nargs="*", default=[], help="ways whose names hold one of these words")
    parser.add_argument("--file", type=Path, default=Path("peers.jsonl"), help="of answers; ways in it are not asked")
    parser.add_argument("--report", action="store_true", help="ask no server; judge what the file holds")
    arguments = parser.parse_args()
    asked = read(arguments.problems)[: arguments.n]
    if not arguments.report:
        asyncio.run(ask(arguments, asked))
    asyncio.run(report(arguments, asked))


if __name__ == "__main__":
    main()
