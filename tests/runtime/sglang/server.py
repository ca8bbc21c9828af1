"""The unmodified SGLang on a CPU. SGLang takes half a minute to import, so engines are forked from one process.

The test process imports SGLang and never starts it. A job runs in a fork with an engine of its own: hooks and
environment of one job do not reach the next.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import sglang.srt.entrypoints.engine
import sglang.srt.entrypoints.http_server
import sglang.srt.managers.detokenizer_manager
import sglang.srt.managers.scheduler
import sglang.srt.models.qwen3
import torch

_FORK = multiprocessing.get_context("fork")

SETTINGS: dict[str, Any] = {
    "device": "cpu",
    "dtype": "float32",
    "attention_backend": "torch_native",
    "sampling_backend": "pytorch",
    "grammar_backend": "none",
    "disable_cuda_graph": True,
    "skip_tokenizer_init": True,
    "mem_fraction_static": 0.3,
    "max_total_tokens": 20_000,
    "max_running_requests": 128,
    "random_seed": 1,
    "log_level": "warning",
}


PORTS = range(10_000, 32_000, 1_100)
"""Below the ports that outgoing connections take. Beside its port a server takes another one, up to 1,000 above it."""


@dataclass(frozen=True)
class Server:
    """Settings of an engine: flags beside `SETTINGS`, environment, and what to hook before it starts."""

    model: Path
    flags: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], None] | None = None

    def run(self, job: Callable[[Any], Any], timeout: float = 280) -> Any:
        """Run `job(engine)` in a process of its own and return its result."""
        reader, writer = _FORK.Pipe(duplex=False)
        process = _FORK.Process(target=self._serve, args=(job, writer))
        process.start()
        writer.close()
        try:
            if not reader.poll(timeout):
                raise TimeoutError(f"the job took more than {timeout} s")
            outcome = reader.recv()
        except EOFError as error:
            raise RuntimeError("the engine died") from error
        finally:
            if process.pid is not None and process.is_alive():
                process.join(10)
            _end_group(process.pid)
        if isinstance(outcome, _Failure):
            raise AssertionError(outcome.trace)
        return outcome

    def _serve(self, job: Callable[[Any], Any], writer: Any) -> None:
        try:
            self._fork()
            engine = sglang.srt.entrypoints.engine.Engine(**{**SETTINGS, "model_path": str(self.model), **self.flags})
            try:
                outcome = job(engine)
            finally:
                engine.shutdown()
        except BaseException:
            outcome = _Failure(traceback.format_exc())
        writer.send(outcome)
        writer.close()
        os._exit(0)

    @contextlib.contextmanager
    def serve(self, timeout: float = 120) -> Iterator[str]:
        """Run an HTTP server; yields its address."""
        port = _free_port()
        process = _FORK.Process(target=self._listen, args=(port,))
        process.start()
        address = f"http://127.0.0.1:{port}"
        try:
            end = time.monotonic() + timeout
            while not _healthy(address):
                if not process.is_alive():
                    raise RuntimeError("the server died")
                if time.monotonic() > end:
                    raise TimeoutError("the server does not become healthy")
                time.sleep(0.2)
            yield address
        finally:
            _end_group(process.pid)
            process.join(10)

    def _listen(self, port: int) -> None:
        from sglang.srt.entrypoints.http_server import launch_server
        from sglang.srt.plugins import load_plugins
        from sglang.srt.server_args import ServerArgs

        self._fork()
        load_plugins()
        # Without spinning: tests keep several servers, of which most are idle.
        flags = {**SETTINGS, "sleep_on_idle": True, "model_path": str(self.model), "port": port, **self.flags}
        launch_server(ServerArgs(**flags))

    def _fork(self) -> None:
        """Set the fresh process up: its own group, environment and hooks, and forks instead of new interpreters."""
        os.setsid()
        os.environ.update(self.environment)
        multiprocessing.set_start_method("fork", force=True)
        multiprocessing.set_start_method = lambda *_args, **_kwargs: None  # type: ignore[assignment]
        torch.set_num_threads(1)
        if self.prepare is not None:
            self.prepare()


def _free_port() -> int:
    """One that no server has; processes that test side by side have different ones."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for port in PORTS[worker % 2 :: 2]:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError(f"all ports from {PORTS[0]} to {PORTS[-1]} are taken")


def _healthy(address: str) -> bool:
    try:
        return requests.get(f"{address}/health", timeout=2).status_code == 200
    except requests.RequestException:
        return False


@dataclass(frozen=True)
class _Failure:
    trace: str


def _end_group(leader: int | None) -> None:
    """End what a job has left running: all its processes are in the group that it leads."""
    if leader is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGKILL)
