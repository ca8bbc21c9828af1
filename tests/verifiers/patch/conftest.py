from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from espalier.verifiers.check import PatchCheck
from espalier.verifiers.patch.verifier import PatchVerifier
from tests.verifiers.code.boxes import KINDS
from tests.verifiers.patch.shops import check_in, verifier_of


@pytest.fixture(scope="module")
def stores() -> Iterator[Path]:
    """Where repositories and packages are kept; the user of the boxes can read it."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def verifier(request: pytest.FixtureRequest, stores: Path) -> AsyncIterator[PatchVerifier]:
    """A verifier on each real sandbox of this machine."""
    async with verifier_of(request.param, stores) as opened:
        yield opened


@pytest.fixture(scope="module")
def check(stores: Path) -> PatchCheck:
    return check_in(stores / "repositories")
