"""Responses to a file of problems, sampled in one place and judged in another."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean

from espalier.common.seeds import derive_seed
from espalier.runtime.engine import Engine, FinishReason
from espalier.solver.core.candidate import Candidate
from espalier.solver.core.evaluate import ProblemSamples, TaskScores, summarise
from espalier.solver.core.generation import Generation
from espalier.solver.core.loop import Verifiers
from espalier.solver.core.problem import Problem
from espalier.solver.core.prompts import Templates
from espalier.solver.core.responses import Key, ResponseFile
from espalier.solver.core.sample import Verdicts, assess, draw
from espalier.training.data.cold_start import Solution
from espalier.verifiers.verdict import Status

OnProgress = Callable[[int, int], None]
"""Hears how many are done, of how many."""

LANES = 4
"""Rounds of requests that are on their way at a time."""

TASK = "file"
"""Name of the task under which the responses of a file of problems are stored."""


@dataclass(frozen=True, slots=True)
class Draws:
    """How responses are sampled.

    Attributes:
        samples: Responses to each problem.
        seed: Of the sampling; with the problem's id and the number of the response it makes the seed of each one.
        temperature: Of the sampling.
        at_once: Requests on their way at a time.
        ways: Ways of solving, handed out to the responses in turn; none: as the problem is put.
    """

    samples: int
    seed: int
    temperature: float
    at_once: int
    ways: tuple[str, ...] = ()


async def sample(
    engine: Engine,
    templates: Templates,
    generation: Generation,
    problems: Sequence[Problem],
    draws: Draws,
    kept: ResponseFile,
    progress: OnProgress = lambda done, total: None,
) -> None:
    """Sample what `kept` does not hold yet, and store each response as soon as it has ended.

    Requests go out in rounds: an engine reads a new prompt between two tokens of all others, so hundreds of requests
    that come one by one, each when another has ended, keep it from decoding (on one H200, 768 at a time: 10,000 tokens
    a second, and 30,000 in rounds). Several lanes have rounds of their own, so that the last responses of one round
    decode beside another round.

    Raises:
        EngineError: The engine failed; what was sampled before is stored.
    """
    wanted = [
        (problem, number)
        for number in range(draws.samples)
        for problem in problems
        if (TASK, problem.id, number) not in kept.known
    ]
    total, done = len(problems) * draws.samples, len(problems) * draws.samples - len(wanted)
    queue = iter(wanted)

    async def one(problem: Problem, number: int) -> None:
        nonlocal done
        seed = derive_seed(draws.seed, problem.id)
        way = draws.ways[number % len(draws.ways)] if draws.ways else ""
        drawn = await draw(engine, templates, generation, problem, number, seed, draws.temperature, way)
        kept.add(TASK, problem.id, drawn)
        done += 1
        progress(done, total)

    async def lane(size: int) -> None:
        while asked := list(islice(queue, size)):  # one iterator for all lanes: each takes what comes next
            async with asyncio.TaskGroup() as round_:
                for problem, number in asked:
                    round_.create_task(one(problem, number))

    lanes = min(LANES, draws.at_once)
    async with asyncio.TaskGroup() as group:
        for number in range(lanes):
            group.create_task(lane((draws.at_once + number) // lanes))


def by_problem(responses: Sequence[tuple[Key, Candidate]]) -> Mapping[str, list[Candidate]]:
    """The responses to each problem, in the order of their numbers."""
    found: dict[str, list[tuple[int, Candidate]]] = {}
    for (_, problem, number), candidate in responses:
        found.setdefault(problem, []).append((number, candidate))
    return {name: [one for _, one in sorted(own, key=lambda pair: pair[0])] for name, own in found.items()}


async def solutions(judge: Verifiers, problem: Problem, candidates: Sequence[Candidate]) -> list[Solution]:
    """The responses that ended by themselves with an answer that could be judged."""
    verdicts = Verdicts(judge, problem)
    ended = [(one, one.answer) for one in candidates if one.reason is FinishReason.STOP and one.answer is not None]
    statuses = await asyncio.gather(*(verdicts.on(answer) for _, answer in ended))
    return [
        Solution(one.text, answer, status is Status.PASS)
        for (one, answer), status in zip(ended, statuses, strict=True)
        if status in (Status.PASS, Status.FAIL)
    ]


@dataclass(frozen=True, slots=True)
class Score:
    """What responses to a set of problems are worth.

    Attributes:
        row: Shares and means; see there.
        majority: Share of the problems whose most frequent answer passes, of all their samples (first one on a tie);
            answers are the same where they are the same text.
        answered: Share of the responses that state an answer.
    """

    row: TaskScores
    majority: float
    answered: float


async def score(
    name: str,
    judge: Verifiers,
    problems: Sequence[Problem],
    candidates: Mapping[str, Sequence[Candidate]],
    ks: Sequence[int],
) -> Score:
    """Judge responses. Problems without any are left out; one has some."""
    measured: list[ProblemSamples] = []
    majorities: list[bool] = []
    asked = [problem for problem in problems if candidates.get(problem.id)]
    for start in range(0, len(asked), 64):
        several = asked[start : start + 64]
        judged = await asyncio.gather(*(_judged(judge, problem, candidates[problem.id]) for problem in several))
        measured += [one for one, _ in judged]
        majorities += [right for _, right in judged]
    answered = fmean(s.answered for one in measured for s in one.samples)
    return Score(summarise(name, measured, ks), fmean(majorities), answered)


async def _judged(judge: Verifiers, problem: Problem, candidates: Sequence[Candidate]) -> tuple[ProblemSamples, bool]:
    verdicts = Verdicts(judge, problem)
    samples = await asyncio.gather(*(assess(verdicts, one) for one in candidates))
    answers = Counter(one.answer for one in candidates if one.answer)
    right = bool(answers) and await verdicts.on(answers.most_common(1)[0][0]) is Status.PASS
    return ProblemSamples(TASK, problem.id, tuple(samples)), right
