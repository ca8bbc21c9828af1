"""Two answers before the model that gave them: which one is right?"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from operator import add

from espalier.common.seeds import derive_seed
from espalier.runtime.engine import Engine, Limits, Mode, RequestRefused, Tokens, Usage
from espalier.runtime.prompt import PromptTemplate
from espalier.solver.core.candidate import Candidate, Spec
from espalier.solver.core.generation import Generation, closing
from espalier.solver.core.policy import PairComparison
from espalier.solver.core.problem import Problem
from espalier.solver.core.prompts import request_for_comparison
from espalier.solver.core.recorder import CandidateBuilder
from espalier.solver.core.verification import VERDICT_TOKENS

SHOWN = 2000
"""Characters of a solution that are shown: its last ones, where it concludes."""

MARKS = " \n\t*_.:()[]\"'`{}"
"""What may stand around the letter in its token."""


class AnswerComparer:
    """Has the model compare solutions of one problem, in both orders, as a model prefers what it is shown first.

    Args:
        engine: The model that gave the solutions.
        template: Of prompts.
        generation: How responses are made; a comparison has a limit of its own.
        problem: What they solve.
        seed: Of the sampling.
        request_id: Leads the ids of the engine's requests.
    """

    def __init__(
        self,
        engine: Engine,
        template: PromptTemplate,
        generation: Generation,
        problem: Problem,
        seed: int,
        request_id: str,
    ) -> None:
        self._engine = engine
        self._template = template
        self._generation = replace(generation, limits=Limits(max_tokens=VERDICT_TOKENS), mode=Mode.SEQUENTIAL)
        self._problem = problem
        self._seed = seed
        self._id = request_id
        self._builders: list[CandidateBuilder] = []

    @property
    def usage(self) -> Usage:
        """Tokens of all comparisons so far."""
        return _sum(self._builders)

    async def compare(self, first: Candidate, second: Candidate) -> tuple[PairComparison, Usage]:
        """The two in both orders, side by side, and what it cost.

        Raises:
            EngineError: The engine failed.
        """
        before = len(self._builders)
        said, swapped = await asyncio.gather(self._ask(first, second), self._ask(second, first))
        assert first.answer_class is not None  # noqa: S101 (only answers with votes are compared)
        assert second.answer_class is not None  # noqa: S101
        cost = _sum(self._builders[before:])
        comparison = PairComparison(
            candidates=(first.spec.index, second.spec.index),
            classes=(first.answer_class, second.answer_class),
            score=(said + 1 - swapped) / 2,
            tokens=cost.new_tokens,
        )
        return comparison, cost

    async def _ask(self, shown_first: Candidate, shown_second: Candidate) -> float:
        """Probability that the one shown first is right, by the model's word; 1/2 where it does not name one."""
        tokenizer = self._engine.tokenizer
        name = f"{shown_first.spec.index}-{shown_second.spec.index}"
        asked = request_for_comparison(self._problem.text, shown_first.text[-SHOWN:], shown_second.text[-SHOWN:])
        prompt = self._template.encode(tokenizer, asked, self._problem.context)
        spec = Spec(0, 0, derive_seed(self._seed, "comparison", name), 1.0)
        request = self._generation.request(f"{self._id}/compare/{name}", prompt, spec, self._engine.info)
        builder = CandidateBuilder(spec, tokenizer, None, self._engine.info.end_of_turn)
        self._builders.append(builder)
        drawn: list[tuple[int, float]] = []
        try:
            async with closing(self._engine.generate(request)) as events:
                async for event in events:
                    builder.feed(event)
                    if isinstance(event, Tokens):
                        drawn += zip(event.tokens, event.logprobs, strict=True)
        except RequestRefused as error:
            builder.refuse(str(error))
        for token, logprob in drawn:
            letter = str(tokenizer.decode([token])).strip(MARKS)
            if letter in ("A", "B"):
                # An engine without log-probabilities says 0: then the letter that it drew counts whole.
                probability = math.exp(min(logprob, 0.0))
                return probability if letter == "A" else 1 - probability
        return 0.5


def _sum(builders: Sequence[CandidateBuilder]) -> Usage:
    return reduce(add, (builder.candidate(0.0).usage for builder in builders), Usage())
