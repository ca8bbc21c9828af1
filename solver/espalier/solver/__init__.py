"""The solver: a problem in, a verified answer out.

The names below are what users need; each is imported when it is first used, so that `--help` stays fast and a client
needs neither torch nor numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from espalier.solver.core.candidate import Candidate
    from espalier.solver.core.events import Observer, SolveEvent
    from espalier.solver.core.generation import Generation, generation_of
    from espalier.solver.core.loop import Solver
    from espalier.solver.core.policies import Adaptive, BestOfK, Greedy, Refine
    from espalier.solver.core.policy import Budget, Policy
    from espalier.solver.core.problem import Problem, read_problem_file
    from espalier.solver.core.prompts import templates_of
    from espalier.solver.core.result import Result, Spent
    from espalier.solver.core.selection import DecidedBy, Selection
    from espalier.solver.trace.writer import TraceWriter

_WHERE = {
    "Candidate": "core.candidate",
    **dict.fromkeys(("Observer", "SolveEvent"), "core.events"),
    **dict.fromkeys(("Generation", "generation_of"), "core.generation"),
    "Solver": "core.loop",
    **dict.fromkeys(("Adaptive", "BestOfK", "Greedy", "Refine"), "core.policies"),
    **dict.fromkeys(("Budget", "Policy"), "core.policy"),
    **dict.fromkeys(("Problem", "read_problem_file"), "core.problem"),
    "templates_of": "core.prompts",
    **dict.fromkeys(("Result", "Spent"), "core.result"),
    **dict.fromkeys(("DecidedBy", "Selection"), "core.selection"),
    "TraceWriter": "trace.writer",
}

__all__ = [
    "Adaptive",
    "BestOfK",
    "Budget",
    "Candidate",
    "DecidedBy",
    "Generation",
    "Greedy",
    "Observer",
    "Policy",
    "Problem",
    "Refine",
    "Result",
    "Selection",
    "SolveEvent",
    "Solver",
    "Spent",
    "TraceWriter",
    "generation_of",
    "read_problem_file",
    "templates_of",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
