"""What responses and steps claim."""

from __future__ import annotations

import pytest

from espalier.solver.core.claims import branch_answer, final_answer
from espalier.verifiers.check import CallCase, Check, CustomCheck, ProgramCheck, ReferenceCheck

MATH = ReferenceCheck("1")
CODE = ProgramCheck((CallCase("f", "[]", "1"),))
PROGRAM = "def f():\n    return 1\n"
LONG = "anything at all that a verifier of its own might want to read, however long it may be, and it is long"
FENCED = f"so\n```python\n{PROGRAM}```\n"


@pytest.mark.parametrize(
    ("text", "check", "complete", "answer"),
    [
        ("thus \\boxed{42}", MATH, True, "42"),
        ("thus \\boxed{42}", MATH, False, "42"),
        ("The answer is 42.", MATH, True, "42"),
        ("The answer is 42.", MATH, False, None),
        ("thus \\boxed{4", MATH, False, None),
        ("<takeaway>\nnot \\boxed{41}</takeaway>\\boxed{42}", MATH, True, "42"),
        ("<takeaway>\nnot \\boxed{41}</takeaway>", MATH, True, None),
        ("\\boxed{}", MATH, True, None),
        ("", MATH, True, None),
        (FENCED, CODE, True, PROGRAM),
        (FENCED, CODE, False, PROGRAM),
        (FENCED.removesuffix("```\n"), CODE, False, None),
        ("the answer is 42", CODE, True, None),
        (FENCED, None, True, PROGRAM),
        ("thus \\boxed{42}", None, True, "42"),
        (LONG, CustomCheck("v"), True, LONG),
    ],
)
def test_a_response_claims_what_it_marks_as_its_answer(
    text: str, check: Check | None, complete: bool, answer: str | None
) -> None:
    assert final_answer(text, check, complete=complete) == answer


@pytest.mark.parametrize(
    ("text", "check", "answer"),
    [
        ("first \\boxed{1}, no, \\boxed{2}", MATH, "2"),
        ("the answer is 2", MATH, None),
        ("\\boxed{2", MATH, None),
        (FENCED, CODE, PROGRAM),
        (FENCED.removesuffix("```\n"), CODE, None),
        ("\\boxed{2}", CODE, None),
    ],
)
def test_a_step_states_only_what_it_marks(text: str, check: Check, answer: str | None) -> None:
    assert branch_answer(text, check) == answer
