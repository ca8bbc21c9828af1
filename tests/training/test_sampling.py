"""Responses to a file of problems: all are drawn, no more at a time than asked for, and in rounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from espalier.runtime.engine import Event, GenerateRequest
from espalier.runtime.prompt import PromptTemplate
from espalier.solver.core.generation import Generation
from espalier.solver.core.problem import Problem
from espalier.solver.core.prompts import Templates
from espalier.solver.core.responses import ResponseFile, Sampling
from espalier.training.data.sampling import LANES, Draws, sample
from tests.solver.scripted import ScriptedEngine, boxed

TEMPLATES = Templates(PromptTemplate("{question}"))
PROBLEMS = [Problem(str(number), f"What is {number}?") for number in range(10)]


@dataclass
class Watched(ScriptedEngine):
    """Ends its responses one after the other, and remembers how many were on their way when each request came."""

    beside: list[int] = field(default_factory=list)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[Event]:
        self.beside.append(len(self.running))
        events = [event async for event in super().generate(request)]
        self.running.add(request.request_id)
        for _ in range(5 * len(self.running)):
            await asyncio.sleep(0)
        self.running.discard(request.request_id)
        for event in events:
            yield event


def file(path: Path) -> ResponseFile:
    return ResponseFile(path / "responses.jsonl", Sampling("scripted", 1, 0.5, 100))


@pytest.mark.parametrize("at_once", [1, 3, 7, 16, 100])
async def test_every_response_is_drawn_once_and_no_more_are_on_their_way_than_asked_for(
    tmp_path: Path, at_once: int
) -> None:
    engine = Watched.of(boxed("1"))
    await sample(engine, TEMPLATES, Generation(), PROBLEMS, Draws(3, 1, 0.5, at_once), file(tmp_path))
    kept = file(tmp_path).known
    assert sorted(kept) == sorted(("file", problem.id, number) for problem in PROBLEMS for number in range(3))
    assert max(engine.beside) < at_once
    await sample(engine, TEMPLATES, Generation(), PROBLEMS, Draws(3, 1, 0.5, at_once), file(tmp_path))
    assert len(engine.requests) == 30


async def test_a_request_waits_for_the_rest_of_its_round(tmp_path: Path) -> None:
    """Requests that come one by one keep a server from decoding."""
    engine = Watched.of(boxed("1"))
    await sample(engine, TEMPLATES, Generation(), PROBLEMS, Draws(8, 1, 0.5, 4 * LANES), file(tmp_path))
    assert len(engine.beside) == 80
    alone = [now for before, now in zip(engine.beside, engine.beside[1:], strict=False) if now <= before]
    assert len(alone) <= 80 // 4  # at most one drop of those on their way for each round of four
