"""Programs as candidates: an engine that writes them, and verifiers that run them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from espalier.runtime.engine import GenerateRequest
from espalier.verifiers.code.settings import SandboxSettings
from espalier.verifiers.code.verifier import CodeVerifier
from espalier.verifiers.local import LocalVerifiers
from tests.solver.mathematics import SharedMath
from tests.solver.scripted import ScriptedEngine


def engine_of(*programs: str, tests: str = "") -> ScriptedEngine:
    """Writes `tests` where it is asked for tests, and the n-th program for the n-th candidate."""
    candidates = iter(programs)

    def script(request: GenerateRequest, _: int) -> str:
        return tests if "/tests/" in request.request_id else next(candidates)

    return ScriptedEngine(script)


@pytest.fixture
async def sandboxed(mathematics: SharedMath) -> AsyncIterator[LocalVerifiers]:
    code = CodeVerifier(SandboxSettings(kind="bwrap", warm=1))
    async with LocalVerifiers([mathematics, code]) as verifiers:
        yield verifiers
