"""Chromium, and servers as people start them."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import URLError
from urllib.request import urlopen

from espalier.common.ports import free_port

T = TypeVar("T")

CHROMIUM = "/usr/bin/chromium"

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def beside(work: Coroutine[Any, Any, T]) -> T:
    """What the work comes to; in a thread, because the browser's library has a loop in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


@contextmanager
def serving(directory: Path, *options: str) -> Iterator[str]:
    """`espalier serve --ui`; the address of its pages."""
    port = free_port()
    command = [sys.executable, "-m", "espalier.solver.cli.main", "serve", "--ui", "--only", "math"]
    command += ["--address", f"unix:{directory}/grpc", "--http", f"127.0.0.1:{port}", *options]
    with (directory / "serve.log").open("w") as log:
        process = subprocess.Popen(command, stderr=log)
        try:
            address = f"http://127.0.0.1:{port}/ui/"
            _wait_for(address, process)
            yield address
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=120)


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while True:
        try:
            with urlopen(address):  # noqa: S310 (ours)
                return
        except URLError:
            assert process.poll() is None, "the server has ended"
            assert time.monotonic() < deadline
            time.sleep(0.1)
