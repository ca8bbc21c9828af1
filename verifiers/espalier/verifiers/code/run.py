"""Runs one program in the sandbox and says what it did: no case, no verdict."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from espalier.common.errors import FieldError
from espalier.common.terminal import printable
from espalier.verifiers.code.cases import WALL_FACTOR, box_for, compilation
from espalier.verifiers.code.languages import LANGUAGES, Language
from espalier.verifiers.code.lazy import LazySandbox
from espalier.verifiers.code.sandbox import Command, CommandOutcome, Job, Sandbox
from espalier.verifiers.code.settings import SandboxSettings

MAX_SECONDS = 60.0
"""Processor time that a program may ask for."""

MAX_SOURCE = 1 << 20
"""Characters of a program, and of its standard input."""

SHOWN = 16_000
"""Characters of an output that are told; the rest is counted."""


@dataclass(frozen=True, slots=True)
class ProgramRun:
    """What a program did.

    Attributes:
        ended: In words: `exit code 0`, `compilation failed`, `out of time`, …
        exit_code: None where it did not end by itself.
        stdout: What it wrote, without characters that a terminal would obey; long output is cut.
        stderr: Likewise; what the compiler said where it did not compile.
        seconds: Time on the clock.
        memory_mib: Peak memory of its largest process.
    """

    ended: str
    exit_code: int | None
    stdout: str
    stderr: str
    seconds: float
    memory_mib: float


class ProgramRunner:
    """Runs programs in a sandbox that is opened when the first one comes. A context manager.

    Args:
        settings: How to set the sandbox up; read from the environment when None, with one box kept ready.
    """

    def __init__(self, settings: SandboxSettings | None = None) -> None:
        self._settings = settings or SandboxSettings(warm=1)
        self._sandbox = LazySandbox(self._settings)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._sandbox.close()

    async def run(
        self, source: str, language: str = "python", stdin: str = "", seconds: float = 10.0, memory_mib: int = 256
    ) -> ProgramRun:
        """Run a program.

        Args:
            source: Of the program.
            language: One of :data:`LANGUAGES`.
            stdin: Its standard input.
            seconds: Limit of its processor time.
            memory_mib: Limit of its memory.

        Raises:
            FieldError: The language is unknown, or a limit makes no sense.
            SandboxError: There is no sandbox, or it failed.
        """
        if language not in LANGUAGES:
            raise FieldError("language", f"{language[:80]!r} is not one of {', '.join(LANGUAGES)}")
        if not 0 < seconds <= MAX_SECONDS:
            raise FieldError("seconds", f"is {seconds:g}; give more than 0 and at most {MAX_SECONDS:g}")
        if not 0 < memory_mib <= self._settings.max_memory_mib:
            raise FieldError("memory_mib", f"is {memory_mib}; give 1 to {self._settings.max_memory_mib}")
        for name, text in (("program", source), ("stdin", stdin)):
            if len(text) > MAX_SOURCE:
                raise FieldError(name, f"has {len(text)} characters; at most {MAX_SOURCE} are read")
        return await _run(await self._sandbox.started(), source, LANGUAGES[language], stdin, seconds, memory_mib)


async def _run(
    sandbox: Sandbox, source: str, language: Language, stdin: str, seconds: float, memory_mib: int
) -> ProgramRun:
    compiler = compilation(language, memory_mib)

    def commands() -> Iterator[Command]:
        if compiler is not None:
            yield compiler
        yield Command(language.run_command(memory_mib), stdin, seconds, WALL_FACTOR * seconds)

    job = Job(box_for(language, memory_mib), commands(), {language.source: source})
    async with aclosing(sandbox.run(job)) as outcomes:
        if compiler is not None:
            compiled = await anext(outcomes)
            if compiled.exit_code != 0:
                return _told(compiled, "compilation out of time" if compiled.stopped else "compilation failed")
        outcome = await anext(outcomes)
    return _told(outcome, _end(outcome))


def _end(outcome: CommandOutcome) -> str:
    if outcome.stopped is not None:
        words = {"time": "out of time", "wall": "out of time on the clock", "output": "too much output"}
        return words.get(outcome.stopped.value, "could not be started")
    return f"exit code {outcome.exit_code}" if outcome.exit_code is not None else f"ended by signal {outcome.signal}"


def _told(outcome: CommandOutcome, ended: str) -> ProgramRun:
    return ProgramRun(
        ended=ended,
        exit_code=outcome.exit_code if outcome.stopped is None else None,
        stdout=_shown(outcome.stdout),
        stderr=_shown(outcome.stderr),
        seconds=round(outcome.seconds, 4),
        memory_mib=round(outcome.memory_mib, 1),
    )


def _shown(output: bytes) -> str:
    text = printable(output.decode(errors="replace"))
    if len(text) <= SHOWN:
        return text
    return f"{text[:SHOWN]}\n… {len(text) - SHOWN} more characters"
