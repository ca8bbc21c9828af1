"""Sample what a model says of its own answers, to be judged elsewhere: tests of programs, and comparisons in pairs.

    python benchmarks/own_evidence.py tests PROBLEMS --engine sglang://127.0.0.1:30000 --out tests.jsonl [--tests 75]
    python benchmarks/own_evidence.py pairs PROBLEMS --responses RESPONSES --engine ENGINE --out pairs.jsonl [--k 16]

`tests` asks for tests as `espalier solve --generated-tests N` does, five a response: the first responses are those that
a smaller N would have asked for. `pairs` compares answers as `--comparisons` does, in both orders. Of the first k
responses of a problem it takes the three classes of equivalent answers with the most votes; of the two largest it
compares up to two representatives each, of the others one, those with the fewest tokens first. Nothing is run, and no
answer is judged. A run that broke off goes on with the same command.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

from stored_rows import stored

from espalier.common.seeds import derive_seed
from espalier.runtime.engine import Engine, Limits, Mode
from espalier.runtime.open import open_engine
from espalier.runtime.prompt import PromptTemplate
from espalier.solver.core.answer_comparer import AnswerComparer
from espalier.solver.core.candidate import Candidate
from espalier.solver.core.events import fan_out
from espalier.solver.core.generation import Generation
from espalier.solver.core.journal import NoJournal
from espalier.solver.core.model_calls import ModelCalls
from espalier.solver.core.policy import Budget
from espalier.solver.core.problem import Problem, lines_of, read_problems
from espalier.solver.core.program_evidence import ProgramEvidence
from espalier.solver.core.responses import read
from espalier.solver.core.verification import Verification
from espalier.training.data.sampling import by_problem
from espalier.verifiers.check import Claim
from espalier.verifiers.local import LocalVerifiers, load

Row = dict[str, Any]

Measure = Callable[[Problem], Awaitable[Row]]
"""From a problem to what is stored of it."""

CLASSES = 3
REPRESENTATIVES = 2


def writing_tests(engine: Engine, tests: int, max_tokens: int, seed: int) -> Measure:
    generation = Generation(limits=Limits(max_tokens=max_tokens), mode=Mode.SEQUENTIAL)
    _, texts = Verification(generated_tests=tests).divide(Budget(), max_tokens)

    async def measure(problem: Problem) -> Row:
        calls = ModelCalls(engine, PromptTemplate(), generation, problem, problem.id)
        await ProgramEvidence(calls, texts, derive_seed(seed, problem.id), fan_out(), NoJournal()).write()
        written = sorted(calls.responses, key=lambda one: one.spec.index)
        return {"texts": [one.text for one in written], "usage": [asdict(one.usage) for one in written]}

    return measure


def comparing(engine: Engine, judge: LocalVerifiers, responses: dict[str, Sequence[Candidate]], seed: int) -> Measure:
    generation = Generation(mode=Mode.SEQUENTIAL)

    async def measure(problem: Problem) -> Row:
        own = responses[problem.id]
        calls = ModelCalls(engine, PromptTemplate(), generation, problem, problem.id)
        comparer = AnswerComparer(calls, derive_seed(seed, problem.id))
        pairs = []
        for first, second in await candidates_to_compare(judge, own):
            said = await asyncio.gather(comparer.prefers(first, second), comparer.prefers(second, first))
            pairs.append(
                {"candidates": [first.spec.index, second.spec.index], "prefers_first": [one for one, _ in said]}
            )
        return {"pairs": pairs, "usage": asdict(comparer.usage)}

    return measure


async def candidates_to_compare(
    judge: LocalVerifiers, candidates: Sequence[Candidate]
) -> list[tuple[Candidate, Candidate]]:
    """Representatives of the largest classes, each pair of classes by its cheapest pairs."""
    stated = [one for one in candidates if one.answer]
    votes = await judge.classes([Claim(one.answer or "", bare=True) for one in stated])
    classes = [
        sorted((stated[member] for member in vote.found.members), key=lambda one: one.usage.new_tokens)
        for vote in votes[:CLASSES]
    ]
    return list(_pairs(classes))


def _pairs(classes: Sequence[Sequence[Candidate]]) -> Iterator[tuple[Candidate, Candidate]]:
    for first, second in combinations(range(len(classes)), 2):
        most = REPRESENTATIVES if (first, second) == (0, 1) else 1
        yield from ((a, b) for a in classes[first][:most] for b in classes[second][:most])


async def results(measure: Measure, problems: Sequence[Problem], at_once: int) -> AsyncIterator[Row]:
    """What `measure` finds, in the order in which it ends."""
    free = asyncio.Semaphore(at_once)

    async def one(problem: Problem) -> Row:
        async with free:
            return {"problem": problem.id, **await measure(problem)}

    for found in asyncio.as_completed([one(problem) for problem in problems]):
        yield await found


async def run(arguments: argparse.Namespace) -> None:
    known = {row["problem"] for row in stored(arguments.out)}
    last = None if arguments.limit is None else arguments.first + arguments.limit
    asked = read_problems(lines_of(arguments.problems), str(arguments.problems))[arguments.first : last]
    async with open_engine(arguments.engine) as engine, LocalVerifiers(load(["math"])) as judge:
        if arguments.what == "tests":
            measure = writing_tests(engine, arguments.tests, arguments.max_tokens, arguments.seed)
        else:
            every = by_problem([pair for path in arguments.responses for pair in read(path)[1]])
            chosen = {name: [one for one in own if one.spec.index < arguments.k] for name, own in every.items()}
            asked = tuple(problem for problem in asked if problem.id in chosen)
            measure = comparing(engine, judge, chosen, arguments.seed)
        missing = [problem for problem in asked if problem.id not in known]
        with arguments.out.open("a", encoding="utf-8") as out:
            async for row in results(measure, missing, arguments.at_once):
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
                out.flush()
    print(f"{arguments.out}: {len(asked)} problems")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="what", required=True)
    for name in ("tests", "pairs"):
        kind = kinds.add_parser(name)
        kind.add_argument("problems", type=Path)
        kind.add_argument("--engine", required=True)
        kind.add_argument("--out", type=Path, required=True, help="JSON lines, one a problem; resumes")
        kind.add_argument("--first", type=int, default=0, help="skip so many problems")
        kind.add_argument("--limit", type=int, help="at most so many problems")
        kind.add_argument("--at-once", type=int, default=16, help="problems on their way at a time")
        kind.add_argument("--seed", type=int, default=1)
        if name == "tests":
            kind.add_argument("--tests", type=int, default=75)
            kind.add_argument("--max-tokens", type=int, default=512, help="of one response")
        else:
            kind.add_argument("--responses", type=Path, action="append", required=True, help="repeat it")
            kind.add_argument("--k", type=int, default=16, help="responses of a problem, those with the lowest numbers")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
