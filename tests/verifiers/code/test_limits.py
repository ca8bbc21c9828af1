"""Limits of time: of the processor first, of the clock behind it; a busy machine costs a retry, not a verdict."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator

import pytest

from espalier.verifiers.check import Claim, ProgramCheck, ProgramLimits, StdioCase
from espalier.verifiers.code.pool import PooledSandbox
from espalier.verifiers.code.sandbox import Command, CommandOutcome, CommandStop, Health, Job
from espalier.verifiers.code.verifier import CodeVerifier
from espalier.verifiers.verdict import Status
from tests.verifiers.code.boxes import once

PROGRAM = Claim("print('hi')", bare=True)
BUSY = "end = __import__('time').process_time() + {}\nwhile __import__('time').process_time() < end: pass\nprint('hi')"
UNCOUNTED = f"""
import os, signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    if os.fork() == 0:
        exec({BUSY.format(0.05)!r})
        os.write(1, b".")
        os._exit(0)
    try:
        os.wait()
    except ChildProcessError:
        pass
"""
"""The kernel adds the time of its processes that have ended to no other's."""
STARVED = CommandOutcome(stopped=CommandStop.WALL, seconds=4.0, cpu_seconds=0.5, signal=9)
ASLEEP = CommandOutcome(stopped=CommandStop.WALL, seconds=4.0, cpu_seconds=0.01, signal=9)
DONE = CommandOutcome(stdout=b"hi", exit_code=0, cpu_seconds=0.01)


class FakeSandbox:
    """Gives prepared outcomes, one list a box."""

    def __init__(self, *boxes: list[CommandOutcome]) -> None:
        self.boxes = list(boxes)

    async def start(self) -> None: ...

    async def run(self, job: Job) -> AsyncGenerator[CommandOutcome, None]:
        for _, outcome in zip(job.commands, self.boxes.pop(0), strict=False):
            yield outcome

    async def health(self) -> Health:
        return Health(ok=True, detail="")

    async def close(self) -> None: ...


async def judged(*boxes: list[CommandOutcome], cases: int = 1) -> tuple[Status, float, int]:
    sandbox = FakeSandbox(*boxes)
    check = ProgramCheck(
        (StdioCase("", "hi"),) * cases, limits=ProgramLimits(case_seconds=1), stop_at_first_failure=False
    )
    verdict = await CodeVerifier(sandbox=sandbox).verify(PROGRAM, check)
    return verdict.status, verdict.score, len(sandbox.boxes)


async def test_a_program_stopped_by_the_clock_with_processor_time_left_runs_once_more() -> None:
    assert await judged([STARVED], [DONE]) == (Status.PASS, 1.0, 0)


async def test_the_cases_before_it_are_not_run_again() -> None:
    assert await judged([DONE, STARVED], [DONE, DONE], cases=3) == (Status.PASS, 1.0, 0)


async def test_stopped_by_the_clock_twice_it_fails() -> None:
    assert await judged([STARVED], [STARVED], [DONE]) == (Status.FAIL, 0.0, 1)


async def test_a_program_that_slept_is_not_run_again() -> None:
    assert await judged([ASLEEP], [DONE]) == (Status.FAIL, 0.0, 1)


@pytest.mark.asyncio(loop_scope="module")
async def test_processor_time_beyond_the_limit_fails_whatever_process_used_it(sandbox: PooledSandbox) -> None:
    check = ProgramCheck((StdioCase("", "hi"),), limits=ProgramLimits(case_seconds=0.5))
    forking = f"import os\nif os.fork():\n    os.wait()\n    print('hi')\nelse:\n    exec({BUSY.format(5)!r})"
    for program in (BUSY.format(5), forking):
        verdict = await CodeVerifier(sandbox=sandbox).verify(Claim(program, bare=True), check)
        assert verdict.status is Status.FAIL
        assert "time limit" in verdict.feedback
        assert json.loads(verdict.evidence[0].detail)["cpu_seconds"] < 2


@pytest.mark.asyncio(loop_scope="module")
async def test_processor_time_of_processes_whose_parent_ignores_their_end_is_counted(sandbox: PooledSandbox) -> None:
    command = Command(("/usr/bin/python3", "-I", "-c", UNCOUNTED), seconds=0.5, wall_seconds=100)
    [outcome] = await once(sandbox, command)
    assert outcome.stopped is CommandStop.TIME
    assert outcome.stdout.count(b".") * 0.05 < 1  # what those that came to their end have used


@pytest.mark.asyncio(loop_scope="module")
async def test_honest_work_within_the_limit_passes_beside_hostile_jobs(sandbox: PooledSandbox) -> None:
    verifier = CodeVerifier(sandbox=sandbox)
    check = ProgramCheck((StdioCase("", "hi"),), limits=ProgramLimits(case_seconds=3))
    hostile = [
        asyncio.create_task(verifier.verify(Claim("import os\nwhile True: os.fork()", bare=True), check))
        for _ in range(1)
    ]
    honest = await asyncio.gather(*(verifier.verify(Claim(BUSY.format(0.5), bare=True), check) for _ in range(3)))
    assert [verdict.status for verdict in honest] == [Status.PASS] * 3
    assert {verdict.status for verdict in await asyncio.gather(*hostile)} == {Status.FAIL}


@pytest.mark.asyncio(loop_scope="module")
async def test_a_check_ends_by_our_clock_whatever_the_program_waits_for(sandbox: PooledSandbox) -> None:
    check = ProgramCheck(
        (StdioCase("", ""),) * 20, limits=ProgramLimits(case_seconds=5, total_seconds=0.5), stop_at_first_failure=False
    )
    started = time.monotonic()
    verdict = await CodeVerifier(sandbox=sandbox).verify(Claim("import time\ntime.sleep(60)", bare=True), check)
    assert verdict.status is Status.FAIL
    assert time.monotonic() - started < 30  # 4 times the limit is 2 s; the rest is for a busy machine
