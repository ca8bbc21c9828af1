"""Responses on disk: what was made in one place is judged in another, and nothing is made twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from espalier.runtime.engine import Limits
from espalier.solver.core.evaluate import EvaluationPlan, evaluate
from espalier.solver.core.generation import Generation
from espalier.solver.core.loop import Solver
from espalier.solver.core.problem import Problem
from espalier.solver.core.responses import ResponseFile, Sampling, read
from espalier.solver.core.sample import draw
from espalier.verifiers.check import ReferenceCheck
from tests.solver.scripted import FAIL, PASS, ScriptedEngine, ScriptedJudge, boxed, response

PROBLEM = Problem("p", "What is 6 times 7?", ReferenceCheck("42"))
PLAN = EvaluationPlan(("t",), 3, 2, 0, 1.0, 100, "scripted")
SAMPLING = Sampling("scripted", 0, 1.0, 100)
GENERATION = Generation(limits=Limits(max_tokens=100))
PROBLEMS = {"t": [replace(PROBLEM, id=str(number)) for number in range(3)]}


async def measured(path: Path, engine: ScriptedEngine) -> list[bool]:
    solver = Solver(engine, ScriptedJudge({"42": PASS, "41": FAIL}))
    rows = await evaluate(solver, PLAN, PROBLEMS, {}, lambda _: None, ResponseFile(path, SAMPLING))
    return [sample.correct for one in rows["t"] for sample in one.samples]


async def test_responses_of_a_file_are_judged_and_only_the_missing_ones_are_made(tmp_path: Path) -> None:
    path = tmp_path / "responses.jsonl"
    first = await measured(path, ScriptedEngine(lambda _, number: boxed("42" if number % 2 else "41")))
    lines = path.read_text().splitlines()
    assert len(lines) == 1 + 6
    path.write_bytes(("\n".join(lines[:-1]) + '\n{"task": "t", "text": "é').encode()[:-1])  # within a character
    again = ScriptedEngine.of(boxed("42"))
    assert sum(await measured(path, again)) in (sum(first), sum(first) + 1)
    assert len(again.requests) == 1
    assert len(read(path)[1]) == 6


async def test_a_response_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "responses.jsonl"
    solver = Solver(ScriptedEngine.of(response(boxed("42"), "x", answer=boxed("41"))), ScriptedJudge({}))
    drawn = await draw(solver.engine, solver.templates, solver.generation, PROBLEM, 3, 0, 0.7)
    assert (drawn.answer, [found.answer for found in drawn.branch_answers]) == ("41", ["42"])
    ResponseFile(path, SAMPLING).add("t", "p", drawn)
    assert read(path) == (SAMPLING, [(("t", "p", 3), drawn)])


async def test_what_two_processes_wrote_to_one_file_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "responses.jsonl"
    one, other = ResponseFile(path, SAMPLING), ResponseFile(path, SAMPLING)
    for file, engine in ((one, ScriptedEngine.of(boxed("41"))), (other, ScriptedEngine.of(boxed("42")))):
        solver = Solver(engine, ScriptedJudge({}))
        file.add("t", "p", await draw(engine, solver.templates, solver.generation, PROBLEM, 0, 0, 1.0))
    assert [(key, found.answer) for key, found in read(path)[1]] == [(("t", "p", 0), "42")]


def test_responses_made_otherwise_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "responses.jsonl"
    ResponseFile(path, SAMPLING)
    assert ResponseFile(path, replace(SAMPLING, model="copied elsewhere")).sampling == SAMPLING
    with pytest.raises(ValueError, match="made with seed 0, not 1"):
        ResponseFile(path, replace(SAMPLING, seed=1))
    for name, theirs, ours in (
        ("constrained", False, True),
        ("max_plans", 8, 4),
        ("max_depth", 5, 1),
        ("max_branch_tokens", None, 400),
    ):
        with pytest.raises(ValueError, match=f"made with {name} {theirs}, not {ours}"):
            ResponseFile(path, replace(SAMPLING, **{name: ours}))


def test_sequential_responses_are_not_mixed_with_parallel_ones(tmp_path: Path) -> None:
    path = tmp_path / "responses.jsonl"
    ResponseFile(path, replace(SAMPLING, mode="sequential"))
    with pytest.raises(ValueError, match="made with mode sequential, not parallel"):
        ResponseFile(path, replace(SAMPLING, mode="parallel"))
    older = tmp_path / "older.jsonl"
    ResponseFile(older, SAMPLING)  # does not say
    assert ResponseFile(older, replace(SAMPLING, mode="sequential")).sampling.mode == ""


def test_a_file_that_does_not_name_limits_yet_was_made_with_the_usual_ones(tmp_path: Path) -> None:
    path = tmp_path / "responses.jsonl"
    path.write_text('{"sampling": {"model": "scripted", "seed": 0, "temperature": 1.0, "max_tokens": 100}}\n')
    assert ResponseFile(path, SAMPLING).sampling == SAMPLING
    assert Sampling.of("scripted", GENERATION, 0, 1.0) == replace(SAMPLING, mode="parallel")
    with pytest.raises(ValueError, match="made with max_plans 8, not 4"):
        ResponseFile(path, replace(SAMPLING, max_plans=4))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello\n", "does not hold responses"),
        ("", "does not hold responses"),
        (
            json.dumps({"sampling": {"model": "m", "seed": 0, "temperature": 1.0, "max_tokens": 9}}) + "\n{}\n",
            ":2: not a",
        ),
    ],
)
def test_another_file_is_no_file_of_responses(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "responses.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read(path)


async def test_an_answer_that_repeats_is_judged_once(tmp_path: Path) -> None:
    judge = ScriptedJudge({"42": PASS})
    solver = Solver(ScriptedEngine.of(boxed("42")), judge)
    await evaluate(solver, PLAN, {"t": PROBLEMS["t"][:1]}, {}, lambda _: None)
    assert judge.asked == {"42": 1}
