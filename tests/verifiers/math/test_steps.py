from __future__ import annotations

import pytest

from espalier.verifiers.math.steps import check_steps

CASES = [
    ("We have 2 + 3 = 5 and then 4 * 5 = 20.", 2, []),
    ("We have 2 + 3 = 6.", 1, ["2 + 3 = 6"]),
    ("so $\\frac{1}{2} + \\frac{1}{3} = \\frac{5}{6}$", 1, []),
    ("so $\\frac{1}{2} + \\frac{1}{3} = \\frac{2}{5}$", 1, [r"\frac{1}{2} + \frac{1}{3} = \frac{2}{5}"]),
    ("$(x+1)^2 = x^2 + 2x + 1$", 1, []),
    ("Solve $3x + 5 = 20$ and 3x + 5 = 20 too.", 0, []),
    ("x = 10 / 2 = 5", 1, []),
    ("x = 10 / 2 = 4", 1, ["10 / 2 = 4"]),
    ("\\[ 3 \\cdot 4 \n = 12 \n = 13 \\]", 2, ["12 = 13"]),
    ("$7 = 1 \\pmod 3$ holds", 0, []),
    ("$\\pi \\approx 3.14$", 0, []),
    ("12 - 5 = 7 apples, and 3y - 5 = 7.", 1, []),
    ("1,000 + 234 = 1,234.", 1, []),
    ("no equalities here", 0, []),
]


@pytest.mark.parametrize(("text", "tested", "false"), CASES)
def test_equalities_of_a_text(text: str, tested: int, false: list[str]) -> None:
    report = check_steps(text)
    assert (report.tested, list(report.false)) == (tested, false)


def test_the_score_is_the_share_of_true_equalities() -> None:
    assert check_steps("1 + 1 = 2, 2 + 2 = 4, 3 + 3 = 7, 4 + 4 = 8").score == 0.75
    assert check_steps("nothing to test").score == 1.0


def test_long_texts_are_bounded() -> None:
    report = check_steps("1 + 1 = 2; \n" * 100 + "".join(f"{n} + 1 = {n + 1}. \n" for n in range(20_000)))
    assert 0 < report.tested <= 400
    assert not report.false
