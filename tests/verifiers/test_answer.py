from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.verifiers.answer import Found, boxes, extract, last_program

CASES = [
    (r"so \boxed{1} and later \boxed{2}.", "2", Found.BOXED),
    (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}", Found.BOXED),
    (r"\boxed{\{1,2\}}", r"\{1,2\}", Found.BOXED),
    (r"the roots are $\boxed{1}$ and $\boxed{2}$.", "1, 2", Found.BOXED),
    (r"\boxed{x = \boxed{5}}", r"x = \boxed{5}", Found.BOXED),
    (r"\boxed 7", "7", Found.BOXED),
    ("The final answer is 42.", "42", Found.PHRASE),
    ("**Final Answer:** $\\frac{3}{4}$", r"$\frac{3}{4}$", Found.PHRASE),
    ("We compute.\n#### 18", "18", Found.PHRASE),
    ("<answer>12 - 3</answer>", "12 - 3", Found.PHRASE),
    ("Answer: 3.5", "3.5", Found.PHRASE),
    ("Therefore the sum is $n^2$.", "n^2", Found.MATH),
    ("step one\n\n82 + 20 + 67 - 50", "82 + 20 + 67 - 50", Found.LINE),
    (r"<takeaway>The branches agree.</takeaway> The answer is \boxed{B}", "B", Found.BOXED),
]


@pytest.mark.parametrize(("response", "text", "found"), CASES)
def test_the_answer_of_a_response_is_found(response: str, text: str, found: Found) -> None:
    answer = extract(response)
    assert answer is not None
    assert (answer.text, answer.found) == (text, found)


def test_a_response_without_a_statement_claims_nothing() -> None:
    assert extract("") is None
    assert extract("I do not know how to go on from here, since the branches disagree about every single case.") is None


def test_an_unclosed_box_is_no_box() -> None:
    assert boxes(r"\boxed{1 + {2}") == ()


def test_a_bare_answer_is_kept_whole_without_its_box() -> None:
    whole = extract(r" \boxed{3} ", bare=True)
    part = extract(r"\boxed{3} or \boxed{4}", bare=True)
    assert whole is not None
    assert whole.text == "3"
    assert part is not None
    assert part.text == r"\boxed{3} or \boxed{4}"


def test_the_number_of_boxes_is_reported() -> None:
    answer = extract(r"\boxed{1}, then \boxed{2}, then \boxed{3}")
    assert answer is not None
    assert answer.boxes == 3


def test_the_last_fenced_block_is_the_program() -> None:
    program = last_program("```python\nprint(1)\n```\ntext\n```C++\nint main() {}\n```\n")
    assert program is not None
    assert (program.source, program.language) == ("int main() {}\n", "c++")


def test_an_unclosed_last_fence_runs_to_the_end() -> None:
    program = last_program("```\nold\n```\n```py\nprint(2)\n")
    assert program is not None
    assert (program.source, program.language) == ("print(2)\n", "py")


def test_text_without_fences_has_no_program() -> None:
    assert last_program("print(1)") is None


@given(st.text(alphabet="\\boxed{}$ 12\n`.answeri:*#", max_size=400))
def test_extraction_never_raises(text: str) -> None:
    for answer in (extract(text), extract(text, bare=True)):
        assert answer is None or answer.text == answer.text.strip() != ""
    last_program(text)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("unit", ["\\boxed{", "{", "}", "$", "\\[", "answer is ", "```\n", "\\boxed{1} and ", "\n"])
def test_long_hostile_texts_are_read_to_their_end(unit: str) -> None:
    text = unit * 100_000  # a quadratic reader would take the better part of an hour
    extract(text)
    last_program(text)
