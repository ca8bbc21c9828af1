"""What looks like a right answer and is not never passes; other spellings of it do."""

from __future__ import annotations

import pytest

from espalier.verifiers.answer import answer_of
from espalier.verifiers.check import Claim, MathOptions
from espalier.verifiers.math.tasks import compare, read
from tests.verifiers.near_misses import near_misses, rewritings

GOLDS = [
    *(
        "1,000",
        "100,200",
        "7",
        "-12",
        "0",
        "1024",
        "3.25",
        r"\frac{3}{4}",
        r"-\frac{7}{12}",
        r"2\sqrt{3}",
        r"\frac{\pi}{6}",
        "5!",
    ),
    *("(3, 4)", "(-2, 1)", "[0, 5)", r"(-\infty, 3]", "1, -2", r"\{1, 2, 3\}", "(B)", r"\text{even}", "15 cm"),
    *(r"(-\infty, 2) \cup (3, \infty)", "y = 2x + 3", r"x \le 4", "3 + 4i", r"\binom{10}{3}", r"45^\circ", r"20\%"),
    *(r"x \equiv 3 \pmod 7", "1:2:3", r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\ln 5", "3:30 PM"),
    *("f(x) = 2x", "x^2 + 2x - 3"),
]


def test_there_are_many_near_misses() -> None:
    assert sum(1 for gold in GOLDS for _ in near_misses(gold)) >= 350


def passes(gold: str, claim: str) -> bool:
    answer = answer_of(Claim(claim, bare=True), None)
    return answer is not None and compare(read(gold), read(answer.text), MathOptions()).equal is True


@pytest.mark.parametrize("gold", GOLDS)
def test_no_near_miss_passes(gold: str) -> None:
    made = list(near_misses(gold))
    assert made
    assert [claim for _, claim in made if passes(gold, claim)] == []


@pytest.mark.parametrize("gold", GOLDS)
def test_other_spellings_pass(gold: str) -> None:
    assert [claim for claim in rewritings(gold) if not passes(gold, claim)] == []
