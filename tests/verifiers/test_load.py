"""Many clients at once: every reply arrives and belongs to its request; memory stays flat."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil
import pytest

from espalier.verifiers.verdict import Status
from tests.verifiers.process import server_process
from tests.verifiers.workload import Report, run_clients, tasks


@pytest.mark.slow
def test_24_clients_get_every_verdict_and_each_its_own(tmp_path: Path) -> None:
    with server_process(tmp_path / "log", "--only", "math") as server:
        workers = psutil.Process(server.pid).children(recursive=True)
        report: Report = asyncio.run(run_clients(server.address, clients=24, count=1000))
    assert report.wrong == []
    assert report.statuses == {Status.PASS: 12_000, Status.FAIL: 12_000}
    assert not any(worker.is_running() for worker in workers), "the server left workers behind"
    events = [event["event"] for event in server.events]
    assert events.count("verdict") == 24_000
    assert "internal error" not in events


@pytest.mark.slow
def test_memory_is_flat_over_10_000_verifications(tmp_path: Path) -> None:
    with server_process(tmp_path / "log", "--only", "math") as server:
        asyncio.run(run_clients(server.address, clients=8, count=500))
        warm = server.resident_mib()
        report = asyncio.run(run_clients(server.address, clients=8, count=1250, first=4000))
        grown = server.resident_mib() - warm
    assert report.wrong == []
    assert grown < 40, f"grew by {grown:.1f} MiB over {len(report.seconds)} verifications"


@pytest.mark.docker
@pytest.mark.usefixtures("sandbox")
def test_answers_and_programs_mix(tmp_path: Path) -> None:
    with server_process(tmp_path / "log", "--only", "math", "--only", "code") as server:
        report = asyncio.run(run_clients(server.address, clients=6, count=30, programs=15))
    assert report.wrong == []
    assert sum(report.statuses.values()) == 180


def test_no_two_tasks_of_the_workload_are_alike() -> None:
    seen = {(item.claim, item.check) for client in range(24) for item in tasks(client, 50, programs=25)}
    assert len(seen) == 24 * 50
