from __future__ import annotations

import pytest

from espalier.verifiers.check import Constraint, Domain, NumberUse, Relation
from espalier.verifiers.math.constraints import satisfies
from espalier.verifiers.math.parser import parse

GAME = NumberUse(("67", "50", "20", "82"), "119")
QUADRATIC = Relation("x^2 - 5x + 6 = 0", all_solutions=True)

CASES: list[tuple[str, Constraint, bool | None]] = [
    ("82 + 20 + 67 - 50", GAME, True),
    ("82 + 20 + 67 - 50 = 119", GAME, True),
    (r"82 + 20 + 67 - 50", NumberUse(("67", "50", "20", "82"), "120"), False),
    ("82 + 20 + 17", GAME, False),
    ("119", GAME, False),
    ("82 + 20 + 67 - 50 + 0", GAME, False),
    ("82 + 20 + 67 - 50 = 120", GAME, False),
    ("82 + 37", GAME, False),
    (r"8 \times (5 \times 1 - 2)", NumberUse(("5", "1", "2", "8"), "24"), True),
    ("8 / (3 - 8/3)", NumberUse(("3", "3", "8", "8"), "24"), True),
    ("24^1", NumberUse(("24", "1"), "24"), False),
    ("4! * 1", NumberUse(("4", "1"), "24"), False),
    ("6 * 4", NumberUse(("6", "4", "1"), "24", use_all=False), True),
    ("6 * 4", NumberUse(("6", "4", "1"), "24"), False),
    ("6 * 4", NumberUse(("6", "4"), "24", operators=("+", "-")), False),
    ("5", Relation("3*x + 5 = 20"), True),
    ("x = 5", Relation("3*x + 5 = 20"), True),
    ("6", Relation("3*x + 5 = 20"), False),
    ("y = 5", Relation("3*x + 5 = 20"), None),
    ("y = 6", Relation("3*x + 5 = 20"), False),
    (r"x \in \{5\}", Relation("3*x + 5 = 20"), None),
    (r"x \in \{5, 6\}", Relation("3*x + 5 = 20"), False),
    (r"5 \text{ apples}", Relation("3*x + 5 = 20"), None),
    (r"6 \text{ apples}", Relation("3*x + 5 = 20"), False),
    (r"\begin{pmatrix}5\end{pmatrix}", Relation("3*x + 5 = 20"), None),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", Relation("3*x + 5 = 20"), False),
    ("I do not know", Relation("3*x + 5 = 20"), False),
    (r"\text{undefined}", Relation("x^2 > 4"), False),
    (r"\infty", Relation("3*x + 5 = 20"), False),
    (r"-\infty", Relation("x^2 > 4"), False),
    ("x > 5", Relation("3*x + 5 = 20"), False),
    (r"[0, \infty)", Relation("3*x + 5 = 20"), False),
    (r"\{5\} \cup \{6\}", Relation("3*x + 5 = 20"), False),
    (r"5 \text{ apples}", Relation("x^2 > 4"), None),
    (r"1 \text{ apples}", Relation("x^2 > 4"), False),
    (r"x \ne 5", Relation("3*x + 5 = 20"), False),
    (r"x \ge 0", Relation("|x| = x"), None),
    (r"2 < x < 5", Relation("x > 2, x < 5"), None),
    ("(2, 3)", QUADRATIC, None),
    ("(2, 4)", QUADRATIC, False),
    ("(-0.7757, 0.0, 1.9717)", Relation("51*h**3 - 61*h**2 - 78*h = 0", all_solutions=True, round_to=4), None),
    ("61", Relation("405*e = 24705"), True),
    ("i = 3", Relation("2*i = 6"), True),
    ("2, 3", QUADRATIC, True),
    ("x = 2 or x = 3", QUADRATIC, True),
    (r"\{2, 3\}", QUADRATIC, True),
    ("2", QUADRATIC, False),
    ("2, 4", QUADRATIC, False),
    ("2", Relation("x^2 - 5x + 6 = 0"), True),
    (r"1 \pm \sqrt{19}", Relation("x^2 - 2x - 18 = 0", all_solutions=True), True),
    (r"\pm i", Relation("x^2 + 1 = 0", all_solutions=True), True),
    ("no solution", Relation("x^2 + 1 = 0", all_solutions=True), True),
    ("no solution", QUADRATIC, False),
    ("-0.7757, 0.0, 1.9717", Relation("51*h**3 - 61*h**2 - 78*h = 0", all_solutions=True, round_to=4), True),
    ("-0.7758, 0.0, 1.9717", Relation("51*h**3 - 61*h**2 - 78*h = 0", all_solutions=True, round_to=4), False),
    ("-0.7757, 0.0, 1.9717", Relation("51*h**3 - 61*h**2 - 78*h = 0", all_solutions=True), False),
    ("x = 3, y = 2", Relation("x + y = 5, x - y = 1"), True),
    ("(3, 2)", Relation("x + y = 5, x - y = 1"), True),
    ("(2, 3)", Relation("x + y = 5, x - y = 1"), False),
    ("x = 3", Relation("x + y = 5, x - y = 1"), False),
    ("3", Relation("x + y = 5, x - y = 1"), False),
    ("none of them", Relation("x + y = 5, x - y = 1"), False),
    (r"\begin{pmatrix}3\\2\end{pmatrix}", Relation("x + y = 5, x - y = 1"), None),
    (r"(-\infty,-2) \cup (2,\infty)", Relation("x^2 > 4", all_solutions=True), True),
    ("x > 2", Relation("x^2 > 4", all_solutions=True), False),
    ("7", Domain("prime"), True),
    ("9", Domain("prime"), False),
    ("6, 8", Domain("even"), True),
    ("1/2", Domain("integer"), False),
    (r"\sqrt{16}", Domain("integer"), True),
    (r"\sqrt{2}", Domain("integer"), False),
    ("3 - 4i", Domain("real"), False),
    ("-1", Domain("positive"), False),
    ("5", Domain("wonderful"), None),
    ("12 * 13", Domain("evaluated"), False),
    ("8.0 + 3.0i", Domain("evaluated"), True),
    ("6/8", Domain("lowest terms"), False),
    ("3/4", Domain("lowest terms"), True),
    (r"2 \times 3^2", Domain("prime factors"), True),
    (r"2 \times 9", Domain("prime factors"), False),
]


@pytest.mark.parametrize(("claim", "constraint", "expected"), CASES)
def test_constraint(claim: str, constraint: Constraint, expected: bool | None) -> None:
    outcome = satisfies(parse(claim)[0], constraint)
    assert outcome.equal is expected, outcome.rule
