from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

# Wall-clock deadlines measure the machine, not the code.
settings.register_profile("espalier", deadline=None, print_blob=True)
settings.load_profile("espalier")

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A command that runs inside a test sets how the process logs, which is not for the tests behind it."""
    yield
    structlog.reset_defaults()
