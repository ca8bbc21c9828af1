from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from espalier.verifiers.code.pool import PooledSandbox
from tests.verifiers.code.boxes import KINDS, opened


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def sandbox(request: pytest.FixtureRequest) -> AsyncIterator[PooledSandbox]:
    """Each real sandbox of this machine."""
    async with opened(request.param) as opened_sandbox:
        yield opened_sandbox
