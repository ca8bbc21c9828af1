"""What a program can reach of objects that the tests hand to it: what it needs, and nothing that decides."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from espalier.verifiers.check import AssertCase, Claim, ProgramCheck
from espalier.verifiers.code.verifier import CodeVerifier
from tests.verifiers.code.boxes import KINDS, opened

ROWS = [json.loads(line) for line in (Path(__file__).parent / "reach.jsonl").read_text("utf-8").splitlines()]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def verifier(request: pytest.FixtureRequest) -> AsyncIterator[CodeVerifier]:
    async with opened(request.param) as sandbox:
        yield CodeVerifier(sandbox=sandbox)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
async def test_only_what_an_honest_program_needs_can_be_reached(verifier: CodeVerifier, row: dict[str, Any]) -> None:
    verdict = await verifier.verify(Claim(row["program"], bare=True), ProgramCheck((AssertCase(row["tests"]),)))
    assert verdict.passed is row["passes"], verdict.feedback
