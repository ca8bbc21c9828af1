"""The words that are put to the model for one candidate."""

from __future__ import annotations

from espalier.solver.core.candidate import Spec

REPAIR = """{problem}

An earlier attempt answered:
{answer}

It was rejected: {feedback}
Find what went wrong and give a different, correct answer."""


def question(problem: str, spec: Spec) -> str:
    """The problem, with what the candidate's spec adds: an earlier attempt to put right, or a strategy to try."""
    if spec.repair is not None:
        problem = REPAIR.format(problem=problem, answer=spec.repair.answer, feedback=spec.repair.feedback)
    return f"{problem}\n\n{spec.hint}" if spec.hint else problem
