"""Traces of real solves by a scripted engine: what it says is up to the test."""

from __future__ import annotations

from pathlib import Path

from espalier.solver.core.events import fan_out
from espalier.solver.core.loop import Solver
from espalier.solver.core.policies import BestOfK
from espalier.solver.core.policy import Budget
from espalier.solver.core.problem import Problem
from espalier.solver.core.result import Result
from espalier.solver.trace.writer import TraceWriter
from espalier.verifiers.check import ReferenceCheck
from espalier.verifiers.verdict import Verdict
from tests.solver.scripted import FAIL, ScriptedEngine, ScriptedJudge


async def traced(
    path: Path, *responses: str, text: str = "What is 6 times 7?", verdicts: dict[str, Verdict] | None = None
) -> Result:
    """Write the trace of a solve with one candidate for each response, of which none passes unless told."""
    solver = Solver(ScriptedEngine.of(*responses), ScriptedJudge(verdicts or {"41": FAIL}))
    with TraceWriter(path) as trace:
        return await solver.solve(
            Problem("p", text, ReferenceCheck("42")),
            BestOfK(),
            Budget(candidates=len(responses)),
            observer=fan_out(trace.observer("p")),
        )
