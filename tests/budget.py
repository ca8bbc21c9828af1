"""How much a test tries: `TESTS=full` is for `make test-nightly`, anything else for every day."""

from __future__ import annotations

import os

from hypothesis import settings

FULL = os.environ.get("TESTS") == "full"

EXAMPLES = 1000 if FULL else 50
"""Of a property."""

# Wall-clock deadlines measure the machine, not the code.
settings.register_profile("espalier", deadline=None, print_blob=True, max_examples=EXAMPLES)


def examples(share: float) -> int:
    """A share of the examples that properties have otherwise: less where one is costly, more where it is cheap."""
    return round(share * EXAMPLES)
