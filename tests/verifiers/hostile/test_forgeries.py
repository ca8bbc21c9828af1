"""Programs that try to pass tests which they do not meet: none does, by any kind of assertion, in any box.

Every program in `forgeries/` is put before every row of `forgeries_assertions.jsonl`, with wrong functions below it
(`forgeries_end.py`). The honest program passes every row, so that no row can refuse by being broken.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from espalier.verifiers.check import AssertCase, Claim, ProgramCheck, ProgramLimits
from espalier.verifiers.code.verifier import CodeVerifier
from espalier.verifiers.verdict import Status
from tests.verifiers.code.boxes import KINDS, opened

HERE = Path(__file__).parent
FORGERIES = {path.stem: path.read_text("utf-8") for path in sorted((HERE / "forgeries").glob("*.py"))}
END = (HERE / "forgeries_end.py").read_text("utf-8")
HONEST = (HERE / "forgeries_honest.py").read_text("utf-8")
ROWS = [json.loads(line) for line in (HERE / "forgeries_assertions.jsonl").read_text("utf-8").splitlines()]
CHECK = ProgramCheck(
    tuple(AssertCase(row["source"]) for row in ROWS),
    stop_at_first_failure=False,
    limits=ProgramLimits(case_seconds=2, total_seconds=60),
)

in_module_loop = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def verifier(request: pytest.FixtureRequest) -> AsyncIterator[CodeVerifier]:
    async with opened(request.param) as sandbox:
        yield CodeVerifier(sandbox=sandbox)


def test_there_are_at_least_thirty_forgeries() -> None:
    assert len(FORGERIES) >= 30


@in_module_loop
async def test_the_honest_program_meets_every_assertion(verifier: CodeVerifier) -> None:
    verdict = await verifier.verify(Claim(HONEST, bare=True), CHECK)
    assert verdict.passed, verdict.feedback


@in_module_loop
@pytest.mark.parametrize("program", FORGERIES)
async def test_a_forgery_meets_no_assertion(verifier: CodeVerifier, program: str) -> None:
    verdict = await verifier.verify(Claim(FORGERIES[program] + END, bare=True), CHECK)
    records = [json.loads(item.detail) for item in verdict.evidence if item.rule.startswith("case")]
    passed = [row["name"] for row, record in zip(ROWS, records, strict=False) if record["passed"]]
    assert not passed
    assert verdict.status is Status.FAIL, verdict.evidence
