"""Hostile programs against the real sandboxes: each stays within its limits and leaves nothing behind.

Every program in `programs/` says in its first line what must become of it:
    contained         it finds every way out closed, prints "contained" and passes; "BREACH" in its output is an escape
    failed: PATTERN   FAIL, for a reason that matches
    forged            FAIL for whatever reason: it claims a success that it has not earned
Several are joined by "|" where the sandboxes rightly differ. ERROR is never right: these are faults of programs.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from espalier.verifiers.check import Claim, ProgramCheck, ProgramLimits, StdioCase
from espalier.verifiers.code.cases import WALL_FACTOR
from espalier.verifiers.code.verifier import CodeVerifier
from espalier.verifiers.verdict import Status
from tests.verifiers.code.boxes import KINDS, opened

PROGRAMS = {path.stem: path.read_text("utf-8") for path in sorted((Path(__file__).parent / "programs").glob("*.py"))}
ENDLESS = ProgramLimits(case_seconds=1)
PATIENT = ProgramLimits(case_seconds=10)
PATIENCE_SECONDS = 20
"""For the end of a program that our clock has stopped, on a machine that is busy."""

in_module_loop = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def verifier(request: pytest.FixtureRequest) -> AsyncIterator[CodeVerifier]:
    async with opened(request.param) as sandbox:
        yield CodeVerifier(sandbox=sandbox)


def test_there_are_at_least_forty_hostile_programs() -> None:
    assert len(PROGRAMS) >= 40


@in_module_loop
@pytest.mark.parametrize("program", PROGRAMS)
async def test_a_hostile_program_is_contained(verifier: CodeVerifier, program: str, tmp_path: Path) -> None:
    source = PROGRAMS[program]
    expect = source.splitlines()[0].removeprefix("# expect: ")
    limits = ENDLESS if "time limit" in expect else PATIENT  # a busy machine makes no verdict wrong
    canary = tmp_path / "canary"
    canary.write_text("alive")
    answer = f"expect-{secrets.token_hex(16)}\n" if expect == "forged" else "contained\n"

    verdict = await verifier.verify(
        Claim(source, bare=True), ProgramCheck((StdioCase("", answer),), limits=limits), timeout=60
    )

    assert verdict.status is not Status.ERROR, verdict.evidence
    record = json.loads(verdict.evidence[0].detail)
    assert "BREACH" not in record["got"], record["got"]
    assert record["seconds"] < WALL_FACTOR * limits.case_seconds + PATIENCE_SECONDS
    assert meets(expect, verdict.status, record["reason"]), (expect, verdict.status, record)
    assert canary.read_text() == "alive"
    following = await verifier.verify(
        Claim("print(input()[::-1])", bare=True), ProgramCheck((StdioCase("abc", "cba"),)), timeout=60
    )
    assert following.status is Status.PASS, following.evidence


@in_module_loop
async def test_no_process_of_any_program_is_left_on_the_host(verifier: CodeVerifier) -> None:
    """Programs of other tests may run at this moment; those end within their limits, a stray does not."""
    running = [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(part == "/tmp/job/program.py" for part in process.info["cmdline"] or ())
    ]
    _, strays = await asyncio.to_thread(psutil.wait_procs, running, timeout=60)
    assert not strays


def meets(expect: str, status: Status, reason: str) -> bool:
    for wanted in expect.split("|"):
        if wanted == "contained":
            if status is Status.PASS:
                return True
        elif wanted == "forged":
            if status is Status.FAIL:
                return True
        elif status is Status.FAIL and re.search(wanted.removeprefix("failed: "), reason):
            return True
    return False
