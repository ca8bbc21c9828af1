"""What a number of responses to one problem would have been worth, with and without a verifier to choose."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from espalier.common.seeds import derive_seed
from espalier.runtime.engine import BranchOpened, Engine, EngineError, Event, Finished, FinishReason, Tokens
from espalier.solver.core.candidate import Candidate, Spec
from espalier.solver.core.generation import Generation, closing
from espalier.solver.core.loop import Solver, Verifiers, verify_seconds
from espalier.solver.core.problem import Problem
from espalier.solver.core.prompts import Templates, question
from espalier.solver.core.recorder import CandidateBuilder
from espalier.solver.core.ways import PROGRAM, Way
from espalier.verifiers.check import Claim
from espalier.verifiers.verdict import Status

if TYPE_CHECKING:
    from espalier.runtime.layout import Path


@dataclass(frozen=True, slots=True)
class Sample:
    """One response that ran to its end.

    Attributes:
        correct: Its final answer passes.
        reachable: Its final answer or that of one of its steps passes: a solver that verifies branches would find it.
        undecided: The verifier failed; such a sample is left out of every share.
        answered: It states an answer.
        forked: At least two of its steps ran side by side.
        well_formed: It keeps to the grammar.
        cut: A limit ended it.
        new_tokens: Sampled and forced.
        critical_path_tokens: Of them, those on the longest chain.
    """

    correct: bool
    reachable: bool
    undecided: bool
    answered: bool
    forked: bool
    well_formed: bool
    cut: bool
    new_tokens: int
    critical_path_tokens: int


async def sample(solver: Solver, problem: Problem, number: int, *, seed: int, temperature: float) -> Sample:
    """Generate one response to its end and judge all it states.

    Raises:
        EngineError: The engine failed.
    """
    drawn = await draw(solver.engine, solver.templates, solver.generation, problem, number, seed, temperature)
    return await assess(Verdicts(solver.verifiers, problem), drawn)


async def draw(
    engine: Engine,
    templates: Templates,
    generation: Generation,
    problem: Problem,
    number: int,
    seed: int,
    temperature: float,
    way: str = "",
) -> Candidate:
    """Generate response `number` of a problem to its end. Its answer by the way of programs is the program itself.

    No observer watches, so the engine is asked for the last event alone, and branches are read when it has come.

    Raises:
        EngineError: The engine failed.
    """
    ends = engine.info.end_of_turn
    spec = Spec(number, 0, derive_seed(seed, number), temperature, way=way)
    form = PROGRAM if way == Way.PROGRAM else problem.check
    recorder = CandidateBuilder(spec, engine.tokenizer, form, ends)
    prompt = templates.of(way).encode(engine.tokenizer, question(problem.text, spec))
    request = replace(generation.request(uuid.uuid4().hex, prompt, spec, engine.info), final_event_only=True)
    async with closing(engine.generate(request)) as events:
        async for event in events:
            if isinstance(event, Finished):
                for whole in _branches(event):
                    recorder.feed(whole)
                recorder.feed(event)
    candidate = recorder.candidate(0.0)
    if candidate.reason is FinishReason.ERROR:
        raise EngineError(candidate.detail or "the engine ended a response without giving a reason")
    return candidate


def _branches(finished: Finished) -> Iterator[Event]:
    """The branches of a response as if each had come in one piece."""
    tokens: dict[Path, list[int]] = {}
    for token, path in zip(finished.rollout.tokens, finished.rollout.paths, strict=True):
        tokens.setdefault(path, []).append(token)
    for path, own in tokens.items():
        if path:
            yield BranchOpened(finished.request_id, path, ())
        nothing = (0.0,) * len(own)
        yield Tokens(finished.request_id, path, tuple(own), nothing, (False,) * len(own), (0,) * len(own))


class Verdicts:
    """The verdicts on the answers to one problem: each distinct answer is judged once."""

    def __init__(self, judge: Verifiers, problem: Problem) -> None:
        self._judge = judge
        self._problem = problem
        self._known: dict[str, asyncio.Task[Status]] = {}

    async def on(self, answer: str) -> Status:
        """What the problem's check says of an answer."""
        if answer not in self._known:
            self._known[answer] = asyncio.create_task(_judge(self._judge, self._problem, answer))
        return await asyncio.shield(self._known[answer])


async def assess(known: Verdicts, candidate: Candidate) -> Sample:
    """Judge all that a response states."""
    stated = dict.fromkeys(
        ([candidate.answer] if candidate.answer else []) + [b.answer for b in candidate.branch_answers]
    )
    verdicts = dict(zip(stated, await asyncio.gather(*map(known.on, stated)), strict=True))
    correct = candidate.answer is not None and verdicts[candidate.answer] is Status.PASS
    reachable = Status.PASS in verdicts.values()
    return Sample(
        correct=correct,
        reachable=reachable,
        undecided=not correct and Status.ERROR in verdicts.values(),
        answered=candidate.answer is not None,
        forked=candidate.forked,
        well_formed=candidate.well_formed,
        cut=candidate.reason is FinishReason.LENGTH,
        new_tokens=candidate.usage.new_tokens,
        critical_path_tokens=candidate.usage.critical_path_tokens,
    )


async def _judge(judge: Verifiers, problem: Problem, answer: str) -> Status:
    if problem.check is None:
        return Status.UNKNOWN
    claim = Claim(answer, bare=True, problem=problem.text)
    return (await judge.verify(claim, problem.check, timeout=verify_seconds(problem.check))).status
