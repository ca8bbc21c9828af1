from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from espalier.runtime.local import SEEDLING

STANDIN = Path(__file__).parent / "sglang_standin"
COMMAND = (sys.executable, "-m", "espalier.solver.cli.main", "engine", "serve", "--model", str(SEEDLING), "--port", "0")
ON_CPU = ("--", "--device", "cpu")


def start(*options: str, fake: str = "", installed: bool = True) -> subprocess.Popen[str]:
    paths = [*([str(STANDIN)] if installed else []), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "FAKE": fake, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return subprocess.Popen(
        [*COMMAND, *options], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda each: each.name)
def test_a_server_is_announced_when_it_is_healthy_and_stopped_by_a_signal(tmp_path: Path, number: int) -> None:
    (tmp_path / "key").write_text("a'secret'key\n")
    process = start("--json", "--key-file", str(tmp_path / "key"), *ON_CPU)
    told = json.loads(process.stdout.readline())
    assert told["engine"].startswith("sglang://127.0.0.1:")
    assert told["engine"].endswith(f"?key-file={tmp_path / 'key'}")
    words = Path(f"/proc/{told['pid']}/cmdline").read_text().split("\0")
    assert "a'secret'key" not in words
    assert "--incremental-streaming-output" in words
    process.send_signal(number)
    status, errors = finish(process)
    assert status == 0
    assert "loading weights" in errors
    assert not Path(f"/proc/{told['pid']}").exists()


def test_a_server_that_does_not_stop_is_killed_at_the_second_signal() -> None:
    process = start(*ON_CPU, fake="stubborn")
    assert process.stdout.readline().startswith("--engine sglang://127.0.0.1:")
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.0)
    process.send_signal(signal.SIGINT)
    assert finish(process)[0] == 0


@pytest.mark.parametrize(
    ("fake", "said"),
    [
        ("dies", "SGLang ended with status 1 before it was healthy"),
        ("no-plugin", "runs without native parallel reasoning"),
        ("ends", "SGLang has ended with status 9"),
        ("dies-alone", "SGLang ended with status 1 before it was healthy"),
        ("ends-alone", "SGLang has ended with status 9"),
    ],
)
def test_a_server_that_fails_is_told(fake: str, said: str) -> None:
    status, errors = finish(start(*ON_CPU, fake=fake))
    assert status == 3
    assert said in errors
    assert "Traceback" not in errors


def test_a_port_in_use_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, errors = finish(start("--port", str(taken.getsockname()[1]), *ON_CPU))
    assert status == 3
    assert "choose another --port" in errors


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--model", "/no/such"), "no model at /no/such"),
        (("--host", "192.0.2.1", *ON_CPU), "give --key-file, or --insecure"),
        (("--key-file", "/no/such"), "No such file or directory"),
        (("--key-file", "/dev/null"), "key-file /dev/null: a secret is one line"),
        ((*ON_CPU, "--api-key", "secret"), "--api-key belongs to"),
        ((), "needs a GPU"),
    ],
)
def test_what_cannot_be_started_is_said_before_anything_starts(options: tuple[str, ...], said: str) -> None:
    status, errors = finish(start(*options))
    assert status in (2, 3)
    assert said in errors
    assert "loading weights" not in errors


def test_a_missing_sglang_is_told_with_the_command_that_installs_it() -> None:
    status, errors = finish(start(installed=False))
    assert status == 3
    assert "[sglang]" in errors
