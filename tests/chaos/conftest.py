"""`CHAOS=full` runs the full size, `CHAOS_SEED` replays a run; the seed is always printed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.solver.batch.server import RedisServer

FULL = os.environ.get("CHAOS") == "full"
LEASE = 5.0 if FULL else 2.5
"""Seconds of a lease: a worker that is alive renews it in time on a busy machine, too."""
SEED = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1 << 31))


def pytest_report_header() -> str:
    return (
        f"chaos: seed {SEED} (CHAOS_SEED={SEED} replays), {'full' if FULL else 'short; CHAOS=full for the full size'}"
    )


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> Random:
    print(f"CHAOS_SEED={SEED}")
    return Random(f"{SEED}/{request.node.name}")


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()
