"""Many small tests of one program in one process: each has its own outcome, whatever the others do."""

from __future__ import annotations

import json

import pytest

from espalier.common.errors import FieldError
from espalier.verifiers.check import AssertCase, Claim, ProgramCheck, ProgramLimits, StdioCase
from espalier.verifiers.code.pool import PooledSandbox
from espalier.verifiers.code.verifier import CodeVerifier
from espalier.verifiers.verdict import Status, Verdict

PROGRAM = """
import os, sys
seen = []
def double(x):
    seen.append(x)
    if x == 13:
        while True:
            pass
    if x == 14:
        os._exit(0)
    if x == 15:
        sys.exit()
    if x == 16:
        raise ValueError("16 is too much")
    return 2 * x if x < 10 else 0
"""
FINE = ["assert double(1) == 2", "assert double(2) == 4"]

in_module_loop = pytest.mark.asyncio(loop_scope="module")


async def verdict_on(sandbox: PooledSandbox, *tests: str, program: str = PROGRAM, stop: bool = False) -> Verdict:
    check = ProgramCheck(
        tuple(map(AssertCase, tests)),
        together=True,
        stop_at_first_failure=stop,
        limits=ProgramLimits(case_seconds=0.5, total_seconds=10),
    )
    return await CodeVerifier(sandbox=sandbox).verify(Claim(program, bare=True), check)


def outcomes(verdict: Verdict) -> list[bool]:
    return [json.loads(evidence.detail)["passed"] for evidence in verdict.evidence if evidence.rule != "limits"]


def reasons(verdict: Verdict) -> list[str]:
    return [json.loads(evidence.detail)["reason"] for evidence in verdict.evidence]


@in_module_loop
async def test_all_that_hold_pass(sandbox: PooledSandbox) -> None:
    verdict = await verdict_on(sandbox, *FINE)
    assert (verdict.status, outcomes(verdict)) == (Status.PASS, [True, True])


@in_module_loop
@pytest.mark.parametrize(
    ("test", "reason"),
    [
        ("assert double(11) == 22", "AssertionError"),
        ("assert double(13) == 26", "time limit"),
        ("assert double(14) == 28", "the program ended"),
        ("assert double(15) == 30", "SystemExit"),
        ("assert double(16) == 32", "16 is too much"),
        ("assert triple(1) == 3", "NameError"),
        ("import os\nassert os._exit(0) or double(1) == 2", "did not come to their end"),
    ],
)
async def test_one_that_fails_in_whatever_way_leaves_the_others_as_they_are(
    sandbox: PooledSandbox, test: str, reason: str
) -> None:
    verdict = await verdict_on(sandbox, FINE[0], test, FINE[1])
    assert (verdict.status, outcomes(verdict)) == (Status.FAIL, [True, False, True])
    assert reason in reasons(verdict)[1]
    assert verdict.score == pytest.approx(2 / 3)


@in_module_loop
async def test_a_program_that_does_not_start_fails_every_test(sandbox: PooledSandbox) -> None:
    verdict = await verdict_on(sandbox, *FINE, program="def double(x):\n    return 2 *\n")
    assert outcomes(verdict) == [False, False]
    assert all("program.py" in reason for reason in reasons(verdict))


@in_module_loop
async def test_the_first_failure_ends_the_check_where_it_should(sandbox: PooledSandbox) -> None:
    verdict = await verdict_on(sandbox, FINE[0], "assert double(1) == 3", FINE[1], stop=True)
    assert outcomes(verdict) == [True, False]


@in_module_loop
async def test_a_test_sees_what_an_earlier_one_has_changed(sandbox: PooledSandbox) -> None:
    verdict = await verdict_on(sandbox, FINE[0], "assert len(seen) == 1 and double(1) == 2")
    assert verdict.passed


@in_module_loop
@pytest.mark.parametrize(
    ("test", "fault"),
    [
        ("assert double(", "does not compile"),
        ("assert await double(1)", "does not compile"),
        ("double(1)", "asserts nothing"),
        ("for x in []:\n    assert double(x)", "asserts nothing"),
        ("def test_double():\n    assert double(1) == 2", "needs pytest"),
    ],
)
async def test_a_test_that_can_judge_no_program_is_a_fault_of_the_check(
    sandbox: PooledSandbox, test: str, fault: str
) -> None:
    with pytest.raises(FieldError, match=rf"cases\[1\]\.asserts\.source.*{fault}"):
        await verdict_on(sandbox, FINE[0], test, FINE[1])


async def test_only_assert_cases_run_together() -> None:
    check = ProgramCheck((StdioCase("", ""),), together=True)
    with pytest.raises(FieldError, match="together"):
        await CodeVerifier().validate_check(check)
