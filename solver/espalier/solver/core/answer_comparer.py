"""Two answers before the model that gave them: which one is right?"""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace

from espalier.common.seeds import derive_seed
from espalier.runtime.engine import Limits, Mode, Usage
from espalier.solver.core.candidate import Candidate, Spec
from espalier.solver.core.model_calls import ModelCalls
from espalier.solver.core.policy import PairComparison
from espalier.solver.core.prompts import request_for_comparison
from espalier.solver.core.verification import VERDICT_TOKENS

SHOWN = 2000
"""Characters of a solution that are shown: its last ones, where it concludes."""

MARKS = " \n\t*_.:()[]\"'`{}"
"""What may stand around the letter in its token."""


class AnswerComparer:
    """Has the model compare solutions of one problem, in both orders, as a model prefers what it is shown first.

    Args:
        calls: Ask the model that gave the solutions.
        seed: Of the sampling.
    """

    def __init__(self, calls: ModelCalls, seed: int) -> None:
        limited = replace(calls.generation, limits=Limits(max_tokens=VERDICT_TOKENS), mode=Mode.SEQUENTIAL)
        self._calls = replace(calls, generation=limited)
        self._seed = seed

    @property
    def usage(self) -> Usage:
        """Tokens of all comparisons so far."""
        return self._calls.usage

    async def compare(self, first: Candidate, second: Candidate) -> tuple[PairComparison, Usage]:
        """The two in both orders, side by side, and what it cost.

        Raises:
            EngineError: The engine failed.
        """
        (said, one), (swapped, other) = await asyncio.gather(self.prefers(first, second), self.prefers(second, first))
        assert first.answer_class is not None  # noqa: S101 (only answers with votes are compared)
        assert second.answer_class is not None  # noqa: S101
        cost = one + other
        comparison = PairComparison(
            candidates=(first.spec.index, second.spec.index),
            classes=(first.answer_class, second.answer_class),
            score=(said + 1 - swapped) / 2,
            tokens=cost.new_tokens,
        )
        return comparison, cost

    async def prefers(self, shown_first: Candidate, shown_second: Candidate) -> tuple[float, Usage]:
        """Probability that the one shown first is right, by the model's word; 1/2 where it does not name one.

        Raises:
            EngineError: The engine failed.
        """
        problem, tokenizer = self._calls.problem, self._calls.engine.tokenizer
        name = f"{shown_first.spec.index}-{shown_second.spec.index}"
        asked = request_for_comparison(problem.text, shown_first.text[-SHOWN:], shown_second.text[-SHOWN:])
        spec = Spec(0, 0, derive_seed(self._seed, "comparison", name), 1.0)
        response, drawn = await self._calls.ask(asked, spec, f"compare/{name}")
        for token, logprob in drawn:
            letter = str(tokenizer.decode([token])).strip(MARKS)
            if letter in ("A", "B"):
                # An engine without log-probabilities says 0: then the letter that it drew counts whole.
                probability = math.exp(min(logprob, 0.0))
                return (probability if letter == "A" else 1 - probability), response.usage
        return 0.5, response.usage
