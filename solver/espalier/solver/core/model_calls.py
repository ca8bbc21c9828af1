"""Responses of the model that are no candidates: they are evidence about candidates, and what they cost is counted."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add

from espalier.runtime.engine import Engine, RequestRefused, Tokens, Usage
from espalier.runtime.prompt import PromptTemplate
from espalier.solver.core.candidate import Candidate, Spec
from espalier.solver.core.generation import Generation, closing
from espalier.solver.core.problem import Problem
from espalier.solver.core.recorder import CandidateBuilder


@dataclass(slots=True)
class ModelCalls:
    """Asks the model of a solve about its problem.

    Attributes:
        engine: The model that gave the candidates.
        template: Of prompts.
        generation: How responses are made. None has to hold a block: what is asked here is no problem to be split up.
        problem: What is asked about, with what was said before it.
        request_id: Leads the ids of the engine's requests.
    """

    engine: Engine
    template: PromptTemplate
    generation: Generation
    problem: Problem
    request_id: str
    _builders: list[CandidateBuilder] = field(default_factory=list)

    @property
    def responses(self) -> tuple[Candidate, ...]:
        """All responses so far, in the order in which they were asked for, those that were cut off included."""
        return tuple(builder.candidate(0.0) for builder in self._builders)

    @property
    def usage(self) -> Usage:
        """Tokens of all responses so far."""
        return reduce(add, (response.usage for response in self.responses), Usage())

    async def ask(self, asked: str, spec: Spec, name: str) -> tuple[Candidate, list[tuple[int, float]]]:
        """Ask once.

        Args:
            asked: The text of the question.
            spec: How to sample the response.
            name: Of the request, among those of the solve.

        Returns:
            The response, and its tokens with their log-probabilities. It is empty where the engine refuses.

        Raises:
            EngineError: The engine failed.
        """
        tokenizer, info = self.engine.tokenizer, self.engine.info
        prompt = self.template.encode(tokenizer, asked, self.problem.context)
        generation = replace(self.generation, constrained=False)
        request = generation.request(f"{self.request_id}/{name}", prompt, spec, info)
        builder = CandidateBuilder(spec, tokenizer, None, info.end_of_turn)
        self._builders.append(builder)
        drawn: list[tuple[int, float]] = []
        try:
            async with closing(self.engine.generate(request)) as events:
                async for event in events:
                    builder.feed(event)
                    if isinstance(event, Tokens):
                        drawn += zip(event.tokens, event.logprobs, strict=True)
        except RequestRefused as error:
            builder.refuse(str(error))
        return builder.candidate(0.0), drawn
