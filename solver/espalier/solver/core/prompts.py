"""The words that are put to the model for one candidate."""

from __future__ import annotations

from espalier.solver.core.candidate import Spec
from espalier.solver.core.ways import PROMPTS, Way

REPAIR = """{problem}

An earlier attempt answered:
{answer}

It was rejected: {feedback}
Find what went wrong and give a different, correct answer."""

TESTS = """{problem}

Do not solve this. Write {count} assert statements that a correct solution in Python passes and a wrong one may not. \
Put one on each line: a call of the function, with the result that the text above demands of it. Give them in one \
```python block, with nothing else in it."""


def request_for_tests(problem: str, count: int) -> str:
    """Asks for so many tests of programs that solve the problem."""
    return TESTS.format(problem=problem, count=count)


COMPARISON = """{problem}

Two solutions were proposed.

Solution A:
{first}

Solution B:
{second}

Which of the two has the correct final answer? Reply with the letter A or B, and nothing else."""


def request_for_comparison(problem: str, first: str, second: str) -> str:
    """Asks which of two solutions is right."""
    return COMPARISON.format(problem=problem, first=first, second=second)


def question(problem: str, spec: Spec) -> str:
    """The problem, with what the candidate's spec adds: a way, an earlier attempt to put right, a strategy to try."""
    if spec.way:
        problem = PROMPTS[Way(spec.way)].format(problem=problem)
    if spec.repair is not None:
        problem = REPAIR.format(problem=problem, answer=spec.repair.answer, feedback=spec.repair.feedback)
    return f"{problem}\n\n{spec.hint}" if spec.hint else problem
