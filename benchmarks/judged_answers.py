"""Judge responses that were sampled elsewhere, so that ways of choosing among them can be compared without a verifier.

    python benchmarks/judged_answers.py PROBLEMS --responses words=FILE --responses program=FILE … --out judged.jsonl

Programs run in the sandbox, and what they print last is their answer, as with `espalier solve --ways`. The answers of a
problem are classed by equivalence, all ways together, and one class is right if the problem's check accepts it. Each
line of the output is a problem with, for each response, its way, number, class and new tokens, and for words the share
of its equalities that hold. A run that broke off goes on with the same command.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from generated_tests import VERDICT_SECONDS
from stored_rows import stored

from espalier.solver.core.candidate import Candidate
from espalier.solver.core.problem import Problem, lines_of, read_problems
from espalier.solver.core.responses import read
from espalier.solver.core.sample import Verdicts
from espalier.solver.core.ways import PROGRAM, RUN, Way, printed
from espalier.verifiers.answer import answer_of
from espalier.verifiers.check import Claim, StepCheck
from espalier.verifiers.local import LocalVerifiers
from espalier.verifiers.open import open_verifiers
from espalier.verifiers.verdict import Status


@dataclass(frozen=True, slots=True)
class Judged:
    """A response.

    Attributes:
        way: The way it went.
        number: Its number among those of its way.
        answer_class: Of equivalent answers of the problem; None without an answer.
        tokens: New tokens.
        score: What the product's vote for it weighs: less than 1 where an equality in its words does not hold.
    """

    way: str
    number: int
    answer_class: int | None
    tokens: int
    score: float


@dataclass(frozen=True, slots=True)
class JudgedProblem:
    """The responses to a problem, and which class is right; None where none is."""

    problem: str
    right: int | None
    responses: tuple[Judged, ...]


def load(path: Path) -> list[JudgedProblem]:
    """What a file of this program holds."""
    return [
        JudgedProblem(row["problem"], row["right"], tuple(Judged(**one) for one in row["responses"]))
        for row in stored(path)
    ]


async def judge(
    verifiers: LocalVerifiers, problem: Problem, candidates: Sequence[tuple[str, Candidate]], steps: bool
) -> JudgedProblem:
    async def answer(way: str, candidate: Candidate) -> tuple[str | None, float]:
        if way == Way.PROGRAM:
            program = answer_of(Claim(candidate.text), PROGRAM)
            if program is None:
                return None, 0.0
            ran = await verifiers.verify(Claim(program.text, bare=True), RUN, timeout=VERDICT_SECONDS)
            return printed(ran) if ran.passed else None, 1.0
        if candidate.answer is None or not steps:
            return candidate.answer, 1.0
        verdict = await verifiers.verify(Claim(candidate.text, problem=problem.text), StepCheck())
        return candidate.answer, 1.0 if verdict.status is Status.ERROR else verdict.score

    found = await asyncio.gather(*(answer(way, candidate) for way, candidate in candidates))
    stated = [number for number, (text, _) in enumerate(found) if text]
    classes: dict[int, int] = {}
    right = None
    if stated:
        verdicts = Verdicts(verifiers, problem)
        votes = await verifiers.classes([Claim(found[number][0] or "", bare=True) for number in stated])
        for index, vote in enumerate(votes):
            classes |= {stated[member]: index for member in vote.found.members}
            representative = found[stated[vote.found.members[0]]][0] or ""
            if right is None and await verdicts.on(representative) is Status.PASS:
                right = index
    responses = tuple(
        Judged(way, one.spec.index, classes.get(number), one.usage.new_tokens, found[number][1])
        for number, (way, one) in enumerate(candidates)
    )
    return JudgedProblem(problem.id, right, responses)


async def run(arguments: argparse.Namespace) -> None:
    from rich.progress import track

    own: dict[str, list[tuple[str, Candidate]]] = {}
    for setting in arguments.responses:
        way, _, file = setting.partition("=")
        for (_, name, _), candidate in read(Path(file))[1]:
            own.setdefault(name, []).append((way, candidate))
    known = {row["problem"] for row in stored(arguments.out)}
    problems = [
        problem
        for problem in read_problems(lines_of(arguments.problems), str(arguments.problems))
        if problem.id in own and problem.id not in known
    ]
    free = asyncio.Semaphore(2 * (os.cpu_count() or 1))
    async with open_verifiers() as verifiers:

        async def one(problem: Problem) -> JudgedProblem:
            async with free:
                ordered = sorted(own[problem.id], key=lambda pair: (pair[0], pair[1].spec.index))
                return await judge(verifiers, problem, ordered, arguments.steps)

        with arguments.out.open("a", encoding="utf-8") as out:
            waiting = asyncio.as_completed(map(one, problems))
            for found in track(waiting, "Judging", total=len(problems)):
                out.write(json.dumps(asdict(await found)) + "\n")
                out.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", type=Path)
    parser.add_argument("--responses", action="append", required=True, metavar="WAY=FILE", help="repeat it")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, one a problem; resumes")
    parser.add_argument("--steps", action="store_true", help="look for false equalities in words")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
