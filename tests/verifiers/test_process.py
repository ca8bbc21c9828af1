"""A server process ends cleanly whenever it is told to, and loses no more than what died."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from espalier.verifiers.check import Claim, ReferenceCheck
from espalier.verifiers.remote import RemoteVerifiers
from espalier.verifiers.verdict import Verdict
from tests.verifiers.process import PROGRAM, server_process

SERVE = [sys.executable, "-c", PROGRAM, "verifiers", "serve", "--only", "math", "--address", "127.0.0.1:0"]


def ask(address: str, gold: str, answer: str) -> Verdict:
    async def call() -> Verdict:
        async with RemoteVerifiers([address]) as client:
            return await client.verify(Claim(answer, bare=True), ReferenceCheck(gold), timeout=30)

    return asyncio.run(call())


def gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=60)
    return not alive


@pytest.mark.parametrize("word", ["listening", "health"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_at_any_time(word: str, number: signal.Signals) -> None:
    with subprocess.Popen(SERVE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if json.loads(line)["event"] == word:
                break
        workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        events = [json.loads(line)["event"] for line in process.stderr]
        assert process.wait(20) == 0
    assert events[-1] == "stopped"
    assert gone(workers)


def test_a_server_that_is_killed_leaves_no_workers() -> None:
    with subprocess.Popen(SERVE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if json.loads(line)["event"] == "health":
                break
        workers = psutil.Process(process.pid).children(recursive=True)
        assert workers
        process.kill()
        assert gone(workers)


def test_a_worker_that_is_killed_costs_no_verdict(tmp_path: Path) -> None:
    with server_process(tmp_path / "log", "--only", "math") as server:
        os.kill(psutil.Process(server.pid).children(recursive=True)[0].pid, signal.SIGKILL)
        for n in range(4):
            assert ask(server.address, "x^2 - 1", f"(x-1)*(x+1) + {n} - {n}").passed


def test_a_second_server_on_the_port_says_so(tmp_path: Path) -> None:
    with server_process(tmp_path / "log", "--only", "math") as server:
        command = [*SERVE[:-1], server.address]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 3
    assert f"cannot listen on {server.address}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_deadline_beats_a_hostile_claim(tmp_path: Path) -> None:
    with server_process(tmp_path / "log", "--only", "math") as server:
        start = time.monotonic()
        verdict = ask(server.address, "5", "(" * 500 + "10^(5^5^5)" + ")" * 500)
        assert not verdict.passed
        assert time.monotonic() - start < 30
        assert ask(server.address, "1/2", r"\frac{2}{4}").passed
