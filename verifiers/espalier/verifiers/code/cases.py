"""From a case to the command that runs it, and from what the command did to a judgement."""

from __future__ import annotations

import json
import secrets
import signal
from dataclasses import dataclass

from espalier.common.errors import FieldError
from espalier.verifiers.check import AssertCase, CallCase, Case, CheckerCase, ProgramCheck, StdioCase
from espalier.verifiers.code.compare import same_json, same_text
from espalier.verifiers.code.languages import Language
from espalier.verifiers.code.sandbox import Command, Outcome, Stop


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One case and what became of it; texts are whole.

    Attributes:
        passed: Whether the program met the case.
        reason: What went wrong, in words; empty when it passed.
        given: What the program was given.
        expected: What it should have given back.
        got: What it gave back.
        stderr: What it said on standard error.
    """

    passed: bool
    reason: str
    given: str
    expected: str
    got: str
    stderr: str
    seconds: float
    memory_mib: float


@dataclass(frozen=True, slots=True)
class Trial:
    """A case made ready to run.

    Attributes:
        case: The case.
        argv: What to run in the program's box.
        stdin: Its standard input: nothing in it tells what is expected, but for the asserts of an AssertCase.
        token: What an AssertCase reports after its last assertion.
    """

    case: Case
    argv: tuple[str, ...]
    stdin: str
    token: str = ""

    def command(self, seconds: float, output_bytes: int) -> Command:
        return Command(self.argv, self.stdin, seconds, output_bytes)


def prepare(case: Case, index: int, language: Language, name: str) -> Trial:
    """Make a case ready.

    Raises:
        FieldError: The language cannot serve such a case, or the case is malformed.
    """
    match case:
        case StdioCase() | CheckerCase():
            return Trial(case, language.run, case.stdin)
        case CallCase():
            if language.call is None:
                raise FieldError(
                    f"check.program.cases[{index}].call", f"{name} programs can be given stdio and checker cases"
                )
            where = f"check.program.cases[{index}].call"
            arguments = _json(case.arguments_json, f"{where}.arguments_json")
            if not isinstance(arguments, list):
                raise FieldError(f"{where}.arguments_json", "must be a JSON list, one item per argument")
            _json(case.expected_json, f"{where}.expected_json")
            if not all(part.isidentifier() for part in case.function.split(".")):
                raise FieldError(f"{where}.function", f"{case.function!r} is no function name")
            return Trial(case, language.call, f'{{"function": "{case.function}", "arguments": {case.arguments_json}}}')
        case AssertCase():
            if language.asserts is None:
                raise FieldError(
                    f"check.program.cases[{index}].asserts", "asserts are Python; use stdio or checker cases"
                )
            token = secrets.token_hex(16)
            return Trial(case, language.asserts, json.dumps({"tests": case.source, "token": token}), token)


def judge(trial: Trial, outcome: Outcome, check: ProgramCheck, seconds: float) -> CaseResult:
    """Judge what the command of a trial did. For a CheckerCase: whether there is an output for the checker to judge."""
    case = trial.case
    trouble = _trouble(outcome, check, seconds)
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
        case CallCase():
            given, expected = f"{case.function}(*{case.arguments_json})", case.expected_json
            got = outcome.result.decode(errors="replace")
            if not outcome.result:
                wrong = "the function did not return"
            elif not same_json(expected, got, check.comparison, check.tolerance):
                wrong = "wrong value"
        case AssertCase():
            given, expected = case.source, "every assertion holds"
            if outcome.result.decode(errors="replace") != trial.token:
                wrong = "the program ended before the assertions did"
    reason = trouble or wrong
    return CaseResult(
        passed=not reason,
        reason=reason,
        given=given,
        expected=expected,
        got=got,
        stderr=outcome.stderr.decode(errors="replace"),
        seconds=outcome.seconds,
        memory_mib=outcome.memory_mib,
    )


def _trouble(outcome: Outcome, check: ProgramCheck, seconds: float) -> str:
    """What kept the program from ending well, in words; empty when it did."""
    match outcome.stopped:
        case Stop.TIME:
            return f"time limit of {seconds:.3g} s exceeded"
        case Stop.OUTPUT:
            return f"output limit of {check.limits.output_bytes} bytes exceeded"
        case Stop.START:
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


def _json(text: str, where: str) -> object:
    try:
        return json.loads(text, parse_int=str)
    except (ValueError, RecursionError) as error:
        raise FieldError(where, f"is no JSON: {error}") from error
