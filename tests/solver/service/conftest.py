from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from espalier.verifiers.hub import Hub, load


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with Hub(load(["math"])) as verifiers:
        yield verifiers
