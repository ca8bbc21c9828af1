"""Evidence about programs that no check judges: examples that the problem states, and tests that the model writes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol

from espalier.common.errors import FieldError
from espalier.common.seeds import derive_seed
from espalier.runtime.engine import Usage
from espalier.solver.core.candidate import Candidate, Spec
from espalier.solver.core.events import Observer, WrittenTests
from espalier.solver.core.journal import Entry, Journal
from espalier.solver.core.model_calls import ModelCalls
from espalier.solver.core.prompts import request_for_tests
from espalier.solver.core.verification import TEST_TEMPERATURE
from espalier.verifiers.check import Check, Claim
from espalier.verifiers.generated_tests import NO_TESTS, PER_TEXT, GeneratedTests
from espalier.verifiers.stated_examples import NO_EXAMPLES, StatedExamples
from espalier.verifiers.verdict import Evidence, Status, Verdict

TESTS_WAY = "tests"
"""The way of responses that write tests, by which a journal's entries are told apart from candidates."""

FIRST_INDEX = 1 << 20
"""Their numbers in a journal begin behind those of all candidates."""


class ProgramVerifier(Protocol):
    """The part of the verifiers that runs programs."""

    async def verify(self, claim: Claim, check: Check, *, timeout: float | None = None) -> Verdict: ...


@dataclass(frozen=True, slots=True)
class JudgedProgram:
    """What is known of a program.

    Attributes:
        verdict: UNKNOWN with a score, or ERROR.
        answer_class: Number of its class, of the programs that pass the same examples and tests, and give the same for
            inputs like those of the examples; None: it has no vote.
        examples: The share of the stated examples that it passes; None where none were run.
    """

    verdict: Verdict
    answer_class: int | None = None
    examples: float | None = None


class ProgramJudge:
    """Says of the programs of one problem what its stated examples, and tests, say.

    Args:
        examples: Those that the problem states.
    """

    def __init__(self, examples: StatedExamples) -> None:
        self._examples = examples
        self._classes: dict[object, int] = {}

    async def judge(
        self, tests: GeneratedTests, program: str, verifiers: ProgramVerifier, timeout: float
    ) -> JudgedProgram:
        """What the stated examples say of a program, and the tests that the model wrote.

        Examples that cannot be run, for want of a sandbox, say nothing: nobody has asked for them. Tests that cannot be
        run make an ERROR.
        """
        if not self._examples and not tests:
            return JudgedProgram(NO_TESTS)
        claim, verdicts = Claim(program, bare=True), []
        passed_examples = given = passed_tests = None
        if self._examples:
            ran = await _run_examples(verifiers, claim, self._examples, timeout)
            verdicts.append(self._examples.evidence(ran))
            if ran.status is not Status.ERROR:
                passed_examples, given = self._examples.passed(ran), self._examples.given(ran)
        if tests:
            ran = await verifiers.verify(claim, tests.check, timeout=timeout)
            if ran.status is Status.ERROR:
                return JudgedProgram(ran)
            verdicts.append(tests.evidence(ran))
            passed_tests = tests.passed(ran)
        found = (passed_examples, given, passed_tests)
        alike = program if found == (None, None, None) else found
        return JudgedProgram(
            together(verdicts),
            self._classes.setdefault(alike, len(self._classes)),
            None if passed_examples is None else self._examples.share(passed_examples),
        )


class ProgramEvidence:
    """The generated tests of one solve, and what they and the stated examples say of its programs.

    Args:
        calls: Ask the model that writes the programs.
        texts: New tokens of each response that writes tests, at most; empty: no tests are written.
        seed: Of their sampling.
        observer: Is told of the tests.
        journal: Keeps the responses.
        examples: Those that the problem states.
    """

    def __init__(
        self,
        calls: ModelCalls,
        texts: Sequence[int],
        seed: int,
        observer: Observer,
        journal: Journal,
        examples: StatedExamples = NO_EXAMPLES,
    ) -> None:
        self._calls = calls
        self._texts = texts
        self._seed = seed
        self._observer = observer
        self._journal = journal
        self._stored: dict[int, Candidate] = {}
        self.judge = ProgramJudge(examples).judge

    @property
    def usage(self) -> Usage:
        """Tokens of the tests so far, those of an earlier run included."""
        return sum((response.usage for response in self._stored.values()), self._calls.usage)

    async def write(self, stored: Sequence[Entry] = ()) -> GeneratedTests:
        """Have the model write tests, if any are asked for, all responses side by side.

        One that the engine refuses brings none.

        Args:
            stored: Responses of an earlier run: they are not written again.

        Raises:
            EngineError: The engine failed.
        """
        self._stored = {entry.candidate.spec.index: entry.candidate for entry in stored}
        if not self._texts:
            return GeneratedTests((), ())
        problem = self._calls.problem
        asked = request_for_tests(problem.text, PER_TEXT)
        texts = await asyncio.gather(*(self._write(asked, number, most) for number, most in enumerate(self._texts)))
        tests = GeneratedTests.of(texts, problem.text)
        self._observer(WrittenTests(tests, self.usage))
        return tests

    async def _write(self, asked: str, number: int, max_tokens: int) -> str:
        index, seed = FIRST_INDEX + number, derive_seed(self._seed, "tests", number)
        if (stored := self._stored.get(index)) is not None:
            return stored.text
        spec = Spec(index, 0, seed, TEST_TEMPERATURE, max_tokens=max_tokens, way=TESTS_WAY)
        response, _ = await self._calls.ask(asked, spec, f"tests/{number}")
        await self._journal.generated(response)
        return response.text


async def _run_examples(verifiers: ProgramVerifier, claim: Claim, examples: StatedExamples, timeout: float) -> Verdict:
    try:
        return await verifiers.verify(claim, examples.check, timeout=timeout)
    except FieldError as error:  # no verifier here runs programs, or an example was misread
        return Verdict(Status.ERROR, 0.0, "program", (Evidence("program", str(error)),))


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """Several kinds of evidence about one program: the product of their scores, and what each has seen."""
    return Verdict(
        Status.UNKNOWN,
        prod(one.score for one in verdicts),
        verdicts[-1].decided_by,
        tuple(seen for one in verdicts for seen in one.evidence),
        next((one.feedback for one in verdicts if one.feedback), ""),
    )
