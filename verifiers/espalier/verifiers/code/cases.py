"""From a case to the command that runs it, and from what the command did to a judgement."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from espalier.common.errors import FieldError
from espalier.verifiers.check import AssertCase, CallCase, Case, CheckerCase, ProgramCheck, RunCase, StdioCase
from espalier.verifiers.code.compare import parse_integer, parse_json, same_text, same_value
from espalier.verifiers.code.languages import PROGRAM_SERVER, Language
from espalier.verifiers.code.sandbox import BoxSpec, Command, CommandOutcome, CommandStop
from espalier.verifiers.code.values import Instead, NotDataError, decode, encode, to_text

WALL_FACTOR = 5.0
"""A program may wait this many times as long as it may compute."""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One case and what became of it; texts are whole.

    Attributes:
        number: The place of the case in the check, from 1.
        passed: Whether the program met the case.
        reason: What went wrong, in words; empty when it passed.
        given: What the program was given.
        expected: What it should have given back.
        got: What it gave back.
        stderr: What it said on standard error.
        hidden: Nothing of the case may be told: what the program said may repeat its input.
        starved: It was stopped while it computed, with processor time left: the machine was busy.
    """

    number: int
    passed: bool
    reason: str
    given: str
    expected: str
    got: str
    stderr: str
    seconds: float
    cpu_seconds: float
    memory_mib: float
    hidden: bool = False
    starved: bool = False


@dataclass(frozen=True, slots=True)
class Trial:
    """A case made ready to run.

    Attributes:
        case: The case.
        number: Its place in the check, from 1.
        where: Its field in the check, for errors.
        argv: What to run in the program's box.
        stdin: Its standard input. What is expected is not in it, but for the tests of an AssertCase, which no process
            of the program sees.
        expected: What a CallCase expects, as a value.
    """

    case: Case
    number: int
    where: str
    argv: tuple[str, ...]
    stdin: str
    expected: Any = None

    def command(self, seconds: float, wall_seconds: float, output_bytes: int) -> Command:
        private = isinstance(self.case, AssertCase)
        return Command(self.argv, self.stdin, seconds, wall_seconds, output_bytes, private)


def box_for(language: Language, memory_mib: int) -> BoxSpec:
    """The box that programs of a language run in."""
    return BoxSpec(language.image, memory_mib, language.executable_tmp)


def compilation(language: Language, memory_mib: int) -> Command | None:
    """The command that makes a program runnable, if the language has one."""
    command, seconds = language.compile_command(memory_mib), language.compile_seconds
    return Command(command, "", seconds, WALL_FACTOR * seconds) if command else None


def prepare(case: Case, index: int, language: Language, check: ProgramCheck) -> Trial:
    """Make a case ready.

    Raises:
        FieldError: The language cannot serve such a case, or the case is malformed.
    """
    where = f"check.program.cases[{index}]"
    match case:
        case StdioCase() | CheckerCase() | RunCase():
            return Trial(case, index + 1, where, language.run_command(check.limits.memory_mib), case.stdin)
        case CallCase():
            where += ".call"
            if language.call is None:
                raise FieldError(where, f"{check.language} programs can be given stdio and checker cases")
            arguments = _json(case.arguments_json, f"{where}.arguments_json")
            if not isinstance(arguments, list):
                raise FieldError(f"{where}.arguments_json", "must be a JSON list, one item per argument")
            expected = _json(case.expected_json, f"{where}.expected_json")
            if not all(part.isidentifier() for part in case.function.split(".")):
                raise FieldError(f"{where}.function", f"{case.function!r} is no function name")
            request = {"function": case.function, "arguments": encode(arguments)}
            return Trial(case, index + 1, where, language.call, json.dumps(request), expected)
        case AssertCase():
            where += ".asserts"
            if language.asserts is None:
                raise FieldError(where, "asserts are Python; use stdio or checker cases")
            request = {"tests": case.source, "entry_point": case.entry_point, **_beside_tests(language, check)}
            return Trial(case, index + 1, where, language.asserts, json.dumps(request))


def _beside_tests(language: Language, check: ProgramCheck) -> dict[str, Any]:
    return {
        "program": language.source_path,
        "modules": [name.removesuffix(".py") for name, _ in check.files if name.endswith(".py")],
        "server": PROGRAM_SERVER,
    }


def gather(trials: Sequence[Trial], language: Language, check: ProgramCheck) -> Trial:
    """One trial that runs the tests of several, all of AssertCases, in one process; :func:`judge_gathered` reads it."""
    each = [
        {"tests": trial.case.source, "entry_point": trial.case.entry_point}
        for trial in trials
        if isinstance(trial.case, AssertCase)
    ]
    return replace(trials[0], stdin=json.dumps({"each": each, **_beside_tests(language, check)}))


def judge_gathered(
    trials: Sequence[Trial], outcome: CommandOutcome, check: ProgramCheck, command: Command
) -> list[CaseResult]:
    """Judge the tests that a gathered trial came to: the first of `trials`, at least one.

    A test that was under way when the process ended is judged if it is the first. Behind others it is left out: it has
    to begin with a process and a time limit of its own before it is held against the program.

    Raises:
        FieldError: One of the tests cannot judge any program.
    """
    reports = []
    for trial, line in zip(trials, outcome.result.split(b"\n")[:-1], strict=False):
        report = _report(line)
        if report is None:
            break
        if "fault" in report:
            raise FieldError(f"{trial.where}.source", report["fault"])
        reports.append((bool(report["passed"]), f"{TESTS_FAIL}: {report['reason']}"))
    if not reports:
        trouble = _trouble(outcome, check, command)
        reports = [(False, trouble or NOT_ENDED)]
    share = 1 / len(reports)
    return [
        CaseResult(
            number=trial.number,
            passed=passed,
            reason="" if passed else reason,
            given=trial.case.source if isinstance(trial.case, AssertCase) else "",
            expected=ALL_HOLD,
            got="",
            stderr="",
            seconds=outcome.seconds * share,
            cpu_seconds=outcome.cpu_seconds * share,
            memory_mib=outcome.memory_mib,
            hidden=trial.case.hidden,
            starved=starved(outcome) and not outcome.result,
        )
        for trial, (passed, reason) in zip(trials, reports, strict=False)
    ]


def _report(line: bytes) -> dict[str, Any] | None:
    """What the process of the tests said in one line; None where the line was cut off."""
    try:
        report = json.loads(line)
    except ValueError:
        return None
    return report if isinstance(report, dict) else None


def judge(trial: Trial, outcome: CommandOutcome, check: ProgramCheck, command: Command) -> CaseResult:
    """Judge what the command of a trial did. For a CheckerCase: whether there is an output for the checker to judge.

    Raises:
        FieldError: The tests of an AssertCase cannot judge any program.
    """
    case = trial.case
    trouble = _trouble(outcome, check, command)
    stdout = outcome.stdout.decode(errors="replace")
    got, wrong = stdout, ""
    match case:
        case StdioCase():
            given, expected = case.stdin, case.expected
            # Bytes that are no text equal nothing, not even the sign that replaces them here.
            if not _is_text(outcome.stdout):
                wrong = "the output is not UTF-8 text"
            elif not same_text(expected, stdout, check.comparison, check.tolerance):
                wrong = "wrong output"
        case CheckerCase():
            given, expected = case.stdin, case.expected
        case RunCase():
            given, expected = case.stdin, "a good end"
        case CallCase():
            given, expected = f"{case.function}(*{case.arguments_json})", case.expected_json
            got, wrong = _judge_value(trial.expected, outcome, check)
        case AssertCase():
            given, expected = case.source, ALL_HOLD
            got, wrong = _judge_tests(trial, outcome, stdout)
    reason = trouble or wrong
    return CaseResult(
        number=trial.number,
        passed=not reason,
        reason=reason,
        given=given,
        expected=expected,
        got=got,
        stderr=outcome.stderr.decode(errors="replace"),
        seconds=outcome.seconds,
        cpu_seconds=outcome.cpu_seconds,
        memory_mib=outcome.memory_mib,
        hidden=case.hidden,
        starved=starved(outcome),
    )


def starved(outcome: CommandOutcome) -> bool:
    """Whether a command was stopped by the clock while it computed: the machine was too busy for it."""
    return outcome.stopped is CommandStop.WALL and outcome.cpu_seconds > IDLE_SHARE * outcome.seconds


ALL_HOLD = "every assertion holds"
TESTS_FAIL = "the tests fail"
NOT_ENDED = f"{TESTS_FAIL}: they did not come to their end"

IDLE_SHARE = 0.02
"""What uses less of the processor than this while the clock runs out waits for something else."""


def _judge_value(expected: Any, outcome: CommandOutcome, check: ProgramCheck) -> tuple[str, str]:
    """What a function returned, as text, and what is wrong with it."""
    if not outcome.result:
        return "", "the function did not return"
    try:
        value = decode(json.loads(outcome.result, parse_int=parse_integer), integer=parse_integer)
    except (NotDataError, TypeError, ValueError, RecursionError):
        return outcome.result.decode(errors="replace"), "the value is malformed"
    same = same_value(expected, value, check.comparison, check.tolerance)
    return _shown(value), "" if same else "wrong value"


def _shown(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        try:
            return repr(value)
        except (ValueError, RecursionError):
            return to_text(encode(value, lambda part: Instead(repr(part))))


def _judge_tests(trial: Trial, outcome: CommandOutcome, stdout: str) -> tuple[str, str]:
    """What the process of the tests reported. The program's process cannot write there."""
    if not outcome.result:
        return stdout, NOT_ENDED
    report = _report(outcome.result)
    if report is None:
        return stdout, f"{TESTS_FAIL}: their report is cut off"
    if "fault" in report:
        raise FieldError(f"{trial.where}.source", report["fault"])
    return report["detail"] or stdout, "" if report["passed"] else f"{TESTS_FAIL}: {report['reason']}"


def _trouble(outcome: CommandOutcome, check: ProgramCheck, command: Command) -> str:
    """What kept the program from ending well, in words; empty when it did."""
    match outcome.stopped:
        case CommandStop.TIME:
            return f"time limit of {command.seconds:.3g} s of processor time exceeded"
        case CommandStop.WALL:
            return (
                f"time limit of {command.wall_seconds:.3g} s on the clock exceeded "
                f"({outcome.cpu_seconds:.2g} s of processor time used)"
            )
        case CommandStop.OUTPUT:
            return f"output limit of {check.limits.output_bytes} bytes exceeded"
        case CommandStop.START:
            return "could not be started after what an earlier case left behind"
    if outcome.signal == signal.SIGKILL:
        return f"killed: memory limit of {check.limits.memory_mib} MiB exceeded (or it killed itself)"
    if outcome.signal is not None:
        return f"ended by signal {_signal_name(outcome.signal)}"
    if outcome.exit_code:
        return f"exit code {outcome.exit_code}"
    return ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _json(text: str, where: str) -> Any:
    try:
        return parse_json(text)
    except (ValueError, RecursionError) as error:
        raise FieldError(where, f"is no JSON: {error}") from error
