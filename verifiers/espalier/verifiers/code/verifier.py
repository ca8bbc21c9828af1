"""Judges programs by running them on cases, in a sandbox."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace
from types import TracebackType
from typing import Self

from espalier.common.errors import FieldError
from espalier.verifiers.answer import answer_of, no_answer
from espalier.verifiers.check import AssertCase, CallCase, Check, CheckerCase, Claim, ProgramCheck, StdioCase
from espalier.verifiers.code.cases import (
    TESTS_FAIL,
    WALL_FACTOR,
    CaseResult,
    Trial,
    box_for,
    compilation,
    gather,
    judge,
    judge_gathered,
    prepare,
)
from espalier.verifiers.code.languages import JOB, LANGUAGES, Language
from espalier.verifiers.code.lazy import LazySandbox
from espalier.verifiers.code.sandbox import BoxSpec, Command, CommandOutcome, Job, Sandbox, SandboxError
from espalier.verifiers.code.settings import SandboxSettings
from espalier.verifiers.verdict import Evidence, Status, Verdict

GOLD = """
def add(a, b):
    return a {} b

if __name__ == "__main__":
    print(add(*map(int, input().split())))
"""

SHOWN = 600
"""Characters of a text that feedback shows."""

KEPT = 4000
"""Characters of a text that evidence keeps."""

UNTELLING = {
    "rejected by the checker": "rejected by the checker",
    TESTS_FAIL: TESTS_FAIL,
    "exit code": "its exit code is not 0",
    "ended by signal": "ended by a signal",
}
"""What is said of a hidden case instead of a reason that begins so."""

CHECKER_SECONDS = 30.0
"""Limit of a checker program; one that needs longer is a fault of the check."""


class CodeVerifier:
    """Runs the program of a claim on every case of a check, in a single-use box.

    PASS when every case passes; FAIL when the program fails one, does not compile or is absent; ERROR when the sandbox
    failed or the caller's time is up. The score is the share of cases passed. Expected outputs stay in this
    process. Use it as an async context manager, or call `start` and `close`.

    Args:
        settings: How to set the sandbox up; read from the environment when None.
        sandbox: A started sandbox to use instead; it stays the caller's to close.
    """

    name = "code"
    kinds: frozenset[type] = frozenset({ProgramCheck})

    def __init__(self, settings: SandboxSettings | None = None, *, sandbox: Sandbox | None = None) -> None:
        self._settings = settings or SandboxSettings()
        self._sandbox = LazySandbox(self._settings, sandbox)

    @property
    def limits(self) -> dict[str, str]:
        """Limits worth telling a client."""
        return {"languages": ", ".join(LANGUAGES), "max_memory_mib": str(self._settings.max_memory_mib)}

    async def start(self) -> None:
        """Open the sandbox, once.

        Raises:
            SandboxError: None is to be had; says what to install or start.
        """
        await self._sandbox.started()

    async def close(self) -> None:
        """Close the sandbox that `start` opened."""
        await self._sandbox.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def verify(self, claim: Claim, check: Check, *, timeout: float | None = None) -> Verdict:
        """Judge one claim.

        Raises:
            FieldError: The check names an unknown language, has no case, or a case that the language cannot serve.
        """
        if not isinstance(check, ProgramCheck):
            raise FieldError("check", f"the code verifier judges program checks, not {type(check).__name__}")
        language, trials = self._plan(check)
        answer = answer_of(claim, check)
        if answer is None:
            return no_answer(check)
        try:
            async with asyncio.timeout(timeout):
                return await self._attempt(answer.text, check, language, trials)
        except TimeoutError:
            return _error(f"no verdict within the caller's {timeout:.3g} s")

    async def validate_check(self, check: Check) -> None:
        """Refuse a check that no program could ever pass; needs no sandbox.

        Raises:
            FieldError: As `verify`.
        """
        if isinstance(check, ProgramCheck):
            self._plan(check)

    async def self_check(self) -> list[str]:
        """Accept a right program and reject a wrong one; what went wrong, nothing when all is well."""
        health = await (await self._sandbox.started()).health()
        if not health.ok:
            return [health.detail]
        check = ProgramCheck((StdioCase("2 3\n", "5\n"), CallCase("add", "[2, 3]", "5")))
        faults = []
        for operator, status in (("+", Status.PASS), ("-", Status.FAIL)):
            verdict = await self.verify(Claim(GOLD.format(operator), bare=True), check, timeout=30)
            if verdict.status is not status:
                faults.append(f"gold program with '{operator}': {verdict.status}, not {status}; {verdict.evidence}")
        return faults

    def _plan(self, check: ProgramCheck) -> tuple[Language, list[Trial]]:
        language = LANGUAGES.get(check.language)
        if language is None:
            raise FieldError("check.program.language", f"{check.language!r} is not one of {', '.join(LANGUAGES)}")
        if not check.cases:
            raise FieldError("check.program.cases", "is empty; give at least one case")
        limits = check.limits
        if not 0 < limits.memory_mib <= self._settings.max_memory_mib:
            raise FieldError("check.program.limits.memory_mib", f"must be in 1..{self._settings.max_memory_mib}")
        if limits.case_seconds <= 0 or limits.total_seconds <= 0 or limits.output_bytes <= 0:
            raise FieldError("check.program.limits", "must be positive")
        if not 0 <= check.tolerance < math.inf:
            raise FieldError("check.program.tolerance", f"must be at least 0 and finite, not {check.tolerance}")
        for name, _ in check.files:
            if name == language.source or "/" in name or name.startswith("."):
                raise FieldError("check.program.files", f"{name!r} cannot stand beside the program {language.source}")
        if check.together and not all(isinstance(case, AssertCase) for case in check.cases):
            raise FieldError("check.program.together", "is for assert cases alone; leave it out")
        trials = (prepare(case, i, language, check) for i, case in enumerate(check.cases))
        # Hidden cases last: what a program has seen of one, it could say in a case that is told of.
        return language, sorted(trials, key=lambda trial: trial.case.hidden)

    async def _attempt(self, source: str, check: ProgramCheck, language: Language, trials: list[Trial]) -> Verdict:
        try:
            return await self._judge(source, check, language, trials)
        except SandboxError as error:
            return _error(str(error))

    async def _judge(self, source: str, check: ProgramCheck, language: Language, trials: list[Trial]) -> Verdict:
        results: list[CaseResult] = []
        again = True
        while True:
            broken = await self._run_trials(source, check, language, trials, results)
            if broken is not None:
                return broken
            if not (again and results and results[-1].starved):
                break
            again = False
            results.pop()  # the machine was too busy: once more, in a fresh box
        ran_out = len(results) < len(trials) and not (check.stop_at_first_failure and not results[-1].passed)
        results = await self._consult_checkers(trials, results, check)
        return _verdict(results, len(trials), ran_out=ran_out, check=check)

    async def _run_trials(
        self,
        source: str,
        check: ProgramCheck,
        language: Language,
        trials: list[Trial],
        results: list[CaseResult],
    ) -> Verdict | None:
        """Run the trials that have no result yet, one after the other in one box; each outcome is judged here before
        the next command is given out. Ends early at a failure that ends the check, at a case that the machine was too
        busy for, and when the total limits are used up. Gives a verdict where the program does not compile.
        """
        sandbox = await self._sandbox.started()
        limits = check.limits
        clock = asyncio.get_running_loop().time
        left = limits.total_seconds - sum(result.cpu_seconds for result in results)
        wall_left = WALL_FACTOR * limits.total_seconds - sum(result.seconds for result in results)
        deadline = math.inf  # set when the first case is about to run: waiting for a box is not the program's time
        current = Command(())
        compiler = compilation(language, limits.memory_mib)

        def commands() -> Iterator[Command]:
            nonlocal current, deadline
            if compiler is not None:
                yield compiler
            deadline = clock() + wall_left
            while waiting := trials[len(results) :]:
                trial = gather(waiting, language, check) if check.together else waiting[0]
                seconds = min(limits.case_seconds, left)
                wall_seconds = min(WALL_FACTOR * seconds, deadline - clock())
                current = trial.command(seconds, max(wall_seconds, 0.001), limits.output_bytes)
                yield current

        spec = box_for(language, limits.memory_mib)
        files = {**dict(check.files), language.source: source}
        async with aclosing(sandbox.run(Job(spec, commands(), files))) as outcomes:
            if compiler is not None:
                compiled = await anext(outcomes)
                if compiled.exit_code != 0:
                    return _does_not_compile(compiled)
            while waiting := trials[len(results) :]:
                outcome = await anext(outcomes)
                if check.together:
                    judged = judge_gathered(waiting, outcome, check, current)
                else:
                    judged = [judge(waiting[0], outcome, check, current)]
                results += _to_first_failure(judged) if check.stop_at_first_failure else judged
                left -= outcome.cpu_seconds
                if results[-1].starved or (check.stop_at_first_failure and not results[-1].passed):
                    break
                if left <= 0 or clock() >= deadline:
                    break
        return None

    async def _consult_checkers(
        self, trials: list[Trial], results: list[CaseResult], check: ProgramCheck
    ) -> list[CaseResult]:
        """Let the checker programs judge the outputs, in a box of their own that the judged program never saw."""
        pending = {
            index: (trial.case, result)
            for index, (trial, result) in enumerate(zip(trials, results, strict=False))
            if isinstance(trial.case, CheckerCase) and result.passed
        }
        if not pending:
            return results
        python = LANGUAGES["python"]
        commands = tuple(
            Command(
                (*python.run[:-1], f"{JOB}/checker{index}.py"),
                json.dumps({"stdin": case.stdin, "stdout": result.got, "expected": case.expected}),
                CHECKER_SECONDS,
                WALL_FACTOR * CHECKER_SECONDS,
            )
            for index, (case, result) in pending.items()
        )
        job = Job(
            BoxSpec(python.image),
            commands,
            {f"checker{index}.py": case.source for index, (case, _) in pending.items()},
        )
        judged = list(results)
        sandbox = await self._sandbox.started()
        async with aclosing(sandbox.run(job)) as outcomes:
            for index in pending:
                outcome = await anext(outcomes)
                if outcome.exit_code is None:
                    raise SandboxError(
                        f"the checker of case {trials[index].number} did not finish: {outcome.stopped or 'killed'}"
                    )
                if outcome.exit_code != 0:
                    said = (outcome.stdout + outcome.stderr).decode(errors="replace").strip()
                    reason = f"rejected by the checker{': ' + _short(said) if said else ''}"
                    judged[index] = replace(judged[index], passed=False, reason=reason)
                    if check.stop_at_first_failure:
                        return judged[: index + 1]
        return judged


def _to_first_failure(results: list[CaseResult]) -> list[CaseResult]:
    """The results up to the first that is not passed, with it."""
    first = next((number for number, result in enumerate(results) if not result.passed), len(results))
    return results[: first + 1]


def _verdict(results: list[CaseResult], total: int, *, ran_out: bool, check: ProgramCheck) -> Verdict:
    passed = sum(result.passed for result in results)
    evidence = tuple(
        Evidence(f"case {result.number}", json.dumps(_record(result), ensure_ascii=False)) for result in results
    )
    if ran_out:
        evidence += (Evidence("limits", f"total time limit of {check.limits.total_seconds:.3g} s used up"),)
    if passed == total:
        return Verdict(Status.PASS, 1.0, "program", evidence)
    return Verdict(Status.FAIL, passed / total, "program", evidence, _feedback(results, total, ran_out, check))


def _record(result: CaseResult) -> dict[str, str | float | bool]:
    measured = {
        "seconds": round(result.seconds, 4),
        "cpu_seconds": round(result.cpu_seconds, 4),
        "memory_mib": round(result.memory_mib, 1),
    }
    if result.hidden:
        return {"passed": result.passed, "hidden": True, "reason": _untelling(result.reason), **measured}
    return {
        "passed": result.passed,
        "reason": result.reason,
        "input": _short(result.given, KEPT),
        "expected": _short(result.expected, KEPT),
        "got": _short(result.got, KEPT),
        "stderr": _short(result.stderr, KEPT),
        **measured,
    }


def _untelling(reason: str) -> str:
    """A reason without what a program, a checker or a test puts into it, which may repeat what is hidden."""
    return next((plain for start, plain in UNTELLING.items() if reason.startswith(start)), reason)


def _feedback(results: list[CaseResult], total: int, ran_out: bool, check: ProgramCheck) -> str:
    """The first failure in full, the number of others; what a repair prompt needs. A case that is not hidden is told
    of before one that is."""
    failed = [result for result in results if not result.passed]
    if not failed:
        return (
            f"The program used up the {check.limits.total_seconds:.3g} s for all cases after {len(results)} of {total}."
        )
    first = min(failed, key=lambda result: (result.hidden, result.number))
    if first.hidden:
        parts = [f"Case {first.number} of {total} failed: {_untelling(first.reason)}.", "Its input is hidden."]
    else:
        parts = [f"Case {first.number} of {total} failed: {first.reason}.", f"Input:\n{_short(first.given)}"]
        parts += [f"Expected:\n{_short(first.expected)}", f"Got:\n{_short(first.got)}"]
        if first.stderr.strip():
            parts.append(f"Standard error:\n{_short(first.stderr.strip())}")
    others = len(failed) - 1
    if others:
        parts.append(f"{others} further {'case fails' if others == 1 else 'cases fail'}.")
    if ran_out:
        parts.append(f"The {check.limits.total_seconds:.3g} s for all cases were used up after {len(results)}.")
    return "\n\n".join(parts)


def _does_not_compile(compiled: CommandOutcome) -> Verdict:
    said = (compiled.stderr or compiled.stdout).decode(errors="replace").strip()
    reason = "ran out of time" if compiled.stopped else "failed"
    evidence = Evidence("compile", _short(said, KEPT) or reason)
    return Verdict(Status.FAIL, 0.0, "program", (evidence,), f"Compilation {reason}:\n\n{_short(said)}")


def _error(trouble: str) -> Verdict:
    return Verdict(Status.ERROR, 0.0, "program", (Evidence("sandbox", trouble),))


def _short(text: str, limit: int = SHOWN) -> str:
    """The text, or its beginning and its end."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters …\n{text[-half:]}"
