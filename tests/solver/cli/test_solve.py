"""The command line: what it prints, what it exits with, and what it says when something is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from espalier.solver.cli.main import MOUNTS, app
from espalier.solver.core.problem import Problem
from espalier.verifiers.check import CustomCheck

GCD = "Find the Greatest Common Divisor (GCD) of these numbers: 84, 126. Give only the GCD as your final answer."


def espalier(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin)


def test_help_is_quick_because_it_imports_no_torch() -> None:
    script = (
        "import sys; from espalier.solver.cli.main import app; from typer.testing import CliRunner; "
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0; "
        "assert CliRunner().invoke(app, ['solve', '--help']).exit_code == 0; "
        "print([name for name in ('torch', 'transformers', 'grpc', 'sympy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", MOUNTS)
def test_every_command_explains_itself(name: str) -> None:
    done = espalier(name, "--help")
    assert done.exit_code == 0
    assert "Usage:" in done.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--k", "0", "x"], "k must be between 1 and 1024, got 0"),
        (["--k", "99999", "x"], "k must be between 1 and 1024"),
        (["--tokens", "3", "x"], "--tokens must be between 64 and"),
        (["--tokens", "4294967296", "x"], "--tokens must be between 64 and 4294967295"),
        (["--rounds", "4294967296", "x"], "--rounds must be between 1 and 4294967295"),
        (["--rejoins", "17", "x"], "--rejoins must be between 0 and 16"),
        (["--seconds", "0", "x"], "seconds must be above 0"),
        (["--policy", "magic", "x"], "unknown policy 'magic'; there are: greedy, best_of_k, adaptive, refine"),
        (["--certainty", "1", "x"], "certainty must be between 0.5 and 1, got 1.0"),
        (["--policy", "greedy", "--certainty", "0.9", "x"], "policy greedy has no certainty"),
        (["--check", "answer:3", "x"], "--check: unknown kind 'answer'"),
        (["--check", '{"reference": {}}', "x"], "check.reference.answer"),
        (["--engine", "magic", "x"], "unknown engine 'magic'; write local"),
        (["--engine", "local:/no/such/model", "x"], "no model directory at /no/such/model"),
        (["--engine", "sglang://here", "x"], "lacks host or port"),
        (["  "], "text is empty"),
        (["no-such-file.jsonl"], "cannot read no-such-file.jsonl"),
        (["--trace", "/no/such/directory/t.jsonl", "x"], "/no/such/directory/t.jsonl"),
    ],
)
def test_a_usage_error_says_what_to_do_and_exits_2(arguments: list[str], said: str) -> None:
    done = espalier("solve", *arguments)
    assert (done.exit_code, "Traceback" in done.output) == (2, False)
    assert said in done.output


@pytest.mark.parametrize(
    ("check", "said"),
    [
        ("reference:\\frac{", "check.reference.answer: cannot be read as mathematics"),
        ('{"custom": {"verifier": "absent"}}', "no verifier called 'absent'"),
    ],
)
@pytest.mark.parametrize("many", [False, True])
def test_a_check_that_can_never_work_is_refused_before_a_model_is_loaded(
    check: str, said: str, many: bool, tmp_path: Path
) -> None:
    file = tmp_path / "problems.jsonl"
    judged = json.loads(check) if check.startswith("{") else check
    file.write_text(json.dumps({"text": "x"}) + "\n" + json.dumps({"id": "seven", "text": "x", "check": judged}))
    asked = [str(file)] if many else ["--check", check, "x"]
    done = espalier("solve", "--engine", "local:/no/such/model", *asked)
    assert (done.exit_code, "Traceback" in done.output) == (2, False)
    assert said in " ".join(done.output.split())
    assert "no model directory" not in done.output
    assert ("problem 'seven'" in done.output) is many


def test_an_evaluation_validates_the_checks_of_its_problems_first(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem("seven", "x", CustomCheck("absent"))
    monkeypatch.setattr("espalier.solver.core.sources.fresh_problems", lambda *_: (problem,))
    done = espalier("eval", "--tasks", "gcd", "--n", "1", "--k", "1", "--engine", "local:/no/such/model")
    assert done.exit_code == 2
    assert "problem 'seven': check.custom.verifier" in " ".join(done.output.split())


@pytest.mark.parametrize("fields", [{"text": "x" * 100_001}, {"text": "x", "id": "i" * 257}])
def test_texts_and_ids_have_the_limits_of_the_services(fields: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "problems.jsonl"
    file.write_text(json.dumps(fields))
    done = espalier("solve", str(file))
    assert done.exit_code == 2
    said = " ".join(done.output.split())
    assert "problems.jsonl:1: " in said
    assert "at most" in said


def test_a_bad_line_of_a_file_is_named_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text('{"text": "What is 1 + 1?"}\n{"txt": "?"}\n')
    done = espalier("solve", str(file))
    assert done.exit_code == 2
    assert f"{file}:2: unknown field 'txt'" in done.output


def test_a_file_that_is_no_file_of_problems_is_not_solved_as_a_text(tmp_path: Path) -> None:
    (tmp_path / "problem.txt").write_text("")
    done = espalier("solve", str(tmp_path / "problem.txt"))
    assert (done.exit_code, "ends in .jsonl" in done.output) == (2, True)


def test_broken_weights_and_unsupported_models_are_trouble_not_tracebacks(random_model: Path, tmp_path: Path) -> None:
    for damaged, content in (("model.safetensors", b"junk"), ("config.json", b'{"model_type": "t5"}')):
        broken = tmp_path / damaged
        broken.mkdir()
        for file in random_model.iterdir():
            (broken / file.name).write_bytes(file.read_bytes())
        (broken / damaged).write_bytes(content)
        done = espalier("solve", "--engine", f"local:{broken}", "What is 1 + 1?")
        assert (done.exit_code, "Traceback" in done.output) == (3, False)
        assert str(broken) in done.output


def test_a_prompt_longer_than_the_context_is_a_usage_error(random_model: Path) -> None:
    done = espalier("solve", "--engine", f"local:{random_model}", "word " * 2000)
    assert done.exit_code == 2
    assert "the model's context holds 512" in done.output


@pytest.mark.parametrize(
    ("content", "said"), [(None, ": No such file or directory"), (b"\xff\n", " is no trace: it is not UTF-8")]
)
def test_a_trace_that_cannot_be_read_is_named(content: bytes | None, said: str, tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    if content is not None:
        file.write_bytes(content)
    done = espalier("trace", "show", str(file))
    assert (done.exit_code, "Traceback" in done.output) == (2, False)
    assert f"espalier: {file}{said}" in done.output


def test_a_problem_of_a_file_that_cannot_be_put_is_named(random_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text(
        json.dumps({"id": "short", "text": "?"}) + "\n" + json.dumps({"id": "long", "text": "word " * 2000})
    )
    done = espalier("solve", "--engine", f"local:{random_model}", "--k", "1", "--max-tokens", "20", str(file))
    assert (done.exit_code, "Traceback" in done.output) == (2, False)
    assert "problem long: " in done.output
    assert "the model's context holds 512" in done.output


def test_an_unsolved_problem_exits_1_and_says_so(random_model: Path) -> None:
    size = ("--k", "2", "--max-tokens", "20", "--check", "reference:2")  # without a check any word would be an answer
    done = espalier("solve", "--engine", f"local:{random_model}", *size, "What is 1 + 1?")
    assert done.exit_code == 1
    assert "UNSOLVED" in done.stdout
    assert "seed" in done.stderr


def test_a_file_of_problems_comes_back_in_order(random_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text("".join(json.dumps({"id": f"p{i}", "text": f"What is {i} + 1?"}) + "\n" for i in range(6)))
    limits = ("--k", "1", "--max-tokens", "20", "--seed", "1")
    done = espalier("solve", "--engine", f"local:{random_model}", *limits, "--json", str(file))
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result["problem"]["id"] for result in results] == [f"p{i}" for i in range(6)]
    assert "6" in done.stderr


@pytest.mark.parametrize("constrained", [False, True])
def test_no_candidate_is_malformed_where_they_are_constrained(random_model: Path, constrained: bool) -> None:
    asked = ("--policy", "best_of_k", "--k", "12", "--temperature", "1", "--max-tokens", "400", "--seed", "1", "--json")
    flags = ("--constrained",) if constrained else ()
    done = espalier("solve", "--engine", f"local:{random_model}", *asked, *flags, "What is 1 + 1?")
    reasons = {one["finish_reason"] for one in json.loads(done.stdout)["candidates"]}
    assert ("malformed" in reasons) != constrained, reasons


def test_an_unknown_task_lists_the_known_ones() -> None:
    done = espalier("eval", "--tasks", "nonsense")
    assert done.exit_code == 2
    assert "unknown task 'nonsense'" in done.output
    assert "countdown" in done.output


@pytest.mark.parametrize("sizes", ["x", "0", "1,,2"])
def test_impossible_sizes_are_a_usage_error(sizes: str) -> None:
    done = espalier("eval", "--tasks", "gcd", "--k", sizes)
    assert done.exit_code == 2
    assert "k" in done.output


def test_an_evaluation_reports_and_resumes(random_model: Path, tmp_path: Path) -> None:
    size = ("--tasks", "gcd,lcm", "--n", "2", "--k", "1,2", "--max-tokens", "16", "--seed", "3")
    command = ["eval", "--engine", f"local:{random_model}", *size, "--json", "-o", str(tmp_path / "out.jsonl")]
    first = espalier(*command)
    assert first.exit_code == 0, first.output
    report = json.loads(first.stdout)
    assert [(row["task"], row["problems"]) for row in report["rows"]] == [("gcd", 2), ("lcm", 2)]
    assert set(report["rows"][0]["pass_at"]) == {"1", "2"}
    kept = (tmp_path / "out.jsonl").read_text()
    assert json.loads(espalier(*command).stdout) == report
    assert (tmp_path / "out.jsonl").read_text() == kept


def test_a_missing_extra_is_named() -> None:
    """In a process of its own: modules that are taken out and put back leave their parents without them."""
    script = (
        "import sys; sys.modules['reasoning_gym'] = None; from espalier.solver.cli.main import app; "
        "from typer.testing import CliRunner; done = CliRunner().invoke(app, ['eval', '--tasks', 'gcd', '--n', '1']); "
        "print(done.exit_code, done.output)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("3 ")
    assert "pip install '.[train]'" in done.stdout


class TestSeedling:
    """The real thing: bundled model, embedded engine, math verifier."""

    def test_a_problem_is_solved_and_checked(self, tmp_path: Path) -> None:
        done = espalier("solve", "--seed", "1", "--trace", str(tmp_path / "t.jsonl"), GCD)
        assert done.exit_code == 0, done.output
        assert done.stdout.strip() == "42"
        assert "verified" in done.stderr
        assert "parallel speed-up" in done.stderr
        shown = espalier("trace", "show", str(tmp_path / "t.jsonl"))
        assert shown.exit_code == 0
        assert "verified: 42" in shown.stdout

    def test_a_problem_comes_from_standard_input(self) -> None:
        done = espalier("solve", "--seed", "1", "--json", "-", stdin=GCD)
        result = json.loads(done.stdout)
        assert (result["answer"], result["outcome"]) == ("42", "OUTCOME_VERIFIED")
        assert result["decided_by"] == "DECIDED_BY_CHECK"
        accepted = result["spent"]["accepted"]
        assert accepted["sampled_tokens"] + accepted["forced_tokens"] > accepted["critical_path_tokens"]

    def test_a_wrong_check_is_not_satisfied(self) -> None:
        done = espalier("solve", "--seed", "1", "--k", "2", "--json", "--check", "reference:41", GCD)
        assert done.exit_code == 1
        result = json.loads(done.stdout)
        assert "answer" not in result
        assert result["outcome"] == "OUTCOME_UNSOLVED"

    def test_the_same_seed_repeats_a_greedy_solve(self) -> None:
        # Nothing passes, so nothing is aborted: where an abort falls depends on how long a verdict takes.
        command = ("solve", "--policy", "greedy", "--seed", "1", "--json", "--check", "reference:41", GCD)
        first, second = (json.loads(espalier(*command).stdout) for _ in range(2))
        for result in (first, second):
            for part in (result, *result["candidates"]):
                part.pop("solve_id", None)
                part.pop("seconds", None)
            del result["spent"]["seconds"]
        assert first == second


def test_instruction_files_of_ways_are_read_before_a_model_is_loaded(tmp_path: Path) -> None:
    text = tmp_path / "program.txt"
    text.write_text("Print it.")
    for given, said in ((f"program={text}", "{question} exactly once"), ("prose=x", "there is no way 'prose'")):
        done = espalier("solve", "--engine", "local:/nowhere", "--model-instruction", given, "1 + 1")
        assert done.exit_code == 2, done.output
        assert "--model-instruction" in done.stderr
        assert said in done.stderr


def test_generated_tests_are_for_problems_without_a_check_and_their_tokens_are_told() -> None:
    limits = ["--generated-tests", "5", "--k", "1", "--max-tokens", "64", "--seed", "1", "--json"]
    done = espalier("solve", *limits, "Write a function that doubles a number.")
    assert done.exit_code == 1, done.output
    result = json.loads(done.stdout)
    assert result["outcome"] == "OUTCOME_UNSOLVED"
    assert result["spent"]["verification"]["sampled_tokens"] > 0
