"""Evidence about programs that no check judges: tests that the model writes itself, run in the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

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
from espalier.verifiers.verdict import Verdict

TESTS_WAY = "tests"
"""The way of responses that write tests, by which a journal's entries are told apart from candidates."""

FIRST_INDEX = 1 << 20
"""Their numbers in a journal begin behind those of all candidates."""


class ProgramVerifier(Protocol):
    """The part of the verifiers that runs programs."""

    async def verify(self, claim: Claim, check: Check, *, timeout: float | None = None) -> Verdict: ...


class ProgramEvidence:
    """The generated tests of one solve, and what they say of its programs.

    Args:
        calls: Ask the model that writes the programs.
        texts: New tokens of each response that writes tests, at most.
        seed: Of their sampling.
        observer: Is told of the tests.
        journal: Keeps the responses.
    """

    def __init__(
        self, calls: ModelCalls, texts: Sequence[int], seed: int, observer: Observer, journal: Journal
    ) -> None:
        self._calls = calls
        self._texts = texts
        self._seed = seed
        self._observer = observer
        self._journal = journal
        self._stored: dict[int, Candidate] = {}
        self._classes: dict[frozenset[int], int] = {}

    @property
    def usage(self) -> Usage:
        """Tokens of the tests so far, those of an earlier run included."""
        return sum((response.usage for response in self._stored.values()), self._calls.usage)

    async def write(self, stored: Sequence[Entry] = ()) -> GeneratedTests:
        """Have the model write tests, all responses side by side. One that the engine refuses brings none.

        Args:
            stored: Responses of an earlier run: they are not written again.

        Raises:
            EngineError: The engine failed.
        """
        self._stored = {entry.candidate.spec.index: entry.candidate for entry in stored}
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

    async def judge(
        self, tests: GeneratedTests, program: str, verifiers: ProgramVerifier, timeout: float
    ) -> tuple[Verdict, int | None]:
        """What the tests say of a program, and the number of its class: of the programs that pass the same tests.

        Without tests, and where the sandbox failed, it is in no class.
        """
        if not tests.sources:
            return NO_TESTS, None
        verdict = await verifiers.verify(Claim(program, bare=True), tests.check, timeout=timeout)
        evidence = tests.evidence(verdict)
        if evidence is verdict:
            return verdict, None
        return evidence, self._classes.setdefault(tests.passed(verdict), len(self._classes))
