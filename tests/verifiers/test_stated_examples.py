"""Examples that a problem states: read as data, run in the sandbox, evidence and never a PASS or a FAIL."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from espalier.verifiers.check import AssertCase, Claim, StdioCase
from espalier.verifiers.code.settings import SandboxSettings
from espalier.verifiers.code.verifier import CodeVerifier
from espalier.verifiers.example_reader import MAX_EXAMPLES, read_examples
from espalier.verifiers.stated_examples import DECIDED_BY, StatedExamples
from espalier.verifiers.verdict import Evidence, Status, Verdict

ROWS = [
    json.loads(line) for line in (Path(__file__).parent / "stated_example_cases.jsonl").read_text("utf-8").splitlines()
]
ASK = "Write a Python function f(x).\n"
HOSTILE = [
    "f(" * 10_000,
    "f(1)==" * 4000,
    "f(" + "[" * 9000 + "]" * 9000 + ") == 1",
    "f(" + "-" * 900 + "1) == 1",
    "f(1) == " + "(" * 900 + "1" + ")" * 900,
    "f(" + "(" * 400 + "1" + ")" * 400 + ") == 1",
    "f('" + "\\'" * 9000,
    "f(9**9**9**9) == 9**9**9",
    "def f(\n" * 3000,
    "Input:\nOutput:\n" * 1500,
    "f(1)\0 == 2\nf(\0) == 1",
]
TWICE = ASK + "f(1) == 2\nf(2) == 4\nf(3) == 6.0\nf(-1) raises ValueError\n"
RIGHT = "def f(x):\n    if x < 0:\n        raise ValueError\n    return 2 * x\n"


def records(*passed: bool) -> Verdict:
    cases = tuple(
        Evidence(
            f"case {i}", json.dumps({"passed": one, "reason": "" if one else "the tests fail: AssertionError: got 5"})
        )
        for i, one in enumerate(passed, start=1)
    )
    return Verdict(Status.PASS if all(passed) else Status.FAIL, sum(passed) / len(passed), "program", cases)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_examples_are_read_as_the_table_says(row: dict[str, object]) -> None:
    assert [one.text for one in read_examples(str(row["text"]))] == row["examples"]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_what_the_parser_cannot_take_is_no_example(text: str) -> None:
    assert read_examples(ASK + text) == ()


def test_a_problem_has_so_many_examples_at_most() -> None:
    assert len(read_examples(ASK + "".join(f"f({x}) == {x}\n" for x in range(2 * MAX_EXAMPLES)))) == MAX_EXAMPLES


def test_what_is_read_is_a_case_with_all_that_it_needs() -> None:
    (example,) = read_examples("Write a function to halve.\nassert math.isclose(half(1), 0.5)")
    assert example.case == AssertCase("import math\nassert math.isclose(half(1), 0.5)")
    (sample,) = read_examples("Write a program that adds.\nSample Input\n1 2\nSample Output\n3\n")
    assert sample.case == StdioCase("1 2\n", "3\n")


@pytest.mark.parametrize("passed", [(True, True), (True, False), (False, False)])
def test_the_verdict_is_unknown_whatever_the_examples_say(passed: tuple[bool, bool]) -> None:
    examples = StatedExamples(read_examples(ASK + "f(1) == 2\nf(2) == 4"))
    found = examples.evidence(records(*passed))
    assert (found.status, found.decided_by) == (Status.UNKNOWN, DECIDED_BY)
    assert found.score == pytest.approx((1 + sum(passed)) / 3)
    assert examples.share(examples.passed(found)) == sum(passed) / 2


def test_failed_examples_are_feedback_with_what_came_instead() -> None:
    examples = StatedExamples.of(ASK + "f(1) == 2\nf(2) == 4")
    said = "The program fails 1 of the 2 examples that the problem states:\n\nf(2) == 4: got 5"
    assert examples.evidence(records(True, False)).feedback == said
    assert examples.evidence(records(True, True)).feedback == ""


def test_examples_that_could_not_be_run_speak_against_no_program() -> None:
    error = Verdict(Status.ERROR, 0.0, "program", (Evidence("sandbox", "there is none"),))
    found = StatedExamples.of(TWICE).evidence(error)
    assert (found.status, found.score, found.feedback) == (Status.UNKNOWN, 1.0, "")
    assert "could not be run" in found.evidence[0].detail
    assert "there is none" in found.evidence[0].detail


@pytest.mark.bwrap
async def test_a_right_program_passes_all_and_a_wrong_one_is_told_what_it_gave() -> None:
    examples = StatedExamples.of(TWICE)
    async with CodeVerifier(SandboxSettings(kind="bwrap", warm=1)) as verifier:
        right = await verifier.verify(Claim(RIGHT, bare=True), examples.check)
        near = await verifier.verify(Claim(RIGHT.replace("2 * x", "2 * x + 1e-9"), bare=True), examples.check)
        square = await verifier.verify(Claim("def f(x):\n    return x * x\n", bare=True), examples.check)
        endless = await verifier.verify(Claim("while True:\n    pass\n", bare=True), examples.check)
    assert len(examples.passed(right)) == 4
    assert examples.passed(near) == {2, 3}
    assert examples.passed(square) == {1}
    feedback = examples.evidence(square).feedback
    assert "f(1) == 2: got 1" in feedback
    assert "f(3) == 6.0: got 9" in feedback
    assert "f(-1) raises ValueError: raised nothing" in feedback
    assert examples.passed(endless) == set()
    assert "time limit" in examples.evidence(endless).feedback


@pytest.mark.bwrap
async def test_samples_of_standard_input_and_output_are_run_and_told() -> None:
    examples = StatedExamples.of(
        "Write a program that prints a third.\n\nSample Input 1\n1\nSample Output 1\n0.333333333\n\n"
        "Sample Input 2\n3\nSample Output 2\n1\n"
    )
    async with CodeVerifier(SandboxSettings(kind="bwrap", warm=1)) as verifier:
        right = await verifier.verify(Claim("print(int(input()) / 3)", bare=True), examples.check)
        wrong = await verifier.verify(Claim("print(1)", bare=True), examples.check)
    assert examples.passed(right) == {0, 1}
    assert examples.passed(wrong) == {1}
    assert "wrong output\nInput:\n1\nExpected:\n0.333333333\nGot:\n1" in examples.evidence(wrong).feedback
