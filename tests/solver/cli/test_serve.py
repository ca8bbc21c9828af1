"""`espalier serve` as a user starts it: a process with a model of its own."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx2 as httpx
import openai
import pytest
from typer.testing import CliRunner

from espalier.solver.cli.main import app
from espalier.v1 import solver_pb2_grpc
from tests.solver.service.serving import asking
from tests.solver.service.telling import model, tokenizer

TLS = Path(__file__).parents[2] / "verifiers" / "tls"


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    model().save_pretrained(path)
    tokenizer().save_pretrained(path)
    return path


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "espalier.solver.cli.main", "serve", *arguments]


@contextmanager
def served(directory: Path, tmp_path: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A server that is healthy, and its log."""
    log = tmp_path / "log"
    engine = ("--engine", f"local:{directory}", "--only", "math", "--max-tokens", "32")
    with log.open("w") as errors, subprocess.Popen(command(*engine, *arguments), stderr=errors, text=True) as process:
        try:
            wait_for(process, log, "health")
            yield process, log
        finally:
            process.kill()


def wait_for(process: subprocess.Popen[str], log: Path, event: str) -> dict[str, Any]:
    while process.poll() is None:
        for line in log.read_text().splitlines(keepends=True):
            if line.endswith("\n") and json.loads(line)["event"] == event:
                found: dict[str, Any] = json.loads(line)
                return found
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.05)
    raise AssertionError(log.read_text())


@pytest.mark.slow
def test_a_server_warms_up_solves_on_both_doors_and_drains(
    directory: Path, tmp_path: Path, unused_tcp_port_factory: Any
) -> None:
    grpc_port, http_port = unused_tcp_port_factory(), unused_tcp_port_factory()
    addresses = ("--address", f"127.0.0.1:{grpc_port}", "--http", f"127.0.0.1:{http_port}")
    with served(directory, tmp_path, *addresses, "--traces", str(tmp_path / "traces")) as (process, log):
        assert wait_for(process, log, "health")["serving"] is True
        with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
            result = solver_pb2_grpc.SolverStub(channel).SolveOnce(asking(k=2))
        with openai.OpenAI(base_url=f"http://127.0.0.1:{http_port}/v1", api_key="none") as client:
            reply: Any = client.chat.completions.create(
                model="espalier", messages=[{"role": "user", "content": "What is 6 times 7?"}]
            )
        assert reply.metadata["solve_id"]
        assert (tmp_path / "traces" / f"{result.solve_id}.jsonl").exists()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
        assert events[-2:] == ["draining", "stopped"]


@pytest.mark.slow
def test_tls_protects_both_doors(directory: Path, tmp_path: Path, unused_tcp_port_factory: Any) -> None:
    grpc_port, http_port = unused_tcp_port_factory(), unused_tcp_port_factory()
    arguments = [
        *("--address", f"127.0.0.1:{grpc_port}", "--http", f"127.0.0.1:{http_port}"),
        *("--tls-cert", str(TLS / "server.pem"), "--tls-key", str(TLS / "server.key")),
    ]
    authority = (TLS / "ca.pem").read_bytes()
    with served(directory, tmp_path, *arguments):
        with grpc.secure_channel(f"localhost:{grpc_port}", grpc.ssl_channel_credentials(authority)) as channel:
            assert solver_pb2_grpc.SolverStub(channel).SolveOnce(asking(k=1)).solve_id
        context = ssl.create_default_context(cafile=TLS / "ca.pem")
        with httpx.Client(verify=context, timeout=60) as client:
            assert client.get(f"https://localhost:{http_port}/v1/models").status_code == 200
        with httpx.Client() as client, pytest.raises(httpx.ConnectError):
            client.get(f"https://localhost:{http_port}/v1/models")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--address", "0.0.0.0:0"], 2, "--insecure"),
        (["--http", "0.0.0.0:0"], 2, "--insecure"),
        (["--http", "127.0.0.1"], 2, "HOST:PORT"),
        (["--address", "127.0.0.1:99999"], 2, "HOST:PORT"),
        (["--policy", "guess"], 2, "default policy"),
        (["--k", "65"], 2, "default k"),
        (["--certainty", "1.5"], 2, "default certainty"),
        (["--engine", "cloud"], 2, "unknown engine"),
        (["--only", "absent"], 2, "no verifier called"),
        (["--token-file", "/nowhere"], 2, "/nowhere"),
        (["--tls-cert", str(TLS / "server.pem")], 2, "key"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(
    directory: Path, arguments: list[str], status: int, said: str
) -> None:
    engine = ("--engine", f"local:{directory}", "--address", "127.0.0.1:0")
    ended = CliRunner().invoke(app, ["serve", *engine, *arguments])
    assert (ended.exit_code, said in ended.stderr) == (status, True), ended.stderr
    assert isinstance(ended.exception, SystemExit)  # which is no traceback


LOADING = """
import sys, threading
from espalier.runtime.local.engine import LocalEngine
from espalier.solver.cli.main import main

def load(*_):
    print("loading", flush=True)
    threading.Event().wait()

LocalEngine.load = load
sys.argv = ["espalier", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize("arguments", [("serve", "--address", "127.0.0.1:0"), ("solve", "What is 6 times 7?")])
def test_an_interrupt_during_the_load_of_a_model_ends_at_once(directory: Path, arguments: tuple[str, ...]) -> None:
    ask = [sys.executable, "-c", LOADING, *arguments, "--engine", f"local:{directory}"]
    with subprocess.Popen(ask, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "loading\n"
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)  # the load itself never ends
        finally:
            process.kill()
    assert (process.returncode, "Traceback" in said) == (130, False)


@pytest.mark.parametrize("option", ["--address", "--http", "--metrics"])
def test_an_address_in_use_is_told_before_the_model_is_loaded(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("espalier.runtime.open.open_engine", opened.append)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        elsewhere = () if option == "--address" else ("--address", "127.0.0.1:0")
        done = CliRunner().invoke(app, ["serve", option, address, *elsewhere])
    assert (done.exit_code, opened) == (3, [])
    assert f"cannot listen on {address}" in done.stderr
