"""Small programming problems of this project's own: write `f(xs)` from input/output examples over integer lists.

A program is a pipeline of one to three primitives. Primitives are pairs of a Python function (the meaning, used to
make examples) and a Python statement (the text a solution consists of).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import accumulate, pairwise
from random import Random
from typing import Any

from espalier.training.tasks.task import Draft, Task
from espalier.verifiers.check import CallCase, Comparison, ProgramCheck

MAX_STAGES = 2
"""How hard the task is: the largest number of primitives in a program."""
LARGEST = 999
"""No value of an example is larger."""
SHOWN_EXAMPLES = 4
HIDDEN_CASES = 12


@dataclass(frozen=True, slots=True)
class Primitive:
    """One operation on a list of integers.

    Attributes:
        phrase: What it does, in a few words ("keep the even numbers").
        code: A Python expression in `xs` that does it.
        apply: The same, as a function. Maps a list to a list, or to an integer for a closing primitive.
        closing: The result is an integer, so nothing can follow.
    """

    phrase: str
    code: str
    apply: Callable[[list[int]], list[int] | int]
    closing: bool = False


def _plus(n: int) -> Primitive:
    return Primitive(f"add {n} to each", f"[x + {n} for x in xs]", lambda xs: [x + n for x in xs])


def _minus(n: int) -> Primitive:
    return Primitive(f"subtract {n} from each", f"[x - {n} for x in xs]", lambda xs: [x - n for x in xs])


def _times(n: int) -> Primitive:
    return Primitive(f"multiply each by {n}", f"[x * {n} for x in xs]", lambda xs: [x * n for x in xs])


def _above(n: int) -> Primitive:
    return Primitive(f"keep numbers above {n}", f"[x for x in xs if x > {n}]", lambda xs: [x for x in xs if x > n])


def _below(n: int) -> Primitive:
    return Primitive(f"keep numbers below {n}", f"[x for x in xs if x < {n}]", lambda xs: [x for x in xs if x < n])


def _first(n: int) -> Primitive:
    return Primitive(f"take the first {n}", f"xs[:{n}]", lambda xs: xs[:n])


def _last(n: int) -> Primitive:
    return Primitive(f"take the last {n}", f"xs[-{n}:]", lambda xs: xs[-n:])


def _drop(n: int) -> Primitive:
    return Primitive(f"drop the first {n}", f"xs[{n}:]", lambda xs: xs[n:])


PRIMITIVES: tuple[Primitive, ...] = (
    Primitive("reverse", "xs[::-1]", lambda xs: xs[::-1]),
    Primitive("sort ascending", "sorted(xs)", sorted),
    Primitive("sort descending", "sorted(xs, reverse=True)", lambda xs: sorted(xs, reverse=True)),
    Primitive("remove duplicates", "list(dict.fromkeys(xs))", lambda xs: list(dict.fromkeys(xs))),
    Primitive("keep the even numbers", "[x for x in xs if x % 2 == 0]", lambda xs: [x for x in xs if x % 2 == 0]),
    Primitive("keep the odd numbers", "[x for x in xs if x % 2 == 1]", lambda xs: [x for x in xs if x % 2 == 1]),
    Primitive("take every second", "xs[::2]", lambda xs: xs[::2]),
    Primitive("take every second from the second", "xs[1::2]", lambda xs: xs[1::2]),
    Primitive("drop the last", "xs[:-1]", lambda xs: xs[:-1]),
    Primitive("running sums", "[sum(xs[:i + 1]) for i in range(len(xs))]", lambda xs: list(accumulate(xs))),
    Primitive(
        "differences of neighbours",
        "[b - a for a, b in zip(xs, xs[1:])]",
        lambda xs: [b - a for a, b in pairwise(xs)],
    ),
    Primitive("square each", "[x * x for x in xs]", lambda xs: [x * x for x in xs]),
    Primitive("negate each", "[-x for x in xs]", lambda xs: [-x for x in xs]),
    Primitive("remainders by 3", "[x % 3 for x in xs]", lambda xs: [x % 3 for x in xs]),
    Primitive("halve each", "[x // 2 for x in xs]", lambda xs: [x // 2 for x in xs]),
    *(_plus(n) for n in (1, 2, 3)),
    *(_minus(n) for n in (1, 2)),
    *(_times(n) for n in (2, 3, 10)),
    *(_above(n) for n in (2, 4, 6)),
    *(_below(n) for n in (4, 6, 8)),
    *(_first(n) for n in (2, 3)),
    *(_last(n) for n in (2, 3)),
    *(_drop(n) for n in (1, 2)),
    Primitive("sum", "sum(xs)", sum, closing=True),
    Primitive("count", "len(xs)", len, closing=True),
    Primitive("maximum", "max(xs, default=0)", lambda xs: max(xs, default=0), closing=True),
    Primitive("minimum", "min(xs, default=0)", lambda xs: min(xs, default=0), closing=True),
    Primitive("first or 0", "xs[0] if xs else 0", lambda xs: xs[0] if xs else 0, closing=True),
    Primitive("last or 0", "xs[-1] if xs else 0", lambda xs: xs[-1] if xs else 0, closing=True),
)

ListProgram = tuple[Primitive, ...]
ListValue = list[int] | int


def run(program: ListProgram, xs: list[int]) -> list[ListValue]:
    """The value after every stage of a program."""
    values: list[ListValue] = []
    current: ListValue = xs
    for primitive in program:
        if not isinstance(current, list):
            raise TypeError(f"{primitive.phrase!r} follows a primitive that closes the program")
        current = primitive.apply(current)
        values.append(current)
    return values


@cache
def programs(stages: int) -> tuple[ListProgram, ...]:
    """All programs of exactly this many stages whose stages are all different."""
    if stages == 1:
        return tuple((p,) for p in PRIMITIVES)
    return tuple(
        (*head, tail)
        for head in programs(stages - 1)
        if not head[-1].closing
        for tail in PRIMITIVES
        if tail not in head
    )


def random_list(rng: Random, shortest: int = 3) -> list[int]:
    """A short list of small numbers, now and then with a repeat."""
    xs = [rng.randint(0, 9) for _ in range(rng.randint(shortest, 6))]
    if rng.random() < 0.3:
        xs[rng.randrange(len(xs))] = xs[0]
    return xs


def _numbers(value: ListValue) -> list[int]:
    return value if isinstance(value, list) else [value]


def _informative(program: ListProgram, examples: Sequence[list[int]]) -> bool:
    """Every stage changes something, and the outputs are neither all equal nor mostly empty."""
    results = [run(program, xs) for xs in examples]
    outputs = [json.dumps(values[-1]) for values in results]
    if len(set(outputs)) < len(outputs) - 1 or outputs.count("[]") > 1:
        return False
    if any(abs(number) > LARGEST for values in results for value in values for number in _numbers(value)):
        return False
    befores = [[xs, *values[:-1]] for xs, values in zip(examples, results, strict=True)]
    return all(
        any(before[stage] != values[stage] for before, values in zip(befores, results, strict=True))
        for stage in range(len(program))
    )


def _draw(number: int, stages: int = MAX_STAGES) -> Draft:
    rng = Random(number)
    while True:
        program = rng.choice(programs(rng.randint(1, stages) if rng.random() < 0.4 else stages))
        shown = [random_list(rng) for _ in range(SHOWN_EXAMPLES)]
        if _informative(program, shown):
            break
    lines = [f"f({json.dumps(xs)}) = {json.dumps(run(program, xs)[-1])}" for xs in shown]
    text = "Write a Python function f(xs) over a list of integers such that\n" + "\n".join(lines)
    hidden = [[], *(random_list(rng, shortest=1) for _ in range(HIDDEN_CASES - 1))]
    cases = tuple(CallCase("f", json.dumps([xs]), json.dumps(run(program, xs)[-1])) for xs in [*shown, *hidden])
    check = ProgramCheck(cases, comparison=Comparison.EXACT)
    return Draft(text, "\n".join(lines), check, {"examples": shown, "hidden": hidden, "program": program})


TASKS: tuple[Task, ...] = (Task("programming", _draw),)


def tuned(settings: Mapping[str, Any]) -> Task:
    """The task with programs of at most `settings["stages"]` primitives, for models too small for the usual ones.

    Raises:
        ValueError: there is another setting, or it is not a whole number from 1 to `MAX_STAGES`.
    """
    unknown = sorted(set(settings) - {"stages"})
    if unknown:
        raise ValueError(f"task 'programming' has no setting {unknown[0]!r}; it has: stages")
    stages = settings.get("stages", MAX_STAGES)
    if type(stages) is not int or stages not in range(1, MAX_STAGES + 1):
        raise ValueError(
            f"settings of task 'programming': stages must be a whole number from 1 to {MAX_STAGES}, got {stages!r}"
        )
    return Task("programming", partial(_draw, stages=stages))
