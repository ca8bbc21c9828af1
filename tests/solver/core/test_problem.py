"""Problems and checks as people write them."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.solver.core.problem import Problem, ProblemError, lines_of, read_problems
from espalier.verifiers.check import (
    CallCase,
    Check,
    Comparison,
    ConstraintCheck,
    CustomCheck,
    Domain,
    MathOptions,
    NumberUse,
    PatchCheck,
    ProgramCheck,
    ReferenceCheck,
    Relation,
    StepCheck,
)
from espalier.verifiers.check_files import read_program_check
from espalier.verifiers.check_text import CheckError, check_from_json, check_to_json, parse_check

SHORT = [
    ("reference:42", ReferenceCheck("42")),
    ("reference: \\frac{1}{2} ", ReferenceCheck("\\frac{1}{2}")),
    ("reference:x:y", ReferenceCheck("x:y")),
    ("numbers:19,36,55,7=65", ConstraintCheck((NumberUse(("19", "36", "55", "7"), "65"),))),
    ("relation:3*x+5=20", ConstraintCheck((Relation("3*x+5=20"),))),
    ("domain:integer", ConstraintCheck((Domain("integer"),))),
    ("steps", StepCheck()),
    ('{"reference": {"answer": "42"}}', ReferenceCheck("42")),
]
LONG: list[Check] = [
    *(check for _, check in SHORT),
    ReferenceCheck("5%", MathOptions(percent_as_fraction=False, round_to=2)),
    ConstraintCheck((NumberUse(("1", "2"), "3", use_all=False, operators=("+",)), Domain("real"))),
    PatchCheck("0" * 64, ("tests/t.py::a",), ("tests",), ("pytest", "-x"), ("docs",), (("tests/t.py", ""),)),
    ProgramCheck((CallCase("f", "[[1]]", "1"),), comparison=Comparison.EXACT, stop_at_first_failure=False),
    CustomCheck("mine", '{"a": 1}'),
]


@pytest.mark.parametrize(("text", "check"), SHORT)
def test_a_shorthand_means_its_check(text: str, check: Check) -> None:
    assert parse_check(text) == check


@pytest.mark.parametrize("check", LONG, ids=str)
def test_a_check_survives_json(check: Check) -> None:
    assert check_from_json(json.loads(json.dumps(check_to_json(check)))) == check


def test_cases_are_spelled_as_in_a_file_of_cases() -> None:
    case = {"call": {"function": "f", "arguments": [[1]], "expected": {"a": None}}}
    check = check_from_json({"program": {"cases": [case]}})
    assert check == ProgramCheck((CallCase("f", "[[1]]", '{"a": null}'),))
    assert read_program_check(json.dumps([case]).encode(), "cases.json") == check


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("42", "no check"),
        ("reference:", "no check"),
        ("answer:42", "unknown kind 'answer'"),
        ("numbers:1,2,3", "numbers:19,36,55,7=65"),
        ("numbers:1,,3=4", "numbers:19,36,55,7=65"),
        ('{"reference": {}}', "check.reference.answer"),
        ('{"reference": {"answr": "1"}}', "answr"),
        ("{", "not JSON"),
    ],
)
def test_a_check_that_makes_no_sense_says_why(text: str, said: str) -> None:
    with pytest.raises(CheckError, match=said.replace(".", r"\.")):
        parse_check(text)


@given(st.text())
def test_no_text_breaks_the_reading_of_checks(text: str) -> None:
    with contextlib.suppress(CheckError):
        parse_check(text)


def test_a_file_of_problems_is_read_in_order() -> None:
    lines = ['{"text": "a"}', "", '{"id": "x", "text": "b", "check": "reference:1"}', '{"text": "c", "id": 7}']
    assert read_problems(lines, "f") == (
        Problem("1", "a"),
        Problem("x", "b", ReferenceCheck("1")),
        Problem("7", "c"),
    )


def test_a_file_may_begin_with_a_mark_end_its_lines_as_windows_does_and_hold_other_ends_of_lines(
    tmp_path: Path,
) -> None:
    file = tmp_path / "p.jsonl"
    file.write_bytes('\ufeff{"text": "one\u2028two\x85three"}\r\n{"text": "b"}\r\n'.encode())
    assert read_problems(lines_of(file), "f") == (Problem("1", "one\u2028two\x85three"), Problem("2", "b"))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes("é".encode("latin-1"))
    for name, said in (("latin", "is not UTF-8"), ("nowhere", "cannot read"), (".", "cannot read")):
        with pytest.raises(ProblemError, match=said) as caught:
            lines_of(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "f:2: "),
        ("[]", "f:2: a line must be a JSON object"),
        ('{"txt": "a"}', "f:2: unknown field 'txt'"),
        ('{"id": "a"}', "f:2: text: "),
        ('{"text": " "}', "f:2: text is empty"),
        ('{"text": "a", "check": "nonsense"}', "f:2: check: 'nonsense' is no check"),
        ('{"text": "a", "check": 5}', "f:2: check: "),
        ('{"text": "a", "id": "first"}', "f:2: the id 'first' is also that of line 1"),
        ('{"text": "a", "id": []}', "f:2: id: "),
        ('{"text": "a\\ud800"}', "f:2: text has half of a surrogate pair"),
        ('{"text": "a", "id": "\\udfff"}', "f:2: id has half of a surrogate pair"),
        ("[" * 5_000, "f:2: "),
    ],
)
def test_a_bad_line_is_named_with_its_number(line: str, said: str) -> None:
    with pytest.raises(ProblemError) as caught:
        read_problems(['{"text": "x", "id": "first"}', line], "f")
    assert str(caught.value).startswith(said)


def test_an_empty_file_is_an_error() -> None:
    with pytest.raises(ProblemError, match="no problem"):
        read_problems([""], "f")
