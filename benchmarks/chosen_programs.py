"""What choosing programs by tests that their own model wrote gains on HumanEval+ and MBPP+, and the tokens it costs.

    espalier data convert HumanEvalPlus.jsonl.gz --kind evalplus --out humaneval.jsonl
    espalier data sample humaneval.jsonl --engine ENGINE --k 8 --responses programs.jsonl …
    python benchmarks/own_evidence.py tests humaneval.jsonl --engine ENGINE --out tests.jsonl
    python benchmarks/chosen_programs.py humaneval.jsonl --responses programs.jsonl --tests tests.jsonl \\
        [--k 8] [--texts 1 2 5] [--file chosen-programs.jsonl]

Each different program is up to three jobs in the sandbox: the check of its problem, which says whether it is right, the
examples that the problem itself states (doctests and assert statements), and the generated tests.
Ways of choosing are compared on the same programs, with the tests of the first so many responses that wrote some
(--texts). A run that broke off goes on with the same command.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import doctest
import hashlib
import json
import os
import re
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from generated_tests import VERDICT_SECONDS, WAYS, Outcome, Tested, accuracy, report
from stored_rows import stored

from espalier.solver.core.candidate import Candidate
from espalier.solver.core.problem import Problem, lines_of, read_problems
from espalier.solver.core.responses import read
from espalier.training.data.sampling import by_problem
from espalier.verifiers.check import Check, Claim
from espalier.verifiers.code.verifier import CodeVerifier
from espalier.verifiers.generated_tests import GeneratedTests
from espalier.verifiers.local import LocalVerifiers
from espalier.verifiers.verdict import Status

MOST_EXAMPLES = 50
EQUALS = re.compile(r"`?\s*(?:==+>?|=>|-+>|➞|➔|→|=|should return|returns?|is)\s*`?")
"""What may stand between a call and its value."""
ENDS = re.compile(r"[.;`\s#]")
"""What may stand behind a value."""
FENCES = re.compile(r"```|\"\"\"|'''")
"""What may stand behind the last example of a docstring."""
NOTHING = GeneratedTests((), ())
at_random = WAYS["a random program"]


def stated_examples(text: str) -> GeneratedTests:
    """The examples in a problem's own text, as tests: assert statements, doctests, and lines such as `f(2) => 4`."""
    found = [line.strip() for line in text.splitlines() if line.strip().startswith("assert ")]
    found += [f"assert ({call}) == ({value})" for call, value in (*_doctests(text), *_equations(text))]
    return GeneratedTests.of(["\n".join(dict.fromkeys(found))], text, per_text=MOST_EXAMPLES)


def _doctests(text: str) -> Iterator[tuple[str, str]]:
    try:
        examples = doctest.DocTestParser().get_examples(FENCES.sub("", text))
    except ValueError:
        return
    for one in examples:
        if value := _value(one.want):
            yield one.source.strip(), value


def _equations(text: str) -> Iterator[tuple[str, str]]:
    for name in dict.fromkeys(re.findall(r"\bdef (\w+)\(", text)):
        for start in re.finditer(rf"(?<!def )\b{name}\(", text):
            line = text[start.start() :].partition("\n")[0]
            for mark in EQUALS.finditer(line):
                call, value = line[: mark.start()].strip(), _value(line[mark.end() :])
                if value and _is_call(call):
                    yield call, value
                    break


def _value(text: str) -> str | None:
    """The literal that a text begins with."""
    text = text.strip()
    for end in (len(text), *(found.start() for found in reversed([*ENDS.finditer(text)]))):
        try:
            ast.literal_eval(text[:end])
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        return text[:end]
    return None


def _is_call(text: str) -> bool:
    try:
        return isinstance(ast.parse(text, mode="eval").body, ast.Call)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False


# Running.

Key = tuple[str, str, str]
"""Problem, program, and what it was run on: its check, the stated examples, or a digest of the generated tests."""

Runs = Mapping[Key, Any]
"""For a check whether it passes, None where the sandbox failed; else the numbers of the tests that it passes."""

CHECK, EXAMPLES = "check", "examples"


def kind_of(tests: GeneratedTests) -> str:
    return hashlib.sha256("\n".join(tests.sources).encode()).hexdigest()[:16]


async def run_all(
    problems: Sequence[Problem],
    candidates: Mapping[str, Sequence[Candidate]],
    written: Mapping[str, GeneratedTests],
    file: Path,
    at_once: int,
) -> Runs:
    """The runs of all programs; what the file holds is not run again."""
    from rich.progress import track

    known = {(row["problem"], row["program"], row["kind"]): row["passed"] for row in stored(file)}
    free = asyncio.Semaphore(at_once)

    async def one(key: Key, check: Check, tests: GeneratedTests | None) -> tuple[Key, Any]:
        async with free:
            verdict = await verifiers.verify(Claim(key[1], bare=True), check, timeout=VERDICT_SECONDS)
        if tests is not None:
            return key, sorted(tests.passed(verdict))
        return key, None if verdict.status is Status.ERROR else verdict.passed

    def jobs(problem: Problem, program: str) -> Iterator[tuple[Key, Check, GeneratedTests | None]]:
        assert problem.check is not None
        yield (problem.id, program, CHECK), problem.check, None
        if examples := stated_examples(problem.text):
            yield (problem.id, program, EXAMPLES), examples.check, examples
        if problem.id in written:
            tests = written[problem.id]
            yield (problem.id, program, kind_of(tests)), tests.check, tests

    missing = [
        job
        for problem in problems
        for program in dict.fromkeys(one.answer for one in candidates[problem.id] if one.answer)
        for job in jobs(problem, program)
        if job[0] not in known and (job[2] is None or job[2].sources)
    ]
    async with LocalVerifiers([CodeVerifier()]) as verifiers:
        with file.open("a", encoding="utf-8") as out:
            runs = asyncio.as_completed([one(*job) for job in missing])
            for waiting in track(runs, "Running programs", total=len(missing)):
                key, passed = await waiting
                known[key] = passed
                row = dict(zip(("problem", "program", "kind"), key, strict=True)) | {"passed": passed}
                out.write(json.dumps(row) + "\n")
    return known


# Choosing.


def outcome(
    problem: Problem, candidates: Sequence[Candidate], every: GeneratedTests, some: GeneratedTests, runs: Runs
) -> Outcome:
    """What became of a problem with only some of the tests."""
    number = {source: index for index, source in enumerate(some.sources)}

    def tested(program: str | None, count: int) -> Tested | None:
        if program is None:
            return Tested(count, False, ())
        right = runs[problem.id, program, CHECK]
        found = runs.get((problem.id, program, kind_of(every)), ())
        passed = sorted(number[every.sources[test]] for test in found if every.sources[test] in number)
        return None if right is None else Tested(count, right, tuple(passed))

    written = Counter(one.answer for one in candidates)
    programs = [tested(program, count) for program, count in written.items()]
    kept = tuple(one for one in programs if one is not None)
    return Outcome(problem.id, some.counts, kept, None, len(written), len(programs) - len(kept))


def best_by_examples(problem: Problem, candidates: Sequence[Candidate], runs: Runs) -> list[Candidate]:
    """The candidates that pass the most of the examples that the problem states."""
    passed = [
        len(runs.get((problem.id, one.answer, EXAMPLES), ())) if one.answer is not None else -1 for one in candidates
    ]
    return [one for one, count in zip(candidates, passed, strict=True) if count == max(passed)]


def report_examples(
    problems: Sequence[Problem],
    candidates: Mapping[str, Sequence[Candidate]],
    best: Mapping[str, Sequence[Candidate]],
    runs: Runs,
) -> None:
    """Print what the stated examples gain by themselves, with standard errors over problems."""
    base, reached = (
        [accuracy(outcome(one, chosen[one.id], NOTHING, NOTHING, runs), at_random) for one in problems]
        for chosen in (candidates, best)
    )
    gains = [ours - theirs for ours, theirs in zip(reached, base, strict=True)]
    for name, values in (
        ("a random program", base),
        ("a random one of those that pass the most examples", reached),
        ("gain", gains),
    ):
        error = statistics.stdev(values) / len(values) ** 0.5
        print(f"{name:52}{100 * statistics.fmean(values):6.1f} +-{100 * error:4.1f} %")


def tokens(rows: Mapping[str, Mapping[str, Any]], problems: Sequence[Problem], texts: int) -> float:
    """New tokens a problem of the first so many responses that wrote tests."""
    return statistics.fmean(
        sum(one["sampled_tokens"] + one["forced_tokens"] for one in rows[problem.id]["usage"][:texts])
        for problem in problems
    )


def _rows(paths: Sequence[Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in paths:
        for row in stored(path):
            yield row["problem"], row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", type=Path)
    parser.add_argument("--responses", type=Path, action="append", required=True, help="programs; repeat it")
    parser.add_argument("--tests", type=Path, action="append", default=[], help="of own_evidence.py; repeat it")
    parser.add_argument("--k", type=int, default=8, help="programs of a problem, those with the lowest numbers")
    parser.add_argument("--texts", type=int, nargs="+", default=[5], help="responses whose tests count")
    parser.add_argument("--limit", type=int, help="at most so many problems")
    parser.add_argument("--at-once", type=int, default=2 * (os.cpu_count() or 1), help="programs in the sandbox")
    parser.add_argument("--file", type=Path, default=Path("chosen-programs.jsonl"), help="of runs; resumes")
    arguments = parser.parse_args()
    found = by_problem([pair for path in arguments.responses for pair in read(path)[1]])
    candidates = {name: [one for one in own if one.spec.index < arguments.k] for name, own in found.items()}
    written = dict(_rows(arguments.tests))
    problems = [
        problem
        for problem in read_problems(lines_of(arguments.problems), str(arguments.problems))
        if problem.id in candidates and (problem.id in written or not written)
    ][: arguments.limit]
    texts = {name: row["texts"] for name, row in written.items()}
    every = {one.id: GeneratedTests.of(texts[one.id], one.text) for one in problems if one.id in texts}
    runs = asyncio.run(run_all(problems, candidates, every, arguments.file, arguments.at_once))
    sampled = statistics.fmean(sum(one.usage.new_tokens for one in candidates[problem.id]) for problem in problems)
    print(f"{len(problems)} problems, {arguments.k} programs each: {sampled:,.0f} tokens a problem")
    print(f"{sum(bool(stated_examples(problem.text).sources) for problem in problems)} state examples")
    best = {one.id: best_by_examples(one, candidates[one.id], runs) for one in problems}
    report_examples(problems, candidates, best, runs)
    for count in arguments.texts if written else []:
        cost = tokens(written, problems, count)
        print(f"\n== Tests of {count} responses: {cost:,.0f} tokens a problem more ({1 + cost / sampled:.2f} x)")
        for title, chosen in (("All programs", candidates), ("Those that pass the most of the stated examples", best)):
            print(f"-- {title}")
            report(
                [
                    outcome(
                        one,
                        chosen[one.id],
                        every[one.id],
                        GeneratedTests.of(texts[one.id][:count], one.text),
                        runs,
                    )
                    for one in problems
                ]
            )


if __name__ == "__main__":
    main()
