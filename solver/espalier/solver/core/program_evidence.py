"""Evidence about programs that no check judges: tests that the model writes itself, run in the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from operator import add
from typing import Protocol

from espalier.common.seeds import derive_seed
from espalier.runtime.engine import Engine, Limits, RequestRefused, Usage
from espalier.runtime.prompt import PromptTemplate
from espalier.solver.core.candidate import Spec
from espalier.solver.core.events import Observer, WrittenTests
from espalier.solver.core.generation import Generation, closing
from espalier.solver.core.problem import Problem
from espalier.solver.core.prompts import request_for_tests
from espalier.solver.core.recorder import CandidateBuilder
from espalier.solver.core.verification import TEST_TEMPERATURE
from espalier.verifiers.check import Check, Claim
from espalier.verifiers.generated_tests import NO_TESTS, PER_TEXT, GeneratedTests
from espalier.verifiers.verdict import Verdict


class ProgramVerifier(Protocol):
    """The part of the verifiers that runs programs."""

    async def verify(self, claim: Claim, check: Check, *, timeout: float | None = None) -> Verdict: ...


class ProgramEvidence:
    """The generated tests of one solve, and what they say of its programs.

    Args:
        engine: Writes the tests: the model that writes the programs.
        template: Of prompts.
        generation: How responses are made; their limits are those of `texts`.
        problem: What the programs solve.
        texts: Limits of each response that writes tests.
        seed: Of their sampling.
        request_id: Leads the ids of the engine's requests.
        observer: Is told of the tests.
    """

    def __init__(
        self,
        engine: Engine,
        template: PromptTemplate,
        generation: Generation,
        problem: Problem,
        texts: Sequence[Limits],
        seed: int,
        request_id: str,
        observer: Observer,
    ) -> None:
        self._engine = engine
        self._template = template
        self._generation = generation
        self._problem = problem
        self._texts = texts
        self._seed = seed
        self._id = request_id
        self._observer = observer
        self._builders: list[CandidateBuilder] = []
        self._classes: dict[frozenset[int], int] = {}

    @property
    def usage(self) -> Usage:
        """Tokens of the tests so far, those of responses that were cut off included."""
        return reduce(add, (builder.candidate(0.0).usage for builder in self._builders), Usage())

    async def write(self) -> GeneratedTests:
        """Have the model write tests, all responses side by side. One that the engine refuses brings none.

        Raises:
            EngineError: The engine failed.
        """
        asked = request_for_tests(self._problem.text, PER_TEXT)
        prompt = self._template.encode(self._engine.tokenizer, asked, self._problem.context)
        texts = await asyncio.gather(*(self._write(prompt, i, one) for i, one in enumerate(self._texts)))
        tests = GeneratedTests.of(texts, self._problem.text)
        self._observer(WrittenTests(tests, self.usage))
        return tests

    async def _write(self, prompt: tuple[int, ...], number: int, limits: Limits) -> str:
        spec = Spec(number, 0, derive_seed(self._seed, "tests", number), TEST_TEMPERATURE)
        generation = replace(self._generation, limits=limits)
        request = generation.request(f"{self._id}/tests/{number}", prompt, spec, self._engine.info)
        builder = CandidateBuilder(spec, self._engine.tokenizer, None, self._engine.info.end_of_turn)
        self._builders.append(builder)
        try:
            async with closing(self._engine.generate(request)) as events:
                async for event in events:
                    builder.feed(event)
        except RequestRefused as error:
            builder.refuse(str(error))
        return builder.candidate(0.0).text

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
