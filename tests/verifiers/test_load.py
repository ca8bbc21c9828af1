"""Many clients at once: every reply arrives and belongs to its request; memory stays flat."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from espalier.verifiers.verdict import Status
from tests.budget import FULL
from tests.verifiers.process import PROGRAM, server_process
from tests.verifiers.running import until
from tests.verifiers.workload import Report, run_clients, tasks


@pytest.mark.slow
def test_24_clients_get_every_verdict_and_each_its_own(tmp_path: Path) -> None:
    count = 1000 if FULL else 50
    with server_process(tmp_path / "log", "--only", "math") as server:
        workers = psutil.Process(server.pid).children(recursive=True)
        report: Report = asyncio.run(run_clients([server.address], clients=24, count=count))
    assert report.wrong == []
    assert report.statuses == {Status.PASS: 12 * count, Status.FAIL: 12 * count}
    assert not any(worker.is_running() for worker in workers), "the server left workers behind"
    events = [event["event"] for event in server.events]
    assert events.count("verdict") == 24 * count
    assert "internal error" not in events


@pytest.mark.slow
def test_memory_is_flat_over_thousands_of_verifications(tmp_path: Path) -> None:
    warmup, count = (500, 1250) if FULL else (150, 300)
    with server_process(tmp_path / "log", "--only", "math") as server:
        asyncio.run(run_clients([server.address], clients=8, count=warmup))
        warm = server.resident_mib()
        report = asyncio.run(run_clients([server.address], clients=8, count=count, first=8 * warmup))
        grown = server.resident_mib() - warm
    assert report.wrong == []
    assert grown < 4 * len(report.seconds) / 1000, f"grew by {grown:.1f} MiB over {len(report.seconds)} verifications"


@pytest.mark.docker
@pytest.mark.usefixtures("sandbox")
def test_answers_and_programs_mix(tmp_path: Path) -> None:
    with server_process(tmp_path / "log", "--only", "math", "--only", "code") as server:
        report = asyncio.run(run_clients([server.address], clients=6, count=30, programs=15))
    assert report.wrong == []
    assert sum(report.statuses.values()) == 180


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_that_goes_away_under_load_costs_no_verdict(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", PROGRAM, "verifiers", "serve", "--only", "math", "--address", "127.0.0.1:0"]
    with (
        server_process(tmp_path / "log", "--only", "math") as stays,
        (tmp_path / "goes").open("w") as log,
        subprocess.Popen(command, stderr=log) as goes,
    ):
        port = None
        while port is None:
            events = [
                json.loads(line)
                for line in (tmp_path / "goes").read_text().splitlines(keepends=True)
                if line[-1:] == "\n"
            ]
            port = next((event["port"] for event in events if event["event"] == "listening"), None)

        async def leave(report: Report) -> None:
            await until(lambda: len(report.seconds) > 200)
            goes.send_signal(number)

        report = asyncio.run(run_clients([stays.address, f"127.0.0.1:{port}"], clients=8, count=100, meanwhile=leave))
    assert report.wrong == []
    assert len(report.seconds) == 800
    assert goes.returncode == (0 if number == signal.SIGTERM else -number)


def test_no_two_tasks_of_the_workload_are_alike() -> None:
    seen = {(item.claim, item.check) for client in range(24) for item in tasks(client, 50, programs=25)}
    assert len(seen) == 24 * 50
