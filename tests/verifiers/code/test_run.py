"""A program that is run without a verdict: what is said of its end. The sandbox is a fake that replays outcomes."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from espalier.common.errors import FieldError
from espalier.verifiers.code import lazy
from espalier.verifiers.code.run import SHOWN, ProgramRunner
from espalier.verifiers.code.sandbox import Command, CommandOutcome, CommandStop, Health, Job


class FakeSandbox:
    """Takes each command of a job and yields the next outcome."""

    def __init__(self, *outcomes: CommandOutcome) -> None:
        self.outcomes = list(outcomes)
        self.commands: list[Command] = []
        self.files: dict[str, str] = {}
        self.closed = 0

    async def start(self) -> None:
        pass

    async def run(self, job: Job) -> AsyncGenerator[CommandOutcome, None]:
        self.files = dict(job.files)
        for command in job.commands:
            self.commands.append(command)
            yield self.outcomes.pop(0)

    async def health(self) -> Health:
        return Health(True, "")

    async def close(self) -> None:
        self.closed += 1


@pytest.fixture
def replaying(monkeypatch: pytest.MonkeyPatch) -> FakeSandbox:
    sandbox = FakeSandbox()

    async def open_sandbox(_: object) -> FakeSandbox:
        return sandbox

    monkeypatch.setattr(lazy, "open_sandbox", open_sandbox)
    return sandbox


@pytest.mark.parametrize(
    ("outcome", "ended", "exit_code"),
    [
        (CommandOutcome(exit_code=0), "exit code 0", 0),
        (CommandOutcome(exit_code=3), "exit code 3", 3),
        (CommandOutcome(signal=11), "ended by signal 11", None),
        (CommandOutcome(signal=9, stopped=CommandStop.TIME), "out of time", None),
        (CommandOutcome(exit_code=0, stopped=CommandStop.OUTPUT), "too much output", None),
        (CommandOutcome(stopped=CommandStop.START), "could not be started", None),
    ],
)
async def test_every_end_has_its_words(
    replaying: FakeSandbox, outcome: CommandOutcome, ended: str, exit_code: int | None
) -> None:
    replaying.outcomes = [outcome]
    async with ProgramRunner() as runner:
        told = await runner.run("print(1)", stdin="x", seconds=2)
    assert (told.ended, told.exit_code) == (ended, exit_code)
    (command,) = replaying.commands
    assert (command.stdin, command.seconds, replaying.files) == ("x", 2, {"program.py": "print(1)"})
    assert replaying.closed == 1


async def test_what_does_not_compile_is_not_run_and_says_why(replaying: FakeSandbox) -> None:
    replaying.outcomes = [CommandOutcome(exit_code=1, stderr=b"\x1b[1mprogram.cpp:1: no\x1b[0m\n")]
    async with ProgramRunner() as runner:
        told = await runner.run("no", "cpp")
    assert (told.ended, told.stderr) == ("compilation failed", "�[1mprogram.cpp:1: no�[0m\n")
    assert len(replaying.commands) == 1


async def test_long_output_is_cut_and_counted(replaying: FakeSandbox) -> None:
    replaying.outcomes = [CommandOutcome(exit_code=0, stdout=b"\xff" + b"x" * (SHOWN + 4))]
    async with ProgramRunner() as runner:
        told = await runner.run("x")
    assert told.stdout == "�" + "x" * (SHOWN - 1) + "\n… 5 more characters"


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"language": "cobol"}, "language"),
        ({"seconds": 0}, "seconds"),
        ({"seconds": float("nan")}, "seconds"),
        ({"memory_mib": 1 << 20}, "memory_mib"),
        ({"stdin": "x" * ((1 << 20) + 1)}, "stdin"),
    ],
)
async def test_what_makes_no_sense_is_refused_before_a_sandbox_is_opened(
    replaying: FakeSandbox, arguments: dict[str, object], field: str
) -> None:
    async with ProgramRunner() as runner:
        with pytest.raises(FieldError) as caught:
            await runner.run("x", **arguments)  # type: ignore[arg-type]
    assert caught.value.field == field
    assert replaying.closed == 0
