"""Classes of answers are those that comparisons in pairs give, with as few comparisons as settle them."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import product
from random import Random

import pytest

from espalier.solver.core.answer_classes import AnswerClasses
from espalier.verifiers.verdict import Status, Verdict
from tests.solver.core.test_branch_votes import candidate
from tests.solver.mathematics import SharedMath
from tests.verifiers.near_misses import near_misses, rewritings

NUMBERS = ("7", "7.0", "+7", "14/2", "007", "-7", "8", "0.5", "1/2", "2/4", ".5", "0", "-0", "1e3", "1000", "1,000")
GOLDS = ("5 cm", r"\frac{1}{2}", "(1, 2)", "x + 1")
OTHERS = ("5", "5 kg", "50%", "(2, 1)", "1 + x", "x = 7", "seven", "")
ANSWERS = tuple(
    dict.fromkeys(
        (
            *NUMBERS,
            *GOLDS,
            *OTHERS,
            *(text for gold in GOLDS for _, text in [*near_misses(gold)][:3]),
            *(text for gold in GOLDS for text in [*rewritings(gold)][:2]),
        )
    )
)


class Told:
    """Verdicts on pairs that are known; keeps what it is asked."""

    def __init__(self, verdicts: dict[tuple[str, str], Verdict]) -> None:
        self.verdicts = verdicts
        self.asked: Counter[tuple[str, str]] = Counter()

    async def equivalent(self, a: str, b: str, *, timeout: float | None = None) -> Verdict:
        self.asked[a, b] += 1
        return self.verdicts[a, b]


@pytest.fixture(scope="module")
def verdicts(mathematics: SharedMath) -> dict[tuple[str, str], Verdict]:
    """What the verifier of mathematics says of every pair."""

    async def all_of_them() -> dict[tuple[str, str], Verdict]:
        pairs = list(product(ANSWERS, repeat=2))
        return dict(zip(pairs, await asyncio.gather(*(mathematics.equivalent(*pair) for pair in pairs)), strict=True))

    return asyncio.run(all_of_them())


def by_definition(answers: list[str], verdicts: dict[tuple[str, str], Verdict]) -> list[int]:
    """Of each answer the number of the first representative that it equals; a new one where it equals none."""
    representatives: list[str] = []
    found = []
    for answer in answers:
        equal = (number for number, one in enumerate(representatives) if verdicts[answer, one].passed or answer == one)
        found.append(next(equal, len(representatives)))
        if found[-1] == len(representatives):
            representatives.append(answer)
    return found


def test_the_table_has_answers_that_are_equal_and_answers_that_are_not(
    verdicts: dict[tuple[str, str], Verdict],
) -> None:
    assert len(ANSWERS) >= 35
    said = Counter(verdict.status for (a, b), verdict in verdicts.items() if a != b)
    assert said[Status.PASS] >= 40
    assert said[Status.FAIL] >= 400
    assert len(set(by_definition(list(ANSWERS), verdicts))) < len(ANSWERS) - 10


@pytest.mark.parametrize("seed", range(50))
async def test_the_classes_are_those_of_comparisons_in_pairs(
    verdicts: dict[tuple[str, str], Verdict], seed: int
) -> None:
    answers = Random(seed).choices(ANSWERS, k=60)
    classes = AnswerClasses(Told(verdicts), lambda: 1.0)
    assert [await classes.of(answer) for answer in answers] == by_definition(answers, verdicts)


@pytest.mark.parametrize("seed", range(10))
async def test_no_pair_is_compared_twice_and_no_two_plain_numbers_are(
    verdicts: dict[tuple[str, str], Verdict], seed: int
) -> None:
    rng, told = Random(seed), Told(verdicts)
    classes = AnswerClasses(told, lambda: 1.0)
    for index in range(20):
        answer, *steps = rng.choices(ANSWERS, k=5)
        await classes.classed(candidate(answer, *((0, step) for step in steps), index=index), steps=True)
    assert set(told.asked.values()) == {1}
    plain = {"7", "7.0", "+7", "14/2", "007", "-7", "8", "0.5", "1/2", "2/4", "0", "-0", "1000", "5"}
    assert not [pair for pair in told.asked if {*pair} <= plain]


async def test_different_numbers_are_not_compared_at_all() -> None:
    """Every step of 64 candidates states another one: in pairs they would be 51,040 comparisons."""
    told = Told({})
    classes = AnswerClasses(told, lambda: 1.0)
    for index in range(64):
        steps = [(0, str(1000 * index + step)) for step in range(1, 5)]
        await classes.classed(candidate(str(1000 * index), *steps, index=index), steps=True)
    assert len(classes.representatives) == 320
    assert not told.asked


async def test_a_comparison_that_failed_is_made_again() -> None:
    """As the verifiers may have been restarted meanwhile."""
    error, differ = Verdict(Status.ERROR, 0.0, "x"), Verdict(Status.FAIL, 0.0, "x")
    told = Told({("y", "x"): error, ("z", "x"): differ, ("z", "y"): differ})
    classes = AnswerClasses(told, lambda: 1.0)
    await classes.classed(candidate("x", (0, "y"), (0, "z")), steps=True)
    assert told.asked == {("y", "x"): 2, ("z", "x"): 1, ("z", "y"): 1}
