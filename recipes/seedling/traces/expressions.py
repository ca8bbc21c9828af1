"""Countdown and puzzle 24: search backwards from the target, one branch per closing operation.

A plan closes with one operation on one number, so its branch has to make a smaller target from the three others. The
branch tries each of them as the next one from the outside and compares what the last pair gives with what is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random

from espalier.training.tasks import Problem
from recipes.seedling.traces.trace import GAVE_UP, Demonstration, TraceBlock, TraceBranch, boxed, concluded, first_found

BLOCKS = 3
"""Sets of plans that a trace tries before it gives up."""

LARGEST = 999
"""Values above this are not considered: too many digits to be worth a small model's effort."""


@dataclass(frozen=True, slots=True)
class Term:
    """An expression as it is written, and how tightly its outermost operation binds (1 sum, 2 product, 3 atom)."""

    text: str
    binding: int = 3

    def inside(self, least: int) -> str:
        """The text, in brackets if it binds less tightly than `least`."""
        return self.text if self.binding >= least else f"({self.text})"


def join(left: Term, operator: str, right: Term) -> Term:
    """`left operator right`, with the brackets that are needed and no others."""
    binding = 1 if operator in "+-" else 2
    return Term(f"{left.inside(binding)}{operator}{right.inside(binding + (operator in '-/'))}", binding)


def pair_values(a: int, b: int) -> dict[int, Term]:
    """What two numbers make: sum, difference, product, quotient; whole, not negative, not too large."""
    high, low = max(a, b), min(a, b)
    left, right = Term(str(high)), Term(str(low))
    values = {high + low: join(left, "+", right), high - low: join(left, "-", right)}
    if high * low <= LARGEST:
        values.setdefault(high * low, join(left, "*", right))
    if low > 1 and high % low == 0:
        values.setdefault(high // low, join(left, "/", right))
    return values


def needs(target: int, x: int) -> dict[int, tuple[str, bool]]:
    """Values E for which E op x, or x op E, is the target: value → (operator, x stands left)."""
    found: dict[int, tuple[str, bool]] = {}
    if target >= x:
        found[target - x] = ("+", False)
    found.setdefault(target + x, ("-", False))
    if x > target:
        found.setdefault(x - target, ("-", True))
    if x > 1 and target % x == 0:
        found.setdefault(target // x, ("*", False))
    if x > 1 and target * x <= LARGEST:
        found.setdefault(target * x, ("/", False))
    if target > 1 and x % target == 0:
        found.setdefault(x // target, ("/", True))
    return found


def _close(inner: Term, operator: str, x: int, x_left: bool) -> Term:
    return join(Term(str(x)), operator, inner) if x_left else join(inner, operator, Term(str(x)))


def _listed(values: Iterator[int] | list[int]) -> str:
    return ",".join(map(str, values))


def _work(target: int, rest: list[int]) -> tuple[str, Term | None]:
    """Try to make the target from three numbers: the text of the attempt, and the expression if there is one."""
    lines: list[str] = []
    for i, x in enumerate(rest):
        a, b = rest[:i] + rest[i + 1 :]
        made, needed = pair_values(a, b), needs(target, x)
        match = next((value for value in needed if value in made), None)
        line = f" {a},{b} make {_listed(list(made))}; {x} needs {_listed(list(needed))}:"
        if match is not None:
            expression = _close(made[match], needed[match][0], x, needed[match][1])
            lines.append(f"{line} {match} so {expression.text}")
            return "\n".join(lines), expression
        lines.append(f"{line} no")
    return "\n".join(lines), None


def closings(numbers: list[int], target: int) -> Iterator[TraceBranch]:
    """One branch per closing operation that is possible."""
    seen: set[tuple[int, str, bool]] = set()
    for i, x in enumerate(numbers):
        rest = numbers[:i] + numbers[i + 1 :]
        for inner, (operator, x_left) in needs(target, x).items():
            if (x, operator, x_left) in seen:
                continue
            seen.add((x, operator, x_left))
            ending = f"{x}{operator}" if x_left else f"{operator}{x}"
            work, found = _work(inner, rest)
            result = None if found is None else _close(found, operator, x, x_left).text
            if result is not None:
                work = concluded(f"{work}\n", result)
            verb = "begin" if x_left else "end"
            yield TraceBranch(f" {verb} with {ending}: make {inner} from {_listed(rest)}", work, result)


def search(problem: Problem, rng: Random) -> Demonstration | None:
    """A few closing operations at a time; another block with others when they come to nothing."""
    numbers: list[int] = list(problem.metadata["numbers"])
    branches = list(closings(numbers, int(problem.metadata.get("target", 24))))
    rng.shuffle(branches)
    remaining = iter(branches)
    blocks: list[TraceBlock] = []
    while len(blocks) < BLOCKS:
        chosen = tuple(islice(remaining, rng.choice((2, 3, 3, 4))))
        if not chosen:
            return None
        takeaway, found = first_found(chosen, last=len(blocks) + 1 == BLOCKS)
        blocks.append(TraceBlock(chosen, takeaway))
        if found is not None:
            return Demonstration(tuple(blocks), boxed(found))
    return Demonstration(tuple(blocks), GAVE_UP)
