"""A real redis-server of the test's own, on a free port."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import redis

from espalier.common.ports import free_port

START_SECONDS = 60.0


def require() -> str:
    """The server's path. Without it the test is skipped; where CI is set it fails."""
    path = shutil.which("redis-server")
    if path is None:
        message = "redis-server is missing; bash scripts/redis.sh installs it"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


class RedisServer:
    """Starts, dies, freezes and comes back with what its append-only file holds."""

    def __init__(self, directory: Path, *, appendonly: bool = True, fsync: str = "always") -> None:
        self._binary = require()
        self._directory = directory
        self._settings = ["--appendonly", "yes" if appendonly else "no", "--appendfsync", fsync]
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        here = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._directory), "--save", ""]
        self._process = subprocess.Popen([self._binary, *here, *self._settings], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        with redis.Redis(port=self.port, socket_timeout=5, socket_connect_timeout=5) as client:
            while True:
                try:
                    client.ping()
                    return
                except (redis.ConnectionError, redis.TimeoutError):  # another program may have taken the port
                    if time.monotonic() > deadline or self._process.poll() is not None:
                        raise
                    time.sleep(0.02)

    def kill(self) -> None:
        """End at once, without a goodbye."""
        self._signal(signal.SIGKILL)
        self._wait()

    def stop(self) -> None:
        """End in order."""
        if self._process is not None and self._process.poll() is None:
            self._signal(signal.SIGCONT)
            self._signal(signal.SIGTERM)
            self._wait()

    def freeze(self) -> None:
        """Answer no client: connections stay open and silent, as behind a dead network."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _wait(self) -> None:
        assert self._process is not None
        self._process.wait(timeout=START_SECONDS)
