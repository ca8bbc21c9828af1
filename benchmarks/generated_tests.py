"""What choosing programs by a model's own tests gains, on the public candidates of CodeT.

    python benchmarks/generated_tests.py --solutions SOLUTIONS --tests TESTS --humaneval HUMANEVAL \\
        [--problems 164] [--programs 20] [--texts 100] [--file generated-tests.jsonl]

SOLUTIONS and TESTS are the samples that microsoft/CodeT publishes for HumanEval (JSON lines of prompt and samples: 164
problems, 100 programs and 100 texts of tests each), HUMANEVAL is HumanEval or HumanEval+ (prompt, entry_point,
canonical_solution, test); each may be packed (.gz). `--programs` and `--texts` draw from the 100 by `--seed`.

Each different program is one job in the sandbox: HumanEval's own test of it, which says whether it is right, then the
generated tests. The canonical solution is one more, to say how good the generated tests are. Ways of choosing are
compared on the same programs; where a way leaves several programs with the same score, its accuracy is that of a random
one among them. A run that broke off goes on with the same command; a complete file is only read.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from espalier.common.seeds import derive_seed
from espalier.training.data.datasets import rows
from espalier.verifiers.check import AssertCase, Claim
from espalier.verifiers.code.verifier import CodeVerifier
from espalier.verifiers.generated_tests import GeneratedTests
from espalier.verifiers.local import LocalVerifiers
from espalier.verifiers.verdict import Status

END_OF_FUNCTION = re.compile(r"\n(?=class|def|#|if|print)")
"""Where the published evaluation cuts what a model writes behind the function that it was to complete."""

VERDICT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of HumanEval with what the model made of it."""

    name: str
    prompt: str
    entry_point: str
    test: str
    canonical: str
    programs: tuple[str, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tested:
    """A program: how often it was written, whether it is right, and which generated tests it passes."""

    count: int
    right: bool
    passed: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one problem.

    Attributes:
        name: Of the problem.
        counts: How often each generated test was written.
        programs: The different programs.
        canonical: The canonical solution; None where it was not run.
        jobs: Programs that were run.
        errors: Programs that the sandbox could not judge; they are left out.
    """

    name: str
    counts: tuple[int, ...]
    programs: tuple[Tested, ...]
    canonical: Tested | None
    jobs: int
    errors: int


async def measure(problem: Problem, verifiers: LocalVerifiers, free: asyncio.Semaphore) -> Outcome:
    """Run the programs of a problem on its tests."""
    tests = GeneratedTests.of((f"assert {text}" for text in problem.texts), problem.prompt)
    truth = AssertCase(f"{problem.test}\n", problem.entry_point)
    check = replace(tests.check, cases=(truth, *tests.check.cases))

    async def run(program: str, count: int) -> Tested | None:
        async with free:
            verdict = await verifiers.verify(Claim(program, bare=True), check, timeout=VERDICT_SECONDS)
        if verdict.status is Status.ERROR:
            return None
        passed = tests.passed(verdict)
        return Tested(count, 0 in passed, tuple(sorted(number - 1 for number in passed if number)))

    written = Counter(END_OF_FUNCTION.split(text, maxsplit=1)[0] for text in problem.programs)
    runs = [run(problem.prompt + body, count) for body, count in written.items()]
    canonical, *found = await asyncio.gather(run(problem.prompt + problem.canonical, 1), *runs)
    if canonical is None:
        raise SystemExit(f"{problem.name}: the sandbox could not run the canonical solution")
    programs = tuple(one for one in found if one is not None)
    return Outcome(problem.name, tests.counts, programs, canonical, len(runs), len(runs) - len(programs))


# Choosing.

Score = Callable[[int, float], float]
"""Of a class: how many programs, and what share of the tests they pass."""

WAYS: dict[str, Score] = {
    "a random program": lambda programs, share: 0.0,
    "most programs that pass the same tests": lambda programs, share: programs,
    "most tests passed": lambda programs, share: share,
    "programs x tests": lambda programs, share: programs * share,
    "root of programs x tests (solve)": lambda programs, share: programs * share**2,
}


def accuracy(outcome: Outcome, score: Score) -> float:
    """The chance that a program of the best class is right; of all programs where none passes any test."""
    tests = GeneratedTests(("",) * len(outcome.counts), outcome.counts)
    classes: dict[tuple[int, ...], list[Tested]] = {}
    for program in outcome.programs:
        classes.setdefault(program.passed, []).append(program)
    chosen = list(outcome.programs)
    if any(classes):
        scores = {
            passed: score(sum(one.count for one in own), tests.share(frozenset(passed)))
            for passed, own in classes.items()
            if passed or score is WAYS["a random program"]
        }
        best = max(scores.values())
        chosen = [one for passed, own in classes.items() if scores.get(passed) == best for one in own]
    total = sum(one.count for one in chosen)
    return sum(one.count for one in chosen if one.right) / total if total else 0.0


def report(outcomes: Sequence[Outcome]) -> None:
    """Print accuracies with standard errors over problems, and what it took."""
    jobs, errors = sum(one.jobs for one in outcomes), sum(one.errors for one in outcomes)
    programs = sum(program.count for one in outcomes for program in one.programs)
    tests = sum(len(one.counts) for one in outcomes)
    print(f"{len(outcomes)} problems, {programs} programs, {tests} different tests, {jobs} jobs in the sandbox")
    print(f"{errors} programs left out because the sandbox failed")
    canonical = [one.canonical for one in outcomes if one.canonical]
    if canonical:
        good, wrong = sum(len(one.passed) for one in canonical), sum(not one.right for one in canonical)
        print(f"the canonical solution passes {good / max(tests, 1):.1%} of the tests, its own but in {wrong} problems")
    base = [accuracy(one, WAYS["a random program"]) for one in outcomes]
    print(f"\n{'choosing':42}{'pass@1':>8}{'gain':>8}{'standard error of the gain':>28}")
    for name, score in WAYS.items():
        reached = [accuracy(one, score) for one in outcomes]
        gains = [ours - random_one for ours, random_one in zip(reached, base, strict=True)]
        error = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else 0.0
        mean = statistics.fmean(reached)
        print(f"{name:42}{mean:8.1%}{100 * statistics.fmean(gains):+8.1f}{100 * error:28.1f}")
    some = statistics.fmean(any(program.right for program in one.programs) for one in outcomes)
    print(f"{'at least one program is right':42}{some:8.1%}")


# Files.


def problems_of(arguments: argparse.Namespace) -> list[Problem]:
    """The problems that the arguments ask for, with the programs and texts that the seed draws."""
    found = []
    sampled = list(zip(rows(arguments.solutions), rows(arguments.tests), strict=True))
    for number, problem in enumerate(rows(arguments.humaneval)):
        solutions, tests = max(sampled, key=lambda pair: _likeness(problem, pair[0]["prompt"]))
        sampled.remove((solutions, tests))
        if f"def {problem['entry_point']}(" not in solutions["prompt"]:
            sys.exit(f"{problem['task_id']}: no solutions for it are among {arguments.solutions}")
        rng = random.Random(derive_seed(arguments.seed, number))
        found.append(
            Problem(
                name=problem["task_id"],
                prompt=solutions["prompt"],
                entry_point=problem["entry_point"],
                test=problem["test"],
                canonical=problem["canonical_solution"],
                programs=tuple(rng.sample(solutions["samples"], min(arguments.programs, len(solutions["samples"])))),
                texts=tuple(rng.sample(tests["samples"], min(arguments.texts, len(tests["samples"])))),
            )
        )
    chosen = random.Random(arguments.seed).sample(range(len(found)), min(arguments.problems, len(found)))
    return [found[number] for number in sorted(chosen)]


def _likeness(problem: Mapping[str, Any], prompt: str) -> tuple[bool, int]:
    """How well a prompt fits a problem: it defines its function, and is the same up to the examples, which it lacks."""
    defines = f"def {problem['entry_point']}(" in prompt
    return defines, len(os.path.commonprefix([problem["prompt"], prompt]))  # noqa: RUF071 (of characters)


def read(path: Path, plan: dict[str, int]) -> dict[str, Outcome]:
    """The outcomes that a file holds."""
    if not path.exists():
        path.write_text(json.dumps(plan) + "\n", encoding="utf-8")
        return {}
    head, *lines = path.read_text("utf-8").split("\n")[:-1]
    if json.loads(head) != plan:
        sys.exit(f"{path} was measured with {head}, not {json.dumps(plan)}; give another --file")
    outcomes = {}
    for row in map(json.loads, lines):
        programs = tuple(Tested(one["count"], one["right"], tuple(one["passed"])) for one in row.pop("programs"))
        canonical = Tested(**{**row.pop("canonical")})
        canonical = replace(canonical, passed=tuple(canonical.passed))
        counts = tuple(row.pop("counts"))
        outcomes[row["name"]] = Outcome(programs=programs, canonical=canonical, counts=counts, **row)
    return outcomes


async def run(arguments: argparse.Namespace) -> list[Outcome]:
    from rich.progress import track

    plan = {"programs": arguments.programs, "texts": arguments.texts, "seed": arguments.seed}
    known = read(arguments.file, plan)
    asked = problems_of(arguments)
    if arguments.so_far:
        return [known[problem.name] for problem in asked if problem.name in known]
    missing = [problem for problem in asked if problem.name not in known]
    free = asyncio.Semaphore(2 * (os.cpu_count() or 1))
    async with LocalVerifiers([CodeVerifier()]) as verifiers:
        measured = asyncio.as_completed([measure(problem, verifiers, free) for problem in missing])
        for one in track(measured, "Running programs", total=len(missing)):
            outcome = await one
            known[outcome.name] = outcome
            with arguments.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(outcome)) + "\n")
    return [known[problem.name] for problem in asked]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--solutions", type=Path, required=True, help="programs that CodeT publishes")
    parser.add_argument("--tests", type=Path, required=True, help="tests that CodeT publishes")
    parser.add_argument("--humaneval", type=Path, required=True, help="HumanEval or HumanEval+")
    parser.add_argument("--problems", type=int, default=164, help="how many, drawn by the seed")
    parser.add_argument("--programs", type=int, default=20, help="of each problem, drawn by the seed")
    parser.add_argument("--texts", type=int, default=100, help="that write tests, of each problem, drawn by the seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--file", type=Path, default=Path("generated-tests.jsonl"), help="of outcomes; resumes")
    parser.add_argument("--so-far", action="store_true", help="run nothing; report what the file holds")
    report(asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
