"""The shell commands: same verdicts, documented exit statuses, errors that name what to mend."""

from __future__ import annotations

import asyncio
import json
import logging
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import typer
from click.testing import Result
from typer.testing import CliRunner

from espalier.verifiers.check import CallCase, Comparison, ProgramCheck, StdioCase
from espalier.verifiers.check_files import read_pairs, read_program_check
from espalier.verifiers.cli import verifiers_app, verify_app
from tests.verifiers.process import PROGRAM, server_process

MAIN = typer.Typer(pretty_exceptions_enable=False)
MAIN.add_typer(verify_app)
MAIN.add_typer(verifiers_app)


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """The commands configure logging for their process, which here is that of all tests."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def espalier(*arguments: str, stdin: str | bytes = "") -> Result:
    return CliRunner().invoke(MAIN, arguments, input=stdin)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("--gold", "1/2", "0.5"), 0),
        (("--gold", "1/2", r"\frac{2}{4}"), 0),
        (("--gold", "1/2", "0.51"), 1),
        (("--gold", "-1/2", "-0.5"), 0),
        (("--gold", "7", "--response", r"so \boxed{7}"), 0),
        (("--gold", "1, 2", "2, 1"), 0),
        (("--gold", "1, 2", "2, 1", "--ordered-lists"), 1),
        (("--numbers", "19,36,55,7", "--target", "65", "55+36-19-7"), 0),
        (("--numbers", "19,36,55,7", "--target", "65", "65"), 1),
        (("--relation", "3*x + 5 = 20", "5"), 0),
        (("--relation", "3*x + 5 = 20", "6"), 1),
    ],
)
def test_the_exit_status_is_the_verdict(arguments: tuple[str, ...], status: int) -> None:
    result = espalier("verify", "math", *arguments)
    assert result.exit_code == status, result.output


def test_json_is_one_line_with_the_whole_verdict() -> None:
    result = espalier("verify", "math", "--gold", "1/2", "0.6", "--json")
    verdict = json.loads(result.stdout)
    assert result.stdout.count("\n") == 1
    assert set(verdict) == {"status", "score", "decided_by", "evidence", "feedback"}
    assert (verdict["status"], verdict["score"]) == ("fail", 0.0)


def test_an_answer_is_read_from_standard_input() -> None:
    assert espalier("verify", "math", "--gold", "1/2", "-", stdin="0.5\n").exit_code == 0


def test_pairs_give_one_verdict_a_line_in_order(tmp_path: Path) -> None:
    rows = [{"gold": str(i), "answer": str(i + i % 2)} for i in range(200)]
    rows[7] = {"gold": r"\frac{1}{3}", "answer": "3^{-1}"}
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n\n".join(map(json.dumps, rows)))
    result = espalier("verify", "math", "--pairs", str(file))
    verdicts = [json.loads(line) for line in result.stdout.splitlines()]
    assert [verdict["line"] for verdict in verdicts] == [1 + 2 * i for i in range(200)]
    assert [verdict["status"] for verdict in verdicts] == [
        "pass" if i % 2 == 0 or i == 7 else "fail" for i in range(200)
    ]
    assert result.exit_code == 1


def test_pairs_that_all_pass_exit_0() -> None:
    assert espalier("verify", "math", "--pairs", "-", stdin='{"gold": 0.10, "answer": "1/10"}').exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("math", "--pairs", "-"), "standard input: has no pairs; write one a line"),
        (("code", "-", "--cases", "{cases}"), "standard input is empty: there is no program to run"),
        (("code", "{program}", "--cases", "-"), "standard input: is empty; write a JSON list of cases"),
    ],
)
def test_a_file_that_holds_nothing_is_refused(arguments: tuple[str, ...], problem: str, tmp_path: Path) -> None:
    (tmp_path / "cases").write_text('[{"stdio": {"stdin": "", "expected": ""}}]')
    (tmp_path / "program").write_text("print()")
    files = {name: str(tmp_path / name) for name in ("cases", "program")}
    result = espalier("verify", *(argument.format(**files) for argument in arguments), stdin=" \n")
    assert (result.exit_code, result.stdout) == (2, "")
    assert problem in result.stderr


@pytest.mark.parametrize(
    ("content", "problem"), [(b"\xff\x00\x80", "is not UTF-8 text"), (b"[{]", "not JSON"), (b"3", "neither a list")]
)
def test_cases_that_cannot_be_read_are_refused(content: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("print()")
    result = espalier("verify", "code", str(tmp_path / "program.py"), "--cases", "-", stdin=content)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"standard input: {problem}" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--numbers", "1,a", "--target", "5"), "--numbers and --target: the number 'a' is no number"),
        (("--numbers", "1,2", "--target", "x"), "--numbers and --target: the target 'x' is no number"),
        (("--numbers", "1,,2", "--target", "5"), "--numbers: a number is missing"),
        (("--relation", "3x +"), "--relation: cannot be read"),
        (("--relation", "x = 1", "--domain", "whatever"), "--domain: unknown domain 'whatever'"),
    ],
)
def test_constraints_that_no_answer_satisfies_are_refused_by_their_option(
    arguments: tuple[str, ...], problem: str
) -> None:
    result = espalier("verify", "math", *arguments, "5")
    assert (result.exit_code, result.stdout) == (2, "")
    assert problem in result.stderr


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not UTF-8"),
        (b"[1]", "not a JSON object"),
        (b'{"gold": "1"}', "no field 'answer'"),
        (b'{"answer": "1"}', "no field 'gold'"),
        (b'{"gold": null, "answer": "1"}', "field 'gold' is neither text nor a number"),
        (b'{"gold": " ", "answer": "1"}', "field 'gold' is empty"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_malformed_line_is_named_and_nothing_is_half_done(line: bytes, problem: str) -> None:
    good = b'{"gold": "1", "answer": "1"}'
    result = espalier("verify", "math", "--pairs", "-", stdin=b"\n".join([good, line, good]))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert f"standard input:2: {problem}" in result.stderr


def test_many_malformed_lines_are_counted() -> None:
    with pytest.raises(ValueError, match=r"f:10: .*\n… and 990 more"):
        read_pairs(b"x\n" * 1000, "f")


def test_numbers_in_pairs_are_taken_as_written() -> None:
    (pair,) = read_pairs(b'{"gold": 0.1000000000000000000001, "answer": 1e400}', "f")
    assert (pair.gold, pair.answer) == ("0.1000000000000000000001", "1e400")


def test_lone_surrogates_do_not_break_a_run() -> None:
    result = espalier("verify", "math", "--pairs", "-", stdin=r'{"gold": "1", "answer": "\ud800"}')
    assert result.exit_code in {1, 3}
    assert len(result.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("math", "--reference", "5"), "No such option: --reference. For example: espalier verify math --gold"),
        (("math", "--gould=5", "5"), "Did you mean --gold?"),
        (("math", "--gold", "5", "--stepz"), "Did you mean --steps"),
        (("math", "--gold", "5", "1", "2"), "One answer at a time: there is '2', too."),
        (("custom", "bare", "--parameter", "{}", "5"), "Did you mean --parameters?"),
        (("custom", "bare", "5", "6"), "there is '6', too"),
        (("custom", "bare"), "Missing argument 'text'"),
        (("code", "x.py"), "Missing option '--cases'"),
        (("patch", "--check", "c.json"), "Missing argument 'patch'"),
    ],
)
def test_a_mistyped_or_missing_part_is_named_with_the_usage(arguments: tuple[str, ...], hint: str) -> None:
    result = espalier("verify", *arguments)
    said = " ".join(result.output.replace("│", " ").split())
    assert result.exit_code == 2
    assert f"Usage: root verify {arguments[0]} " in said
    assert hint in said


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("math", "5"), "--gold"),
        (("math", "--gold", "5"), "the answer is missing"),
        (("math", "--gold", " ", "5"), "--gold is empty"),
        (("math", "--gold", "5", "--steps", "5"), "say how to judge"),
        (("math", "--numbers", "1,2", "5"), "belong together"),
        (("math", "--pairs", "x.jsonl", "--gold", "5"), "--pairs brings"),
        (("math", "--pairs", "/nonexistent/x.jsonl"), "/nonexistent/x.jsonl"),
        (("math", "--gold", "5", "5", "--token-file", "x"), "--address"),
        (("math", "--gold", "5", "5", "--address", "127.0.0.1:1", "--token-file", "/nonexistent"), "/nonexistent"),
        (("math", "--gold", "5", "--jsno"), "--jsno"),
        (("math", "--gold", "5", "--jsno", "5"), "--jsno"),
        (("code", "/nonexistent.py", "--cases", "-"), "standard input: "),
        (("code", "-", "--cases", "-"), "standard input is either"),
        (("math", "--relation", " ", "5"), "check.constraints.constraints[0].relation.text: is empty"),
        (("math", "--numbers", "1,,2", "--target", "3", "5"), "--numbers: a number is missing between two commas"),
        (("custom", "absent", "x"), "no verifier called 'absent'; there are: math, code"),
    ],
)
def test_a_usage_error_exits_2_and_says_what_to_do(arguments: tuple[str, ...], hint: str) -> None:
    result = espalier("verify", *arguments)
    assert result.exit_code == 2, result.output
    assert hint in result.output
    assert "Traceback" not in result.output


def test_a_server_that_is_not_there_exits_3(unused_tcp_port: int) -> None:
    address = f"127.0.0.1:{unused_tcp_port}"
    result = espalier("verify", "math", "--gold", "5", "5", "--address", address, "--timeout", "0.5")
    assert result.exit_code == 3
    assert "ERROR" in result.output
    described = espalier("verifiers", "describe", "--address", address)
    assert described.exit_code == 3
    assert address in described.output


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("--address", "0.0.0.0:0"), "--insecure"),
        (("--only", "maths"), "maths"),
        (("--log-level", "loud"), "loud"),
        (("--tls-cert", __file__), "key"),
        (("--token-file", "/nonexistent"), "/nonexistent"),
        (("--metrics", "here"), "HOST:PORT"),
    ],
)
def test_a_server_that_cannot_start_says_why(arguments: tuple[str, ...], hint: str) -> None:
    math = () if "--only" in arguments else ("--only", "math")
    result = espalier("verifiers", "serve", "--address", "127.0.0.1:0", *math, *arguments)
    assert result.exit_code in {2, 3}
    assert hint in result.output
    assert "Traceback" not in result.output


def test_debug_shows_the_traceback() -> None:
    assert "Traceback" in espalier("verify", "math", "--pairs", "/nonexistent", "--debug").output


@pytest.mark.parametrize("command", ["verify math", "verify code", "verifiers serve", "verifiers describe"])
def test_help_explains_every_command(command: str) -> None:
    result = espalier(*command.split(), "--help")
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_help_does_not_load_what_verifying_needs() -> None:
    heavy = ("torch", "sympy", "docker", "grpc", "google.protobuf", "structlog", "rich.progress")
    code = f"import sys, espalier.verifiers.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real server process with the real math verifier."""
    with server_process(tmp_path_factory.mktemp("server") / "log", "--only", "math") as server:
        yield server.address
    assert [event["event"] for event in server.events][-2:] == ["draining", "stopped"]


@pytest.mark.parametrize(("answer", "status"), [("0.5", 0), ("0.6", 1)])
def test_a_server_gives_the_same_verdicts(server: str, answer: str, status: int) -> None:
    there = espalier("verify", "math", "--gold", "1/2", answer, "--address", server, "--json")
    here = espalier("verify", "math", "--gold", "1/2", answer, "--json")
    assert there.exit_code == here.exit_code == status
    assert there.stdout == here.stdout


def test_pairs_over_a_server_keep_their_order(server: str) -> None:
    rows = [{"gold": str(i), "answer": f"{i}.{i % 2}"} for i in range(300)]
    result = espalier("verify", "math", "--pairs", "-", "--address", server, stdin="\n".join(map(json.dumps, rows)))
    statuses = [json.loads(line)["status"] for line in result.stdout.splitlines()]
    assert statuses == ["fail" if i % 2 else "pass" for i in range(300)]


def test_describe_over_a_server(server: str) -> None:
    result = espalier("verifiers", "describe", "--address", server, "--json")
    info = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (info["name"], info["healthy"]) == ("math", True)
    assert {"reference", "constraints", "steps"} == set(info["kinds"])


CASES: Any = [
    {"stdio": {"stdin": "1", "expected": "2"}},
    {"call": {"function": "f", "arguments": [1], "expected": None}},
]


@pytest.mark.parametrize(
    "content",
    [
        CASES,
        {"cases": CASES},
        {"cases": [CASES[0], {"call": {"function": "f", "argumentsJson": "[1]", "expected_json": "null"}}]},
    ],
)
def test_cases_may_be_a_list_or_an_object(content: object) -> None:
    check = read_program_check(json.dumps(content).encode(), "cases.json")
    assert check == ProgramCheck((StdioCase("1", "2"), CallCase("f", "[1]", "null")))


def test_a_case_may_be_hidden_and_files_stand_beside_the_program() -> None:
    content = {"cases": [{**case, "hidden": True} for case in CASES], "files": {"helper.py": "x = 1"}}
    check = read_program_check(json.dumps(content).encode(), "cases.json")
    assert check.cases == (StdioCase("1", "2", hidden=True), CallCase("f", "[1]", "null", hidden=True))
    assert check.files == (("helper.py", "x = 1"),)


def test_the_file_of_cases_may_say_how_to_compare_and_in_which_language() -> None:
    content = {"cases": CASES, "comparison": "COMPARISON_FLOAT", "tolerance": 0.5, "limits": {"case_seconds": 2}}
    check = read_program_check(json.dumps(content).encode(), "f", language="cpp")
    assert (check.comparison, check.tolerance, check.limits.case_seconds) == (Comparison.FLOAT, 0.5, 2)
    assert check.language == "cpp"
    assert read_program_check(json.dumps({**content, "language": "python"}).encode(), "f", "cpp").language == "python"


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"", "is empty; write a JSON list of cases"),
        (b"[1", "not JSON: Expecting"),
        (b"5", "neither a list of cases nor an object"),
        (b"[]", "cases"),
        (b'[{"stdin": "1"}]', "stdin"),
        (b'[{"call": {"function": "f", "arguments": {}, "expected": 1}}]', "cases[0].call.arguments_json"),
        (b'{"cases": 5}', "cases"),
        (b'{"cases": [{"stdio": {}}], "speed": 1}', "speed"),
        (b"\xff", "is not UTF-8 text"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_malformed_file_of_cases_names_what_is_wrong(content: bytes, hint: str) -> None:
    with pytest.raises(ValueError, match=r"^cases\.json: ") as caught:
        read_program_check(content, "cases.json")
    assert hint in str(caught.value)


def test_a_reader_that_leaves_early_is_no_crash(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"gold": "1", "answer": "1"}\n' * 5000)
    command = f"{sys.executable} -c {shlex.quote(PROGRAM)} verify math --pairs {file} | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["status"] == "pass"
    assert "Traceback" not in done.stderr


def test_an_interrupt_ends_the_run_and_its_workers(tmp_path: Path) -> None:
    async def interrupted() -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            PROGRAM,
            "verify",
            "math",
            "--gold",
            "1",
            "-",
            stdin=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        await asyncio.sleep(1.5)
        process.send_signal(signal.SIGINT)
        _, errors = await asyncio.wait_for(process.communicate(), 20)
        return process.returncode, errors.decode()

    status, errors = asyncio.run(interrupted())
    assert status == 130
    assert "Traceback" not in errors


@pytest.mark.docker
@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize(("source", "status"), [("print(int(input()) + 1)", 0), ("print(int(input()) - 1)", 1)])
def test_a_program_is_judged_by_its_cases(tmp_path: Path, source: str, status: int) -> None:
    program, cases = tmp_path / "program.py", tmp_path / "cases.json"
    program.write_text(source)
    cases.write_text(json.dumps([{"stdio": {"stdin": f"{n}\n", "expected": f"{n + 1}\n"}} for n in range(3)]))
    result = espalier("verify", "code", str(program), "--cases", str(cases), "--json")
    assert result.exit_code == status, result.output
    assert json.loads(result.stdout)["decided_by"] == "program"
