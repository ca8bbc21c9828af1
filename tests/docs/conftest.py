"""One service for all blocks that need one: Redis, `espalier serve`, a worker."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from deploy.images.healthy import healthy

from espalier.common.ports import free_port
from tests.solver.batch.server import RedisServer
from tests.verifiers.conftest import sandbox  # noqa: F401

ROOT = Path(__file__).parents[2]
START_SECONDS = 600.0
BESIDE = str(Path(sys.executable).parent)
ENVIRONMENT = {**os.environ, "PATH": f"{BESIDE}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


@dataclass(frozen=True, slots=True)
class Service:
    """Addresses of the service under test; they replace those that the pages name."""

    grpc: str
    http: str
    redis: str

    def here(self, text: str) -> str:
        """A block with the addresses of this run."""
        text = re.sub(r"127\.0\.0\.1:50051\b", self.grpc, text)
        text = re.sub(r"127\.0\.0\.1:8000\b", self.http, text)
        return text.replace("redis://127.0.0.1:6379/0", self.redis)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("service")
    with ExitStack() as stack:
        redis = RedisServer(directory)
        redis.start()
        stack.callback(redis.stop)
        found = Service(_free(), _free(), redis.url)
        metrics = _free()
        only = ("--only", "math")
        serve = ("serve", "--address", found.grpc, "--http", found.http, "--redis", redis.url, *only)
        stack.enter_context(_process(directory / "serve.log", *serve))
        stack.enter_context(
            _process(directory / "worker.log", "worker", "--redis", redis.url, "--metrics", metrics, *only)
        )
        deadline = time.monotonic() + START_SECONDS
        while not (healthy(found.grpc) and healthy(f"http://{metrics}/metrics")):
            assert time.monotonic() < deadline, (directory / "serve.log").read_text()[-2000:]
            time.sleep(0.2)
        yield found


@contextmanager
def _process(log: Path, *arguments: str) -> Iterator[None]:
    with log.open("w") as sink:
        process = subprocess.Popen(["espalier", *arguments], env=ENVIRONMENT, stdout=sink, stderr=sink)
    try:
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0, log.read_text()[-2000:]
    finally:
        process.kill()
        process.wait()


def _free() -> str:
    return f"127.0.0.1:{free_port()}"
