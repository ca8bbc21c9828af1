"""Programs from examples: one hypothesis per branch, run by hand on the examples until one of them refutes it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from random import Random

from espalier.training.tasks import Problem
from espalier.training.tasks.programming import (
    PRIMITIVES,
    ListProgram,
    ListValue,
    Primitive,
    programs,
    run,
)
from recipes.seedling.traces.trace import Demonstration, TraceBlock, TraceBranch, first_found

BLOCKS = 4
"""Sets of hypotheses that a trace tries before it gives up."""
GIVING_UP = 0.08
"""Share of traces that do so."""


def phrase(program: ListProgram) -> str:
    """The program in words."""
    return ", then ".join(primitive.phrase for primitive in program)


def source(program: ListProgram) -> str:
    """The program as Python source of a function `f`."""
    lines = [f"    xs = {primitive.code}" for primitive in program[:-1]]
    return "\n".join(["def f(xs):", *lines, f"    return {program[-1].code}"])


def _written(value: ListValue) -> str:
    return json.dumps(value).replace(" ", "")


def _fenced(program: ListProgram) -> str:
    return f"```python\n{source(program)}\n```"


@cache
def _relatives(primitive: Primitive) -> tuple[Primitive, ...]:
    """Primitives that are easily taken for this one: same first word, else any of the same type of result."""
    word = primitive.phrase.split()[0]
    near = tuple(p for p in PRIMITIVES if p is not primitive and p.phrase.split()[0] == word)
    return near or tuple(p for p in PRIMITIVES if p is not primitive and p.closing == primitive.closing)


def _neighbour(program: ListProgram, rng: Random) -> ListProgram:
    """A different program that shares a part with this one."""
    kind = rng.random()
    if kind < 0.2 and len(program) == 2 and not program[1].closing:
        return (program[1], program[0])
    if kind < 0.35:
        return rng.choice(programs(rng.randint(1, 2)))
    at = rng.randrange(len(program))
    changed = rng.choice(_relatives(program[at]) if kind < 0.75 else PRIMITIVES)
    if changed.closing and at + 1 < len(program):
        return (changed,)
    if kind > 0.9 and len(program) > 1 and not program[0].closing:
        return (program[0],)
    return (*program[:at], changed, *program[at + 1 :])


def _test(program: ListProgram, examples: Sequence[list[int]], wanted: Sequence[ListValue]) -> TraceBranch:
    lines = []
    holds = True
    for xs, want in zip(examples, wanted, strict=True):
        values = run(program, xs)
        holds = values[-1] == want
        lines.append(f" {_written(xs)}{''.join(f' > {_written(value)}' for value in values)} {'ok' if holds else 'no'}")
        if not holds:
            break
    end = f"\n fits\n{_fenced(program)}\n" if holds else "\n refuted"
    return TraceBranch(f" {phrase(program)}", "\n".join(lines) + end, phrase(program) if holds else None)


def _furthest(blocks: Sequence[TraceBlock]) -> TraceBranch:
    """The branch that held for the most examples, the earliest of equals."""
    return max((branch for block in blocks for branch in block.branches), key=lambda branch: branch.work.count(" ok\n"))


def search(problem: Problem, rng: Random) -> Demonstration | None:
    """Near misses and the right program in random order; sometimes after blocks without the right one."""
    target: ListProgram = problem.metadata["program"]
    examples: list[list[int]] = problem.metadata["examples"]
    hidden: list[list[int]] = problem.metadata["hidden"]
    wanted = [run(target, xs)[-1] for xs in examples]
    by_phrase: dict[str, ListProgram] = {phrase(target): target}

    def wrong(count: int) -> list[TraceBranch]:
        found: list[TraceBranch] = []
        for _ in range(10 * count):
            candidate = _neighbour(target, rng)
            if phrase(candidate) not in by_phrase:
                by_phrase[phrase(candidate)] = candidate
                found.append(_test(candidate, examples, wanted))
            if len(found) == count:
                break
        return found

    blocks: list[TraceBlock] = []
    gives_up = rng.random() < GIVING_UP
    while gives_up or (len(blocks) < BLOCKS - 1 and rng.random() < 0.3):
        tried = [branch for branch in wrong(rng.choice((2, 3, 3, 4))) if branch.result is None]
        if not tried:
            break
        blocks.append(TraceBlock(tuple(tried), first_found(tried, last=len(blocks) + 1 == BLOCKS)[0]))
        if len(blocks) == BLOCKS:
            guess = by_phrase[_furthest(blocks).plan.strip()]
            return Demonstration(tuple(blocks), f"No plan worked; a guess:\n{_fenced(guess)}")
    chosen = [_test(target, examples, wanted), *wrong(rng.choice((2, 2, 3, 3, 4)))]
    rng.shuffle(chosen)
    takeaway, found = first_found(chosen)
    blocks.append(TraceBlock(tuple(chosen), takeaway))
    if found is None:
        return None
    answer = by_phrase[found]
    if any(run(answer, xs)[-1] != run(target, xs)[-1] for xs in hidden):
        return None
    return Demonstration(tuple(blocks), _fenced(answer))
