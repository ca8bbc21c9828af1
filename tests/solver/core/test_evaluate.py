"""Evaluation: the estimates are the textbook's, and a run that broke off resumes."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.runtime.engine import EngineError
from espalier.solver.core.evaluate import (
    EvaluationPlan,
    ProblemSamples,
    ResultFile,
    accuracy,
    evaluate,
    mean_pass_at_k,
    pass_at_k,
    summarise,
)
from espalier.solver.core.loop import Solver
from espalier.solver.core.problem import Problem
from espalier.solver.core.sample import Sample, sample
from espalier.verifiers.check import ReferenceCheck
from tests.solver.scripted import ERROR, FAIL, PASS, ScriptedEngine, ScriptedJudge, boxed, response

PROBLEM = Problem("p", "What is 6 times 7?", ReferenceCheck("42"))
PLAN = EvaluationPlan(("t",), 3, 2, 0, 1.0, 100, "scripted")
GOOD = Sample(True, True, False, True, True, True, False, 10, 5)
BAD = replace(GOOD, correct=False, reachable=False)


@given(st.integers(1, 8), st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_right_sample(n: int, data: st.DataObject) -> None:
    correct, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    subsets = list(itertools.combinations([True] * correct + [False] * (n - correct), k))
    assert pass_at_k(n, correct, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


@pytest.mark.parametrize("k", [0, 5])
def test_pass_at_k_needs_enough_samples(k: int) -> None:
    with pytest.raises(ValueError, match="between 1 and the 4 samples"):
        pass_at_k(4, 2, k)


async def test_a_sample_runs_to_its_end_and_counts_steps_apart() -> None:
    engine = ScriptedEngine.of(response(boxed("42"), "x", answer=boxed("41")))
    solver = Solver(engine, ScriptedJudge({"42": PASS, "41": FAIL}))
    one = await sample(solver, PROBLEM, 0, seed=1, temperature=0.7)
    assert (one.correct, one.reachable, one.forked, one.well_formed) == (False, True, True, True)
    assert one.critical_path_tokens < one.new_tokens == sum(engine.emitted.values())
    assert not engine.aborted
    assert engine.requests[0].sampling.temperature == 0.7
    assert engine.requests[0].final_event_only  # a server streams nothing that nobody reads


async def test_a_sample_that_could_not_be_judged_is_left_out_of_every_share() -> None:
    one = await sample(
        Solver(ScriptedEngine.of(boxed("42")), ScriptedJudge({"42": ERROR})), PROBLEM, 0, seed=0, temperature=1.0
    )
    assert one.undecided
    row = summarise("t", [ProblemSamples("t", "p", (one, GOOD, GOOD))], (1, 2, 3))
    assert row.pass_at == {1: 1.0, 2: 1.0}
    assert row.undecided == 1


def test_a_row_averages_over_problems() -> None:
    row = summarise(
        "t",
        [ProblemSamples("t", "a", (GOOD, BAD)), ProblemSamples("t", "b", (BAD, replace(BAD, reachable=True)))],
        (1, 2),
    )
    assert row.pass_at == {1: 0.25, 2: 0.5}
    assert row.best_of == {1: 0.5, 2: 1.0}


async def test_a_run_that_broke_off_resumes_with_what_it_had(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    problems = {"t": [replace(PROBLEM, id=str(i)) for i in range(3)]}
    judge = ScriptedJudge({"42": PASS})
    with pytest.raises(ExceptionGroup) as caught:
        broken = ScriptedEngine(lambda _, number: boxed("42") if number < 3 else None, fails_after=50)
        file = ResultFile(path, PLAN)
        await evaluate(Solver(broken, judge), PLAN, problems, file.done, file.add)
    assert caught.group_contains(EngineError)
    path.write_text(path.read_text() + '{"task": "t", "prob')  # cut off while it was written
    file = ResultFile(path, PLAN)
    kept = len(file.done)
    assert kept == 1
    engine = ScriptedEngine.of(boxed("42"))
    measured = await evaluate(Solver(engine, judge), PLAN, problems, file.done, file.add)
    assert len(engine.requests) == PLAN.samples * (3 - kept)
    assert summarise("t", measured["t"], (1,)).pass_at == {1: 1.0}
    assert len(ResultFile(path, PLAN).done) == 3


def test_results_of_another_evaluation_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    ResultFile(path, PLAN)
    with pytest.raises(ValueError, match=r"seed is 0 there and 1 here"):
        ResultFile(path, replace(PLAN, seed=1))
    with pytest.raises(ValueError, match=r"max_branch_tokens is None there and 400 here"):
        ResultFile(path, replace(PLAN, max_branch_tokens=400))
    path.write_text("hello\n")
    with pytest.raises(ValueError, match="not the output of an evaluation"):
        ResultFile(path, PLAN)
    path.write_text(json.dumps({"plan": "x"}) + "\n")
    with pytest.raises(ValueError, match="not the output of an evaluation"):
        ResultFile(path, PLAN)


def test_results_that_do_not_name_limits_yet_were_made_with_the_usual_ones(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    older = {
        "tasks": ["t"],
        "problems": 3,
        "samples": 2,
        "seed": 0,
        "temperature": 1.0,
        "max_tokens": 100,
        "model": "scripted",
    }
    path.write_text(json.dumps({"plan": older}) + "\n")
    assert ResultFile(path, PLAN).done == {}
    with pytest.raises(ValueError, match=r"max_plans is 8 there and 4 here"):
        ResultFile(path, replace(PLAN, max_plans=4))


def test_accuracy_is_the_mean_over_problems_and_leaves_out_what_is_undecided() -> None:
    mean, error = accuracy([[True, False], [True], []])
    assert mean == pytest.approx(0.75)
    assert error == pytest.approx(0.25)
    assert accuracy([[], []]) == (None, None)
    assert accuracy([[True]]) == (1.0, None)


def test_pass_at_k_takes_problems_with_enough_samples() -> None:
    assert mean_pass_at_k([[True, False], [False]], 1) == pytest.approx(0.25)
    assert mean_pass_at_k([[True, False], [False]], 2) == 1.0
    assert mean_pass_at_k([[True]], 2) is None
