"""What texts state: a table to which anyone can add a line (answer_cases.jsonl), and laws that hold for every text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.verifiers.answer import Found, answer_of, boxes, branch_answer, final_answer, last_program, no_answer
from espalier.verifiers.check import (
    CallCase,
    Check,
    Claim,
    ConstraintCheck,
    CustomCheck,
    PatchCheck,
    ProgramCheck,
    ReferenceCheck,
    Relation,
    StdioCase,
)
from espalier.verifiers.verdict import Status

CASES = [json.loads(line) for line in Path(__file__).with_name("answer_cases.jsonl").read_text().splitlines()]
MATH = ReferenceCheck("1")
CODE = ProgramCheck((CallCase("f", "[]", "1"),))
CHECKS: list[Check | None] = [None, MATH, CODE, CustomCheck("v"), ConstraintCheck((Relation("x = 1"),))]
PROGRAM = "def f():\n    return 1\n"
FENCED = f"so\n```python\n{PROGRAM}```\n"
LONG = "anything at all that a verifier of its own might want to read, however long it may be, and it is long"

FRAGMENTS = (
    *(
        "\\boxed{",
        "}",
        "{",
        "$",
        "\\[",
        "\\]",
        "12",
        "x = ",
        "-3",
        "\\frac{1}{2}",
        " and ",
        " or ",
        "\\quad ",
        "\n",
        ".",
    ),
    *("The answer is ", "#### ", "<think>", "</think>", "</takeaway>", "```\n", "```python\n", "print(1)\n", "\n```\n"),
    *(
        "Wait, ",
        "that is wrong",
        " fails. ",
        "rules out ",
        "One might think ",
        "The count is 6.",
        "+ ",
        "\n% ",
        "<!--",
        "-->",
        "\\boxed{}",
        "not ",
        "\\%",
        "\\text{",
        "There are 12 ways",
        "**",
        "%",
        " ",
        "\\",
        "boxed{",
        "\\fbox{",
    ),
)
texts = st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join) | st.text(max_size=60)


def check_of(kind: str) -> Check:
    if kind == "patch":
        return PatchCheck("0" * 64, ("tests/t.py::a",))
    return MATH if kind == "math" else ProgramCheck((StdioCase("", "1"),), language=kind)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['check']}: {case['why']}")
def test_the_answer_of_a_response_is_found(case: dict[str, Any]) -> None:
    answer = final_answer(case["response"], check_of(case["check"]))
    assert (answer.text if answer else None) == case["answer"]


@given(texts, st.sampled_from(CHECKS))
def test_a_response_and_its_answer_alone_are_the_same_claim(text: str, check: Check | None) -> None:
    """A solver judges the answer that it took out of a response, training the whole response: one verdict for both."""
    whole = answer_of(Claim(text), check)
    if whole is None:
        assert final_answer(text, check) is None
        assert no_answer(check).status is (Status.UNKNOWN if check is None else Status.FAIL)
        return
    if check is not None:
        alone = answer_of(Claim(whole.text, bare=True), check)
        assert alone is not None
        assert alone.text == whole.text


@pytest.mark.parametrize(
    ("text", "check", "complete", "answer"),
    [
        ("thus \\boxed{42}", MATH, True, "42"),
        ("thus \\boxed{42}", MATH, False, "42"),
        ("The answer is 42.", MATH, True, "42"),
        ("The answer is 42.", MATH, False, None),
        ("thus \\boxed{4", MATH, False, None),
        (FENCED, CODE, True, PROGRAM),
        (FENCED, CODE, False, PROGRAM),
        (FENCED.removesuffix("```\n"), CODE, False, None),
        (FENCED, None, True, PROGRAM),
        ("thus \\boxed{42}", None, True, "42"),
        (LONG, CustomCheck("v"), True, LONG),
        (LONG, CustomCheck("v"), False, None),
    ],
)
def test_a_response_that_was_cut_off_states_only_what_it_marks(
    text: str, check: Check | None, complete: bool, answer: str | None
) -> None:
    found = final_answer(text, check, complete=complete)
    assert (found.text if found else None) == answer


@pytest.mark.parametrize(
    ("text", "check", "answer"),
    [
        ("first \\boxed{1}, no, \\boxed{2}", MATH, "2"),
        ("the answer is 2", MATH, None),
        ("\\boxed{2", MATH, None),
        ("\\boxed{2} is wrong, it should be 3", MATH, None),
        (FENCED, CODE, PROGRAM),
        (FENCED.removesuffix("```\n"), CODE, None),
        ("\\boxed{2}", CODE, None),
    ],
)
def test_a_step_states_only_what_it_marks(text: str, check: Check, answer: str | None) -> None:
    assert branch_answer(text, check) == answer


def test_an_unclosed_box_is_no_box() -> None:
    assert boxes(r"\boxed{1 + {2}") == ()


@pytest.mark.parametrize(
    ("text", "check", "answer"),
    [
        (r" \boxed{3} ", MATH, "3"),
        (r"\boxed{3} or \boxed{4}", MATH, r"\boxed{3} or \boxed{4}"),
        (" ", MATH, None),
        (FENCED.removeprefix("so\n"), CODE, PROGRAM),
        (f'"""\n```\nf()\n```\n"""\n{PROGRAM}', CODE, f'"""\n```\nf()\n```\n"""\n{PROGRAM}'),
        (PROGRAM, CODE, PROGRAM),
    ],
    ids=["box", "two boxes", "nothing", "fence", "a docstring with a fence", "bare"],
)
def test_a_bare_claim_is_kept_whole_without_its_marks(text: str, check: Check, answer: str | None) -> None:
    found = answer_of(Claim(text, bare=True), check)
    assert (found.text if found else None) == answer


def test_how_an_answer_was_found_is_told() -> None:
    found = {text: final_answer(text, MATH) for text in ("\\boxed{1} \\boxed{2}", "the answer is 1", "so $1$.", "1")}
    assert [answer.found for answer in found.values() if answer] == [Found.BOXED, Found.PHRASE, Found.MATH, Found.LINE]
    assert [answer.boxes for answer in found.values() if answer] == [2, 0, 0, 0]


@pytest.mark.parametrize("fence", ["```\npython\n", "```\nPython\n", "```python\npython\n", "~~~ \n py \n"])
def test_a_language_named_on_the_line_below_a_fence_is_no_line_of_the_program(fence: str) -> None:
    response = f"Here it is:\n{fence}print(1)\n{fence[:3]}\n\nIt prints:\n```\n1\n```\n"
    for claim in (Claim(response), Claim(fence + "print(1)\n" + fence[:3], bare=True)):
        found = answer_of(claim, ProgramCheck(()))
        assert found is not None and found.text.strip() == "print(1)"


@pytest.mark.parametrize("line", ["python = 1", "go()", "# python"])
def test_a_first_line_that_only_begins_like_a_language_stays(line: str) -> None:
    found = answer_of(Claim(f"```\n{line}\nprint(1)\n```"), ProgramCheck(()))
    assert found is not None and found.text.startswith(line)


def test_without_a_language_the_last_fence_of_any_is_the_program() -> None:
    program = last_program("```python\nprint(1)\n```\ntext\n```C++\nint main() {}\n```\n")
    assert program is not None
    assert (program.source, program.language) == ("int main() {}\n", "c++")


@given(st.text(alphabet="\\boxed{}$ 12\n`.answeri:*#", max_size=400))
def test_extraction_never_raises(text: str) -> None:
    for check in CHECKS:
        for claim in (Claim(text), Claim(text, bare=True)):
            answer = answer_of(claim, check)
            assert answer is None or answer.text.strip()


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "unit",
    [
        *(
            "\\boxed{",
            "{",
            "}",
            "$",
            "\\[",
            "answer is ",
            "```\n",
            "\\boxed{1} and ",
            "\n",
            "not \\boxed{1} ",
            "wait, ",
        ),
        *(
            "\\boxed{1} wait, ",
            "\\boxed{1} fails. ",
            "rules out \\boxed{1} ",
            "tempting to say \\boxed{1} ",
            "the naive answer is 1 ",
            "perhaps the answer is \\boxed{1} ",
            "if order mattered, the answer would be \\boxed{1} ",
            "the answer is 1 before rounding ",
            "but it is 6 ",
            "<!-- \\boxed{1}",
            "<think>",
            "</think>",
            "answer of ",
            "there are 1 ",
            "is 1 ",
            "\\boxed\\",
            "```a\n```\n",
        ),
    ],
)
@pytest.mark.timeout(120)  # seconds are enough on a busy machine; a quadratic reader would take minutes
def test_long_hostile_texts_are_read_to_their_end(unit: str) -> None:
    text = unit * 30_000
    for check in CHECKS:
        answer_of(Claim(text), check)
        answer_of(Claim(text, bare=True), check)
        branch_answer(text, check)


def test_boxes_in_boxes_are_read_to_their_end() -> None:
    answer_of(Claim("\\boxed{" * 50_000 + "}" * 50_000, bare=True), MATH)
