from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from espalier.verifiers.code.pool import PooledSandbox
from tests.verifiers.code.boxes import KINDS, opened


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def sandbox(request: pytest.FixtureRequest) -> AsyncIterator[PooledSandbox]:
    """Each real sandbox of this machine."""
    async with opened(request.param) as opened_sandbox:
        yield opened_sandbox


@pytest.fixture
def shared_directory() -> Iterator[Path]:
    """A directory that the user of the boxes can read; pytest's own are private."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory
