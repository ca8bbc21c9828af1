"""What choosing programs by stated examples and by generated tests gains on HumanEval+ and MBPP+, and what it costs.

    espalier data convert HumanEvalPlus.jsonl.gz --kind evalplus --out humaneval.jsonl
    espalier data sample humaneval.jsonl --engine ENGINE --k 8 --responses programs.jsonl …
    python benchmarks/own_evidence.py tests humaneval.jsonl --engine ENGINE --out tests.jsonl
    python benchmarks/chosen_programs.py humaneval.jsonl --responses programs.jsonl --tests tests.jsonl \\
        [--canonical HumanEvalPlus.jsonl.gz] [--k 8] [--texts 1 2 5] [--file chosen-programs.jsonl]

Each different program is up to three jobs in the sandbox: the check of its problem, which says whether it is right, the
examples that the problem itself states, as `espalier solve` reads them, and the generated tests. Canonical solutions
of EvalPlus's file (--canonical) are run on the stated examples, too: where one fails, the example is wrong or misread.
Ways of choosing are compared on the same programs: `solve` is the solver itself, without the check and with the
programs as an earlier run left them, with its probes (inputs like those of the examples) and as if all programs gave
the same for these; `adaptive` is shown them one round after the other. Generated tests are those of
the first so many responses that wrote some (--texts). A run that broke off goes on with the same command.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from generated_tests import VERDICT_SECONDS, WAYS, Outcome, Tested, accuracy, report
from stored_rows import stored

from espalier.solver.core.candidate import Candidate
from espalier.solver.core.confidence import Votes, fit, reliability
from espalier.solver.core.journal import Entry
from espalier.solver.core.loop import Solver
from espalier.solver.core.policies import Adaptive, BestOfK
from espalier.solver.core.policy import Budget, Policy, begin
from espalier.solver.core.problem import Problem, lines_of, read_problems
from espalier.solver.core.responses import read
from espalier.solver.core.result import Result
from espalier.solver.core.selection import VerifiedCandidate, select, subsets
from espalier.training.data.datasets import rows
from espalier.training.data.sampling import by_problem
from espalier.verifiers.check import Check, Claim
from espalier.verifiers.code.verifier import CodeVerifier
from espalier.verifiers.generated_tests import GeneratedTests
from espalier.verifiers.local import LocalVerifiers
from espalier.verifiers.probes import GIVES
from espalier.verifiers.stated_examples import StatedExamples
from espalier.verifiers.verdict import Evidence, Status, Verdict

NOTHING = GeneratedTests((), ())
SPLITS = 5
"""Ways of dividing the problems into two halves."""
at_random = WAYS["a random program"]


# Running.

Key = tuple[str, str, str]
"""Problem, program, and what it was run on: its check, or a digest of the stated examples or of the generated tests."""

Runs = Mapping[Key, Any]
"""For a check whether it passes, None where the sandbox failed; for generated tests the numbers of those that it
passes; for stated examples the same, and what it gives for each probe."""

CHECK = "check"


def kind_of(tests: GeneratedTests | StatedExamples) -> str:
    return hashlib.sha256(repr(tests.check.cases).encode()).hexdigest()[:16]


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

    async def one(key: Key, check: Check, tests: GeneratedTests | StatedExamples | None) -> tuple[Key, Any]:
        async with free:
            verdict = await verifiers.verify(Claim(key[1], bare=True), check, timeout=VERDICT_SECONDS)
        if isinstance(tests, StatedExamples):
            return key, [sorted(tests.passed(verdict)), tests.given(verdict)]
        if tests is not None:
            return key, sorted(tests.passed(verdict))
        return key, None if verdict.status is Status.ERROR else verdict.passed

    def jobs(problem: Problem, program: str) -> Iterator[tuple[Key, Check, GeneratedTests | StatedExamples | None]]:
        assert problem.check is not None
        yield (problem.id, program, CHECK), problem.check, None
        if examples := StatedExamples.of(problem.text):
            yield (problem.id, program, kind_of(examples)), examples.check, examples
        if written.get(problem.id):
            tests = written[problem.id]
            yield (problem.id, program, kind_of(tests)), tests.check, tests

    missing = [
        job
        for problem in problems
        for program in dict.fromkeys(one.answer for one in candidates[problem.id] if one.answer)
        for job in jobs(problem, program)
        if job[0] not in known
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
    examples = StatedExamples.of(problem.text)
    kind = kind_of(examples) if examples else ""
    passed = [
        -1 if one.answer is None else len(runs[problem.id, one.answer, kind][0]) if kind else 0 for one in candidates
    ]
    return [one for one, count in zip(candidates, passed, strict=True) if count == max(passed)]


class StoredRuns:
    """Verifiers of one problem that run nothing: what a program passes is read.

    Args:
        problem: The problem.
        runs: Of its programs.
        probed: Whether what a program gives for probes is told; else all give the same.
    """

    def __init__(self, problem: Problem, runs: Runs, probed: bool) -> None:
        self._problem = problem
        self._probed = probed
        self._examples = StatedExamples.of(problem.text)
        self._runs = runs

    async def verify(self, claim: Claim, check: Check, *, timeout: float | None = None) -> Verdict:
        if check != self._examples.check:
            return Verdict(Status.UNKNOWN, 1.0, "stored")
        passed, given = self._runs[self._problem.id, claim.text, kind_of(self._examples)]
        cases = [{"passed": number in passed, "reason": ""} for number in range(len(self._examples.examples))]
        told = given if self._probed else ["the same"] * len(given)
        cases += [{"passed": one is None, "reason": "" if one is None else GIVES + one} for one in told]
        evidence = tuple(Evidence(f"case {number}", json.dumps(one)) for number, one in enumerate(cases, start=1))
        return Verdict(Status.FAIL, 0.0, "program", evidence)

    async def equivalent(self, a: str, b: str, *, timeout: float | None = None) -> Verdict:
        return Verdict(Status.PASS if a == b else Status.FAIL, float(a == b), "stored")

    async def validate_check(self, check: Check, *, timeout: float | None = None) -> None:
        pass


async def solved(problem: Problem, candidates: Sequence[Candidate], runs: Runs, probed: bool = True) -> Result:
    """What the solver chooses among stored candidates without the problem's check, with or without probes."""
    stored_engine: Any = None  # nothing is sampled
    solver = Solver(stored_engine, StoredRuns(problem, runs, probed))
    entries = [Entry(replace(one, spec=replace(one.spec, index=number))) for number, one in enumerate(candidates)]
    return await solver.solve(replace(problem, check=None), BestOfK(), Budget(candidates=len(entries)), entries=entries)


def by_policy(policy: Policy, judged: Sequence[VerifiedCandidate]) -> tuple[VerifiedCandidate | None, int]:
    """What a policy chooses that is shown judged candidates as it asks for them, and the tokens that these took."""
    state = begin(0, Budget(candidates=len(judged)))
    told: list[VerifiedCandidate] = []
    while specs := policy.ask(state):
        for spec in specs:
            told.append(judged[spec.index])
            state = policy.tell(state, told[-1].candidate, told[-1].verdict)
    chosen = select(told, state.votes).candidate
    return None if chosen is None else judged[chosen], sum(one.candidate.usage.new_tokens for one in told)


def is_right(problem: Problem, chosen: VerifiedCandidate | None, runs: Runs) -> float:
    answer = None if chosen is None else chosen.candidate.answer
    return float(answer is not None and bool(runs[problem.id, answer, CHECK]))


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
    ways = [
        ("a random program", base),
        ("a random one of those that pass the most examples", reached),
    ]
    results: list[Result] = []
    for probed, suffix in ((False, ", no probes"), (True, "")):
        results = [asyncio.run(solved(one, candidates[one.id], runs, probed)) for one in problems]
        chosen = [
            next((one for one in result.judged if one.candidate.spec.index == result.selection.candidate), None)
            for result in results
        ]
        adaptive = [by_policy(Adaptive(), result.judged) for result in results]
        spent = statistics.fmean(tokens for _, tokens in adaptive)
        for name, won in (
            (f"solve --policy best_of_k{suffix}", chosen),
            (f"solve --policy adaptive{suffix} ({spent:,.0f} tokens)", [one for one, _ in adaptive]),
        ):
            ways.append((name, [is_right(*pair, runs) for pair in zip(problems, won, strict=True)]))
        print(f"== with{'' if probed else 'out'} probes")
        report_confidence(problems, results, runs)
    for name, values in ways:
        gains = [ours - theirs for ours, theirs in zip(values, base, strict=True)]
        errors = [100 * statistics.stdev(of) / len(of) ** 0.5 for of in (values, gains)]
        mean, gain = 100 * statistics.fmean(values), 100 * statistics.fmean(gains)
        print(f"{name:52}{mean:6.1f} +-{errors[0]:4.1f} %   gain {gain:+5.1f} +-{errors[1]:4.1f}")
    for (_, without), (name, values) in zip(ways[2:4], ways[4:], strict=True):
        gains = [ours - theirs for ours, theirs in zip(values, without, strict=True)]
        error = 100 * statistics.stdev(gains) / len(gains) ** 0.5
        print(f"{name}: {100 * statistics.fmean(gains):+.1f} +- {error:.1f} by probes")


def report_confidence(problems: Sequence[Problem], results: Sequence[Result], runs: Runs) -> None:
    """Print how far a calibration can be believed on problems that it has not seen: fitted on either half of those that
    state examples, tested on the other, for several ways of dividing them."""
    drawn: dict[str, list[tuple[Votes, bool]]] = {}
    for problem, result in zip(problems, results, strict=True):
        if StatedExamples.of(problem.text):
            drawn[problem.id] = [
                (votes, bool(runs[problem.id, selection.answer, CHECK]))
                for votes, selection in subsets(result.judged, random.Random(f"0/{problem.id}"))
                if selection.answer is not None
            ]
    every = [told_by_other_half(drawn, seed) for seed in range(1, SPLITS + 1)]
    last = max(number for number, _, _ in every[0])
    for title, least in (("2, 4, 8, ... programs", 0), ("all programs", last)):
        some = [[(value, right) for number, value, right in told if number >= least] for told in every]
        found = [reliability(*zip(*told, strict=True)) for told in some]
        errors = ", ".join(f"{one.error:.3f}" for one in found)
        chance = statistics.fmean(one.by_chance for one in found)
        sure = [right for told in some for value, right in told if value >= 0.9]
        print(
            f"confidence, {title}: {len(some[0])} answers, calibration error {errors} ({chance:.3f} by chance), ",
            end="",
        )
        print(f"{statistics.fmean(one.kept for one in found):.1%} at 0.9 or above", end="")
        print(f", {statistics.fmean(sure):.1%} of them right" if sure else "")


def told_by_other_half(drawn: Mapping[str, Sequence[tuple[Votes, bool]]], seed: int) -> list[tuple[int, float, bool]]:
    """Of each draw its number, how sure a calibration is that was fitted on the other half, and whether it is right."""
    names = sorted(drawn)
    random.Random(seed).shuffle(names)
    told: list[tuple[int, float, bool]] = []
    for half in (0, 1):
        seen = [example for name in names[half::2] for example in drawn[name]]
        model = fit([votes for votes, _ in seen], [right for _, right in seen])
        told += [
            (number, model.confidence(votes), right)
            for name in names[1 - half :: 2]
            for number, (votes, right) in enumerate(drawn[name])
        ]
    return told


async def report_canonical(problems: Sequence[Problem], path: Path) -> None:
    """Print how many stated examples are read, and which of them the canonical solutions fail."""
    canonical = {row["task_id"]: f"{row['prompt']}\n{row['canonical_solution']}" for row in rows(path)}
    stated = {one.id: StatedExamples.of(one.text) for one in problems}
    total = failed = 0
    async with LocalVerifiers([CodeVerifier()]) as verifiers:
        for name, examples in stated.items():
            if not examples:
                continue
            verdict = await verifiers.verify(Claim(canonical[name], bare=True), examples.check, timeout=VERDICT_SECONDS)
            wrong = [one.text for at, one in enumerate(examples.examples) if at not in examples.passed(verdict)]
            total, failed = total + len(examples.examples), failed + len(wrong)
            for text in wrong:
                print(f"{name}: the canonical solution fails {text}")
    some = sum(map(bool, stated.values()))
    print(f"{some} of {len(problems)} problems state {total} examples; canonical solutions fail {failed}")


def tokens(written: Mapping[str, Mapping[str, Any]], problems: Sequence[Problem], texts: int) -> float:
    """New tokens a problem of the first so many responses that wrote tests."""
    return statistics.fmean(
        sum(one["sampled_tokens"] + one["forced_tokens"] for one in written[problem.id]["usage"][:texts])
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
    parser.add_argument("--canonical", type=Path, help="EvalPlus's file: runs its solutions on the stated examples")
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
    print(f"{sum(map(bool, (StatedExamples.of(problem.text) for problem in problems)))} state examples")
    if arguments.canonical:
        asyncio.run(report_canonical(problems, arguments.canonical))
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
