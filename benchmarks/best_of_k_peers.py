"""Best of k beside its_hub, on one server with one model: accuracy, tokens and wall clock.

    pip install its_hub==1.2.0
    python benchmarks/best_of_k_peers.py --server http://127.0.0.1:8080/v1 --model NAME --problems gsm8k_test.jsonl \\
        [--n 200] [--k 8] [--tokens 512] [--temperature 0.8] [--at-once 8]

The file has JSON lines of `problem` (or `question`) and `answer`. Every way gets the same instruction, the same limits
and the same server, which has to take fields that it does not know, as vLLM and SGLang do. its_hub votes on the text in
the last box; here votes are by equivalence, and `with check` is told the reference, which is what a verifier of one's
own would tell. Whether an answer is right is decided by this project's verifier for all ways. Tokens are those that the
server counts; of responses that were aborted, the pieces of their streams. optillm, a proxy, is not in the table.
RESULTS.md has no row of this benchmark yet.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

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

Answered = tuple[str, int]
"""A response or an answer, and the new tokens that it cost."""

Way = Callable[[str, str], Awaitable[Answered]]
"""From a problem and its reference to what was answered."""


def read(path: Path) -> list[Row]:
    """The rows of a file; GSM8K's own has `question`, and its answer behind `####`."""
    return [
        (row.get("problem") or row["question"], str(row["answer"]).rpartition("####")[2].strip()) for row in rows(path)
    ]


def last_box(response: str) -> str:
    found = boxes(response)
    return found[-1].strip() if found else ""


def espalier(solver: Solver, policy: Policy, k: int, *, checked: bool) -> Way:
    async def solve(problem: str, reference: str) -> Answered:
        check = ReferenceCheck(reference) if checked else None
        result = await solver.solve(Problem("", problem, check), policy, Budget(candidates=k))
        return result.selection.answer or "", result.spent.total.new_tokens

    return solve


def its_hub(algorithm: object, model: object, k: int) -> Way:
    async def solve(problem: str, _: str) -> Answered:
        asked = INSTRUCTION.format(question=problem)
        result = await algorithm.ainfer(model, asked, k, return_response_only=False)  # type: ignore[attr-defined]
        return str(result.the_one.get("content") or ""), result.usage.completion_tokens

    return solve


async def measure(way: Way, asked: list[Row], judge: LocalVerifiers, at_once: int) -> tuple[float, float, float]:
    """Accuracy, tokens a problem, and seconds of all."""
    free = asyncio.Semaphore(at_once)

    async def one(row: Row) -> tuple[bool, int]:
        async with free:
            answer, tokens = await way(*row)
        verdict = await judge.verify(Claim(answer), ReferenceCheck(row[1]), timeout=30)
        return verdict.passed, tokens

    start = time.perf_counter()
    outcomes = await asyncio.gather(*(one(row) for row in asked))
    seconds = time.perf_counter() - start
    return sum(right for right, _ in outcomes) / len(asked), sum(tokens for _, tokens in outcomes) / len(asked), seconds


async def run(arguments: argparse.Namespace) -> None:
    from its_hub.core.algorithms.adaptive_self_consistency import AdaptiveSelfConsistency
    from its_hub.core.algorithms.self_consistency import SelfConsistency
    from its_hub.core.lms.openai_lm import OpenAICompatibleLanguageModel

    asked = read(arguments.problems)[: arguments.n]
    limits, sampling = Limits(max_tokens=arguments.tokens), SamplingParams(temperature=arguments.temperature)
    ladder = {"temperatures": (arguments.temperature,)}
    k = arguments.k
    config = OpenAIConfig(model=arguments.model, concurrent=arguments.at_once * k)
    model = OpenAICompatibleLanguageModel(
        endpoint=arguments.server,
        api_key="none",
        model_name=arguments.model,
        max_completion_tokens=arguments.tokens,
        temperature=arguments.temperature,
    )
    async with OpenAIEngine(arguments.server, config) as engine, LocalVerifiers(load(["math"])) as judge, model:
        template = PromptTemplate(INSTRUCTION.replace("{{}}", "{}"))
        solver = Solver(engine, judge, template, Generation(sampling, limits=limits))
        ways: dict[str, Way] = {
            f"its_hub, self-consistency, {k}": its_hub(SelfConsistency(last_box), model, k),
            f"its_hub, adaptive self-consistency, {k}": its_hub(
                AdaptiveSelfConsistency(consistency_space_projection_func=last_box), model, k
            ),
            f"espalier, best_of_k by votes, {k}": espalier(solver, BestOfK(**ladder), k, checked=False),
            f"espalier, adaptive by votes, {k}": espalier(solver, Adaptive(**ladder), k, checked=False),
            f"espalier, adaptive with check, {k}": espalier(solver, Adaptive(**ladder), k, checked=True),
        }
        table = Table(title=f"{len(asked)} problems of {arguments.problems.name}, {arguments.model}")
        for column in ("way", "accuracy, %", "tokens a problem", "wall clock, s"):
            table.add_column(column, justify="left" if column == "way" else "right")
        for name, way in ways.items():
            accuracy, tokens, seconds = await measure(way, asked, judge, arguments.at_once)
            table.add_row(name, f"{100 * accuracy:.1f}", f"{tokens:,.0f}", f"{seconds:,.1f}")
    console = Console(width=120)
    load_average = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    console.print(f"{platform.machine()}, {os.cpu_count()} cores, load {load_average}, its_hub {version('its_hub')}, "
                  f"server {urlsplit(arguments.server).netloc}")  # fmt: skip
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--problems", type=Path, required=True)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--k", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--at-once", type=int, default=8)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
