"""A trace: one worked solution in the form the model is to write, before it becomes tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from espalier.training.tasks import Problem


@dataclass(frozen=True, slots=True)
class TraceBranch:
    """A plan and its execution.

    Attributes:
        plan: The strategy or hypothesis, in one line.
        work: The execution, written without a look at the other branches.
        result: What it comes to; None when the plan fails.
        trained: False for a step that was corrupted on purpose, so that takeaways learn to outvote a wrong branch.
    """

    plan: str
    work: str
    result: str | None
    trained: bool = True


@dataclass(frozen=True, slots=True)
class TraceBlock:
    """Branches that run in parallel, and what is made of them."""

    branches: tuple[TraceBranch, ...]
    takeaway: str


@dataclass(frozen=True, slots=True)
class Demonstration:
    """Blocks, then the closing text that holds the answer."""

    blocks: tuple[TraceBlock, ...]
    closing: str

    @property
    def solved(self) -> bool:
        """Whether a branch of the last block came to something; a search that gives up says so in its closing."""
        return any(branch.result is not None for branch in self.blocks[-1].branches)


Search = Callable[[Problem, Random], Demonstration | None]
"""A search program: writes one sampled trace of a problem, or None if the sampled plans lead to no trace."""

GAVE_UP = "None of the plans that were tried has worked, so no result is stated here."
"""The closing text of a search that has used up its blocks. Too long a line to be taken for an answer."""


def boxed(answer: str) -> str:
    """The closing text of a math trace."""
    return f"The answer is \\boxed{{{answer}}}."


def concluded(work: str, value: str) -> str:
    """A step that came to a value. In a box it can be verified while the other steps are still being worked out."""
    return f"{work} so \\boxed{{{value}}}"


def vote(branches: Sequence[TraceBranch]) -> tuple[str, str]:
    """Compare the results of branches that should agree.

    Returns:
        The takeaway, and the result with the most votes (the earliest on a tie).
    """
    results = [branch.result for branch in branches if branch.result is not None]
    best = max(results, key=results.count)
    listed = ", ".join(f"{i} gives {b.result or 'nothing'}" for i, b in enumerate(branches, start=1))
    agreement = "all agree" if len(set(results)) == 1 else "most votes"
    return f"{listed}; {agreement}: {best}", best


def first_found(branches: Sequence[TraceBranch], *, last: bool = False) -> tuple[str, str | None]:
    """Look for a branch that succeeded.

    Args:
        branches: Of a block.
        last: No other block follows if none did.

    Returns:
        The takeaway, and the result of the first branch that has one.
    """
    verdicts = ", ".join(f"{i} {'fails' if b.result is None else 'works'}" for i, b in enumerate(branches, start=1))
    found = next((b.result for b in branches if b.result is not None), None)
    otherwise = "stop" if last else "try other plans"
    return f"{verdicts}; {otherwise if found is None else found}", found


def corrupt(branch: TraceBranch, rng: Random) -> TraceBranch:
    """Change one digit of a numeric result, where the step states it last; the step is then not trained on."""
    if branch.result is None or branch.result not in branch.work:
        raise ValueError(f"a step without a stated result cannot be corrupted: {branch.work!r}")
    digits = [i for i, c in enumerate(branch.result) if c.isdigit()]
    at = rng.choice(digits)
    wrong = str((int(branch.result[at]) + rng.randint(1, 9)) % 10)
    result = branch.result[:at] + wrong + branch.result[at + 1 :]
    head, _, tail = branch.work.rpartition(branch.result)
    return TraceBranch(branch.plan, head + result + tail, result, trained=False)


def majority(
    methods: Sequence[TraceBranch], answer: str, rng: Random, corrupted_share: float = 0.2
) -> Demonstration | None:
    """A trace of several methods for one value, in random order, whose results are put to the vote."""
    branches = rng.sample(methods, k=min(len(methods), rng.choice((2, 2, 3, 3))))
    right = [i for i, branch in enumerate(branches) if branch.result == answer]
    if len(right) >= 3 and rng.random() < corrupted_share:
        at = rng.choice(right)
        branches[at] = corrupt(branches[at], rng)
    takeaway, best = vote(branches)
    return Demonstration((TraceBlock(tuple(branches), takeaway),), boxed(answer)) if best == answer else None
