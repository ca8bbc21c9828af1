"""A verifier server in a process of its own, started as a user would."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

PROGRAM = """
import typer
from espalier.verifiers.cli import verifiers_app, verify_app
main = typer.Typer()
main.add_typer(verify_app)
main.add_typer(verifiers_app)
main()
"""


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A running server."""

    address: str
    pid: int
    log: Path

    @property
    def events(self) -> list[dict[str, Any]]:
        """Its log so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def resident_mib(self) -> float:
        """Memory of the server and its workers."""
        server = psutil.Process(self.pid)
        total = 0
        for process in (server, *server.children(recursive=True)):
            try:
                total += process.memory_info().rss
            except psutil.NoSuchProcess:  # a worker that was recycled meanwhile
                continue
        return total / 2**20


@contextmanager
def server_process(log: Path, *arguments: str) -> Iterator[ServerProcess]:
    """`espalier verifiers serve ARGUMENTS` on a free port: yielded when SERVING, ended by SIGTERM.

    Raises:
        RuntimeError: It ends before it serves, or does not end cleanly.
    """
    command = [sys.executable, "-c", PROGRAM, "verifiers", "serve", "--address", "127.0.0.1:0", *arguments]
    with log.open("w") as sink:
        process = subprocess.Popen(command, stderr=sink)
    try:
        server = ServerProcess("", process.pid, log)
        while not any(event["event"] == "health" and event["serving"] for event in server.events):
            if process.poll() is not None:
                raise RuntimeError(f"the server ended: {log.read_text()}")
            time.sleep(0.05)
        (port,) = [event["port"] for event in server.events if event["event"] == "listening"]
        yield ServerProcess(f"127.0.0.1:{port}", process.pid, log)
        process.send_signal(signal.SIGTERM)
        if process.wait(30) != 0:
            raise RuntimeError(f"the server exited with {process.returncode}: {log.read_text()[-2000:]}")
    finally:
        process.kill()
        process.wait()
