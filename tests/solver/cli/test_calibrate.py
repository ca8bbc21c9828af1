"""`espalier calibrate`: from responses to a calibration that `solve` takes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from random import Random

import pytest
from typer.testing import CliRunner

from espalier.runtime.engine import FinishReason, Usage
from espalier.solver.cli.calibrate import app, judged_answers
from espalier.solver.cli.solve import app as solve
from espalier.solver.core.candidate import BranchAnswer, Candidate, Spec
from espalier.solver.core.confidence import Calibration, Votes
from espalier.solver.core.problem import Problem
from espalier.solver.core.responses import ResponseFile, Sampling
from espalier.solver.core.selection import VerifiedCandidate, subsets
from espalier.verifiers.check import ReferenceCheck
from espalier.verifiers.open import open_verifiers
from espalier.verifiers.verdict import Status


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Forty problems, eight responses each; half of the problems are easy."""
    rng = Random(0)
    problems, responses = tmp_path / "problems.jsonl", ResponseFile(tmp_path / "r.jsonl", Sampling("tiny", 0, 1.0, 9))
    lines = []
    for number in range(40):
        lines.append(json.dumps({"id": str(number), "text": f"{number} + 1?", "check": f"reference:{number + 1}"}))
        for sample in range(8):
            right = rng.random() < (0.9 if number % 2 else 0.2)
            answer = str(number + 1) if right else rng.choice([str(number), str(number + 2), None])
            responses.add(
                "file",
                str(number),
                Candidate(
                    spec=Spec(sample, 0, 0, 1.0),
                    text="",
                    answer=answer,
                    branch_answers=(),
                    reason=FinishReason.STOP,
                    usage=Usage(),
                    seconds=0.0,
                ),
            )
    problems.write_text("\n".join(lines) + "\n")
    return problems, tmp_path / "r.jsonl"


def test_it_learns_writes_and_says_how_reliable_it_is(files: tuple[Path, Path], tmp_path: Path) -> None:
    problems, responses = files
    out = tmp_path / "calibration.json"
    command = [str(problems), "--responses", str(responses), "--out", str(out), "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    (row,) = map(json.loads, done.stdout.splitlines())
    assert (row["set"], row["problems"], row["model"]) == ("cross-validation", 40, "tiny")
    assert 0 <= row["error"] < 0.25
    assert sum(count for _, _, count in row["bins"]) > 40
    assert Calibration.load(out).problems == 40


def test_it_learns_from_votes_that_steps_share(tmp_path: Path) -> None:
    """Where the steps agree with the conclusion it is right; where two of three state something else, that is right."""
    problems, responses = tmp_path / "problems.jsonl", ResponseFile(tmp_path / "r.jsonl", Sampling("tiny", 0, 1.0, 9))
    lines = []
    for number in range(12):
        right, wrong = str(number), str(number + 100)
        lines.append(json.dumps({"id": right, "text": f"{number}?", "check": f"reference:{right}"}))
        stated = [wrong, right, right, right] if number % 2 else [wrong, wrong, wrong, wrong]
        steps = tuple(BranchAnswer(((0, at),), answer) for at, answer in enumerate(stated, start=1))
        for sample in range(2):
            spec = Spec(sample, 0, 0, 1.0)
            candidate = Candidate(spec, "", wrong, steps, FinishReason.STOP, Usage(), seconds=0.0)
            responses.add("file", right, candidate)
    problems.write_text("\n".join(lines) + "\n")
    out = tmp_path / "calibration.json"
    done = CliRunner().invoke(app, [str(problems), "--responses", str(tmp_path / "r.jsonl"), "--out", str(out)])
    assert done.exit_code == 0, done.output
    calibration = Calibration.load(out)
    assert calibration.confidence(Votes((1.2, 0.8))) > 0.8 > 0.2 > calibration.confidence(Votes((2.0,)))


def test_of_some_responses_these_alone_say_whether_steps_share_votes(tmp_path: Path) -> None:
    """Two of three conclude with what a step states, so that of all three the steps would share every vote. A solve
    with only one of these two, and the third, cannot know that: the third has the heaviest vote, and is right."""
    problems, responses = tmp_path / "problems.jsonl", ResponseFile(tmp_path / "r.jsonl", Sampling("tiny", 0, 1.0, 9))
    lines = []
    for number in range(20):
        lines.append(json.dumps({"id": str(number), "text": f"{number}?", "check": "reference:9"}))
        for sample, answers in enumerate((("9", "5", "5"), ("5", "5", "4"), ("5", "5", "4"))):
            steps = tuple(BranchAnswer(((0, at),), answer) for at, answer in enumerate(answers[1:], start=1))
            spec = Spec(sample, 0, 0, 1.0)
            one = Candidate(spec, "", answers[0], steps, FinishReason.STOP, Usage(), seconds=0.0)
            responses.add("file", str(number), one)
    problems.write_text("\n".join(lines) + "\n")
    done = CliRunner().invoke(app, [str(problems), "--responses", str(tmp_path / "r.jsonl"), "--json"])
    assert done.exit_code == 0, done.output
    bins = json.loads(done.stdout)["bins"]
    assert sum(count for _, _, count in bins) == 20
    assert 8 <= sum(accuracy * count for _, accuracy, count in bins) < 20  # two of three pairs hold the third


@pytest.mark.bwrap
def test_a_program_that_fails_is_as_silent_as_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESPALIER_SANDBOX_KIND", "bwrap")
    problem = Problem("p", "1 + 1?", ReferenceCheck("2"))
    went = [("words", "2"), ("program", "print(2)"), ("program", "print(1 / 0)"), ("words", None)]
    told = [
        Candidate(Spec(0, 0, 0, 1.0, way=way), "", answer, (), FinishReason.STOP, Usage(), seconds=0.0)
        for way, answer in went
    ]

    async def found() -> list[VerifiedCandidate]:
        async with open_verifiers() as verifiers:
            return await judged_answers(verifiers, problem, told)

    judged = asyncio.run(found())
    assert [one.candidate.spec.index for one in judged] == [0, 1, 2, 3]
    assert [one.verdict.status for one in judged] == [Status.UNKNOWN, Status.UNKNOWN, Status.FAIL, Status.UNKNOWN]
    votes, selection = subsets(judged, Random(0))[-1]
    assert (votes, selection.answer) == (Votes((2.0,), silent=2, ways=1.0), "2")


@pytest.mark.bwrap
def test_it_learns_what_stated_examples_are_worth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the programs that pass the example two thirds are right, of those that fail it none."""
    monkeypatch.setenv("ESPALIER_SANDBOX_KIND", "bwrap")
    problems, responses = tmp_path / "problems.jsonl", ResponseFile(tmp_path / "r.jsonl", Sampling("tiny", 0, 1.0, 9))
    lines = []
    for number in range(12):
        tests = [{"call": {"function": "f", "arguments_json": f"[{x}]", "expected_json": str(2 * x)}} for x in (2, 3)]
        text = "Write a Python function f(x).\nf(2) == 4"
        lines.append(json.dumps({"id": str(number), "text": text, "check": {"program": {"cases": tests}}}))
        best = ("2 * x", "2 * x", "x * x", "x + 1", "x + 1", "0")[number % 6]  # x * x passes the example and is wrong
        for sample, value in enumerate((best, "x")):
            answer = f"def f(x):\n    return {value}\n"
            spec, usage = Spec(sample, 0, 0, 1.0), Usage(sampled_tokens=9)
            responses.add("file", str(number), Candidate(spec, "", answer, (), FinishReason.STOP, usage, seconds=0.0))
    problems.write_text("\n".join(lines) + "\n")
    out = tmp_path / "calibration.json"
    done = CliRunner().invoke(app, [str(problems), "--responses", str(tmp_path / "r.jsonl"), "--out", str(out)])
    assert done.exit_code == 0, done.output
    calibration = Calibration.load(out)
    assert calibration.confidence(Votes((1.0,), silent=1, examples=1.0)) == pytest.approx(2 / 3, abs=0.05)
    assert calibration.confidence(Votes((1.0,), examples=0.0)) < 0.1


@pytest.mark.bwrap
def test_it_learns_what_agreement_of_ways_is_worth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ways that agree are right, two that differ are not: the programs run, and their outputs vote."""
    monkeypatch.setenv("ESPALIER_SANDBOX_KIND", "bwrap")
    problems, responses = tmp_path / "problems.jsonl", ResponseFile(tmp_path / "r.jsonl", Sampling("tiny", 0, 1.0, 9))
    lines = []
    for number in range(12):
        lines.append(json.dumps({"id": str(number), "text": f"{number} + 1?", "check": f"reference:{number + 1}"}))
        in_words, added = (number + 1, 1) if number % 2 else (number + 2, 3)
        for sample, (way, answer) in enumerate((("words", f"{in_words}"), ("program", f"print({number} + {added})"))):
            spec = Spec(sample, 0, 0, 1.0, way=way)
            responses.add("file", str(number), Candidate(spec, "", answer, (), FinishReason.STOP, Usage(), seconds=0.0))
    problems.write_text("\n".join(lines) + "\n")
    out = tmp_path / "calibration.json"
    done = CliRunner().invoke(app, [str(problems), "--responses", str(tmp_path / "r.jsonl"), "--out", str(out)])
    assert done.exit_code == 0, done.output
    calibration = Calibration.load(out)
    agreed, split = Votes((2.0,), ways=1.0), Votes((1.0, 1.0))
    assert calibration.confidence(agreed) > 0.8 > 0.6 > calibration.confidence(split)


def test_false_equalities_weaken_a_vote_as_in_a_solve(tmp_path: Path) -> None:
    """Of two answers the first wins a tie, but in half of the problems the wrong one's reasoning is false: there it
    loses."""
    problems, responses = tmp_path / "problems.jsonl", ResponseFile(tmp_path / "r.jsonl", Sampling("tiny", 0, 1.0, 9))
    lines = []
    for number in range(20):
        lines.append(json.dumps({"id": str(number), "text": f"{number} + 1?", "check": f"reference:{number + 1}"}))
        wrong = f"{number} + 1 = {number + 2}." if number % 2 else "I guess."
        for sample, (text, answer) in enumerate(((wrong, number + 2), ("So it is.", number + 1))):
            spec, said = Spec(sample, 0, 0, 1.0), f"{text} \\boxed{{{answer}}}"
            one = Candidate(spec, said, str(answer), (), FinishReason.STOP, Usage(), seconds=0.0)
            responses.add("file", str(number), one)
    problems.write_text("\n".join(lines) + "\n")
    done = CliRunner().invoke(app, [str(problems), "--responses", str(tmp_path / "r.jsonl"), "--json"])
    bins = json.loads(done.stdout)["bins"]
    assert sum(count for _, _, count in bins) == 20
    assert sum(accuracy * count for _, accuracy, count in bins) == pytest.approx(10)


def test_responses_of_several_files_count_together(files: tuple[Path, Path], tmp_path: Path) -> None:
    problems, responses = files
    head, *lines = responses.read_text().splitlines(keepends=True)
    halves = [tmp_path / "first.jsonl", tmp_path / "second.jsonl"]
    for half, path in enumerate(halves):
        path.write_text("".join([head, *(line for at, line in enumerate(lines) if at % 8 // 4 == half)]))
    each = [part for path in halves for part in ("--responses", str(path))]
    whole, split = (
        CliRunner().invoke(app, [str(problems), *some, "--json"]) for some in (["--responses", str(responses)], each)
    )
    assert split.exit_code == 0, split.output
    assert split.stdout == whole.stdout
    test = ["--test", str(problems), str(halves[0]), "--test-responses", str(halves[1])]
    done = CliRunner().invoke(app, [str(problems), "--responses", str(responses), *test, "--json"])
    _, tested = map(json.loads, done.stdout.splitlines())
    assert tested["set"] == "test"
    assert sum(count for _, _, count in tested["bins"]) > 100
    assert done.stderr == ""


def test_responses_that_were_made_otherwise_are_noted(files: tuple[Path, Path], tmp_path: Path) -> None:
    problems, responses = files
    cooler = tmp_path / "cooler.jsonl"
    head, *lines = responses.read_text().splitlines(keepends=True)
    few = [line for at, line in enumerate(lines) if at % 8 < 4]
    cooler.write_text("".join([head.replace('"temperature": 1.0', '"temperature": 0.7'), *few]))
    done = CliRunner().invoke(app, [str(problems), "--responses", str(cooler), "--test", str(problems), str(responses)])
    assert done.exit_code == 0, done.output
    said = "note: fitted at temperature 0.7, tested at 1; on up to 4 responses to a problem, tested on up to 8: what"
    assert done.stderr.startswith(said)


def test_more_responses_to_a_test_need_the_test(files: tuple[Path, Path]) -> None:
    problems, responses = files
    done = CliRunner().invoke(app, [str(problems), "--responses", str(responses), "--test-responses", str(responses)])
    assert done.exit_code == 2
    assert "--test-responses: needs --test PROBLEMS RESPONSES" in done.stderr


def test_the_same_responses_are_not_counted_twice(files: tuple[Path, Path]) -> None:
    problems, responses = files
    again = responses.parent / "." / "x" / ".." / responses.name
    done = CliRunner().invoke(app, [str(problems), "--responses", str(responses), "--responses", str(again)])
    assert done.exit_code == 2
    assert "is given twice" in done.stderr


def test_responses_to_other_problems_are_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text('{"id": "x", "text": "1?", "check": "reference:1"}\n')
    done = CliRunner().invoke(app, [str(other), "--responses", str(files[1])])
    assert done.exit_code == 2
    assert "no response belongs to a problem" in done.output


def test_it_draws_how_reliable_it_is(files: tuple[Path, Path], tmp_path: Path) -> None:
    problems, responses = map(str, files)
    picture = tmp_path / "reliability.png"
    command = [problems, "--responses", responses, "--test", problems, responses, "--plot", str(picture)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_cannot_be_written_is_named(files: tuple[Path, Path], tmp_path: Path) -> None:
    problems, responses = map(str, files)
    done = CliRunner().invoke(app, [problems, "--responses", responses, "--plot", str(tmp_path / "no" / "r.png")])
    assert done.exit_code == 2
    assert "r.png" in done.output


def test_a_file_that_is_no_calibration_is_refused_before_anything_is_solved(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[]")
    done = CliRunner().invoke(solve, ["--calibration", str(tmp_path / "x.json"), "What is 6 times 7?"])
    assert done.exit_code == 2
    assert "x.json holds no calibration: it is no JSON object; make one with espalier calibrate" in done.output
