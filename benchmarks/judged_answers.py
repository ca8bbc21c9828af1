"""Judge responses that were sampled elsewhere, so that ways of choosing among them can be compared without a verifier.

    python benchmarks/judged_answers.py PROBLEMS --responses words=FILE --responses program=FILE … --out judged.jsonl

Programs run in the sandbox, and what they print last is their answer, as with `espalier solve --ways`. The answers of a
problem are classed by equivalence as a solve does it, all ways together, those of parallel steps, too, and one class is
right if the problem's check accepts it. Each line of the output is a problem with, for each response, its way, number,
classes and new tokens, and for words the share of its equalities that hold. A run that broke off goes on with the same
command.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from generated_tests import VERDICT_SECONDS
from stored_rows import stored

from espalier.solver.core.answer_classes import AnswerClasses, blocks
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
        steps: Classes of what its steps state, one a step that states something.
        sharing: Of them, those that may share its vote, see :func:`espalier.solver.core.candidate.voted`.
    """

    way: str
    number: int
    answer_class: int | None
    tokens: int
    score: float
    steps: Sequence[int] = ()
    sharing: Sequence[int] = ()

    @property
    def branch_classes(self) -> tuple[int, ...]:
        return tuple(self.sharing)


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
    classes, verdicts = AnswerClasses(verifiers, lambda: VERDICT_SECONDS), Verdicts(verifiers, problem)
    responses = []
    for (way, one), (text, score) in zip(candidates, found, strict=True):
        in_words = way != Way.PROGRAM
        classed = await classes.classed(replace(one, answer=text or None), steps=in_words)
        stated = [step for block in blocks(one.branch_answers) for step in block] if in_words else []
        steps = [await classes.of(step.answer) for step in stated]
        sharing = classed.branch_classes
        new_tokens = one.usage.new_tokens
        responses.append(Judged(way, one.spec.index, classed.answer_class, new_tokens, score, steps, sharing))
    right = None
    for number, representative in classes.representatives.items():
        if right is None and await verdicts.on(representative) is Status.PASS:
            right = number
    return JudgedProblem(problem.id, right, tuple(responses))


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
