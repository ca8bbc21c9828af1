"""Number sequences: one rule per branch, most of them refuted by the terms."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from random import Random

from espalier.training.tasks import Problem
from recipes.seedling.traces.trace import GAVE_UP, Demonstration, TraceBlock, TraceBranch, boxed, concluded, first_found

_OF_THE_LAST_TWO: dict[str, Callable[[int, int], int]] = {
    "sum of the last two": lambda a, b: a + b,
    "minus the sum of the last two": lambda a, b: -(a + b),
    "twice the sum of the last two": lambda a, b: 2 * (a + b),
    "half the sum of the last two": lambda a, b: (a + b) // 2,
    "the last and twice the one before": lambda a, b: b + 2 * a,
    "the last and three times the one before": lambda a, b: b + 3 * a,
    "the last and half the one before": lambda a, b: b + a // 2,
    "half the last and the one before": lambda a, b: b // 2 + a,
    **{f"{k} times the last and the one before": lambda a, b, k=k: k * b + a for k in (-4, -3, -2, -1, 2, 3, 4, 5)},  # type: ignore[misc]
}


def _differences(xs: list[int]) -> str:
    return ",".join(str(b - a) for a, b in itertools.pairwise(xs))


def _next_constant(xs: list[int]) -> tuple[str, int | None]:
    steps = [b - a for a, b in itertools.pairwise(xs)]
    text = f"differences {_differences(xs)}:"
    if len(set(steps)) > 1:
        return f"{text} not equal", None
    return f"{text} equal; {xs[-1]}{steps[0]:+d}={xs[-1] + steps[0]}", xs[-1] + steps[0]


def _next_doubling(xs: list[int]) -> tuple[str, int | None]:
    """Differences that all grow by the same factor: x → r*x + c."""
    steps = [b - a for a, b in itertools.pairwise(xs)]
    text = f"differences {_differences(xs)}:"
    if 0 in steps or steps[1] % steps[0]:
        return f"{text} no ratio", None
    ratio = steps[1] // steps[0]
    if any(later != earlier * ratio for earlier, later in itertools.pairwise(steps)):
        return f"{text} no ratio", None
    step = steps[-1] * ratio
    return f"{text} ratio {ratio}; {steps[-1]}*{ratio}={step}, {xs[-1]}{step:+d}={xs[-1] + step}", xs[-1] + step


def _next_rule(xs: list[int], image: list[int], name: str) -> tuple[str, int | None]:
    """x[i + 1] = image[i] + a constant; `image` covers all terms of `xs`, the last one giving the next term.

    The offsets are written first and compared afterwards, so that the verdict has its evidence before it.
    """
    offsets = [after - base for base, after in zip(image, xs[len(xs) - len(image) + 1 :], strict=False)]
    listed = ",".join(map(str, image))
    text = f"{name} {listed}; add {','.join(map(str, offsets))}:"
    if len(set(offsets)) > 1:
        return f"{text} not equal", None
    return f"{text} equal; {image[-1]}{offsets[0]:+d}={image[-1] + offsets[0]}", image[-1] + offsets[0]


def _alternating(xs: list[int]) -> tuple[str, int | None]:
    """Two interleaved rules show in every second term."""
    own = xs[len(xs) % 2 :: 2]
    text, value = _next_constant(own)
    return f"every second {','.join(map(str, own))}; {text}", value


def _guesses(xs: list[int]) -> Iterator[TraceBranch]:
    def branch(plan: str, outcome: tuple[str, int | None]) -> TraceBranch:
        work, value = outcome
        if value is None:
            return TraceBranch(f" {plan}", f" {work} fails", None)
        return TraceBranch(f" {plan}", concluded(f" {work}", str(value)), str(value))

    yield branch("constant difference", _next_constant(xs))
    yield branch("differences with a ratio", _next_doubling(xs))
    yield branch("every second term", _alternating(xs))
    for factor in (-10, -9, -8, -7, -6, -5, -4, -3, -2, -1, 2, 3, 4, 5, 6, 7, 8, 9, 10):
        yield branch(f"times {factor} plus a constant", _next_rule(xs, [x * factor for x in xs], "products"))
    yield branch("half plus a constant", _next_rule(xs, [x // 2 for x in xs], "halves"))
    yield branch("square plus a constant", _next_rule(xs, [x * x for x in xs], "squares"))
    yield branch("half of the half plus a constant", _next_rule(xs, [x // 2 // 2 for x in xs], "quarters"))
    for factor in (-3, -1, 2, 3, 4, 5):
        yield branch(f"{factor} halves plus a constant", _next_rule(xs, [x // 2 * factor for x in xs], "products"))
    pairs = list(itertools.pairwise(xs))
    for name, combine in _OF_THE_LAST_TWO.items():
        yield branch(f"{name} plus a constant", _next_rule(xs, [combine(a, b) for a, b in pairs], "totals"))


BLOCKS = 4
"""Sets of hypotheses that a trace tries before it gives up."""
GIVING_UP = 0.06
"""Share of traces that do so."""


def number_sequence(problem: Problem, rng: Random) -> Demonstration | None:
    """The next term: a few hypotheses at a time."""
    *xs, answer = problem.metadata["sequence"]
    guesses = list(_guesses(xs))
    if all(abs(x) > 200 for x in xs[-2:]):
        guesses = [g for g in guesses if not g.plan.startswith(" square") or g.result]
    good = [g for g in guesses if g.result == str(answer)]
    misleading = [g for g in guesses if g.result not in (None, str(answer))]
    failing = [g for g in guesses if g.result is None]
    if not good:
        return None
    blocks: list[TraceBlock] = []
    gives_up = rng.random() < GIVING_UP
    while gives_up or (len(blocks) < BLOCKS - 1 and rng.random() < 0.3):
        tried = rng.sample(failing, k=3)
        failing = [g for g in failing if g not in tried]
        blocks.append(TraceBlock(tuple(tried), first_found(tried, last=len(blocks) + 1 == BLOCKS)[0]))
        if len(blocks) == BLOCKS:
            return Demonstration(tuple(blocks), GAVE_UP)
    chosen = [rng.choice(good), *rng.sample(failing, k=rng.choice((2, 2, 3)))]
    if len(good) > 1 and rng.random() < 0.5:
        chosen.append(rng.choice([g for g in good if g is not chosen[0]]))
    if misleading and rng.random() < 0.1:
        chosen.append(rng.choice(misleading))
    rng.shuffle(chosen)
    takeaway, found = first_found(chosen)
    blocks.append(TraceBlock(tuple(chosen), takeaway))
    return Demonstration(tuple(blocks), boxed(str(answer))) if found == str(answer) else None
