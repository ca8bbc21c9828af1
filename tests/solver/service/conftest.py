from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from espalier.verifiers.local import LocalVerifiers, load


@pytest.fixture
async def hub() -> AsyncIterator[LocalVerifiers]:
    async with LocalVerifiers(load(["math"])) as verifiers:
        yield verifiers
