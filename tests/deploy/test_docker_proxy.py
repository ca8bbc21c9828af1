"""Through the proxy the sandbox works, and nothing else does. With the real daemon."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import docker
import pytest
from deploy.images.docker_proxy import Refused, box_of, lists

from espalier.common.ports import free_port
from espalier.verifiers.code.docker import DockerLauncher
from espalier.verifiers.code.sandbox import BoxSpec
from espalier.verifiers.code.seccomp import docker_profile

ROOT = Path(__file__).parents[2]
PROFILE = ROOT / "verifiers/espalier/verifiers/code/seccomp.json"
SECCOMP = json.loads(PROFILE.read_text())
ZYGOTE_SECCOMP = json.loads(docker_profile(zygote=True))
CASES = [json.loads(line) for line in (Path(__file__).parent / "proxy_cases.jsonl").read_text().splitlines()]


class Seen(Exception):
    """Carries a body instead of sending it."""


def asked_of_the_daemon(*, zygote: bool) -> dict[str, Any]:
    launcher = DockerLauncher()

    def keep(config: Any, *_: object) -> None:
        raise Seen(json.dumps(config))

    launcher._api().create_container_from_config = keep
    with pytest.raises(Seen) as seen:
        launcher._create(BoxSpec("python"), ("true",), zygote)
    asked: dict[str, Any] = json.loads(str(seen.value))
    return asked


@pytest.fixture(scope="module")
def body() -> dict[str, Any]:
    """What the sandbox asks the daemon for, word by word."""
    return asked_of_the_daemon(zygote=False)


@pytest.fixture(scope="module", params=["with zygotes", "without zygotes"])
def proxy(request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of a running proxy."""
    port = free_port()
    program = [sys.executable, str(ROOT / "deploy/images/docker_proxy.py"), "--listen", f"127.0.0.1:{port}"]
    program += ["--seccomp", str(PROFILE)]
    if request.param == "with zygotes":
        program += ["--zygote-seccomp", str(PROFILE.with_name("seccomp_zygote.json"))]
    process = subprocess.Popen(program, stderr=subprocess.PIPE)
    assert process.stderr
    assert b"listening" in process.stderr.readline()
    yield port
    process.terminate()
    assert process.wait(10) == 0


@pytest.fixture
def foreign() -> Iterator[str]:
    """A container that is none of the sandbox's."""
    api = docker.DockerClient.from_env().api
    container = api.create_container("espalier-sandbox:python", command=["true"])["Id"]
    yield container
    api.remove_container(container, force=True)


def ask(port: int, method: str, path: str, body: str = "") -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_what_the_sandbox_asks_for_is_let_through_as_a_box(body: dict[str, Any]) -> None:
    sent = box_of(body, SECCOMP)
    assert sent["HostConfig"]["CapDrop"] == ["ALL"]
    assert "Binds" not in sent["HostConfig"]


def test_a_zygote_is_let_through_with_its_list_and_proc_uncovered_where_there_may_be_any() -> None:
    asked = asked_of_the_daemon(zygote=True)
    sent = box_of(asked, SECCOMP, ZYGOTE_SECCOMP)
    assert sent["HostConfig"]["MaskedPaths"] == sent["HostConfig"]["ReadonlyPaths"] == []
    with pytest.raises(Refused, match="system calls"):
        box_of(asked, SECCOMP)


def test_the_proxy_and_the_sandbox_make_the_same_lists_of_the_same_files() -> None:
    zygote_file = PROFILE.with_name("seccomp_zygote.json")
    assert lists(PROFILE, zygote_file) == (json.loads(docker_profile()), json.loads(docker_profile(zygote=True)))
    assert lists(PROFILE, None) == (json.loads(docker_profile()), None)


def test_proc_stays_covered_for_all_but_zygotes(body: dict[str, Any]) -> None:
    asked = {**body, "HostConfig": {**body["HostConfig"], "MaskedPaths": [], "ReadonlyPaths": []}}
    assert not {"MaskedPaths", "ReadonlyPaths"} & box_of(asked, SECCOMP, ZYGOTE_SECCOMP)["HostConfig"].keys()


@pytest.mark.parametrize("case", CASES, ids=[case["why"] for case in CASES])
def test_a_container_that_is_no_box_is_refused(case: dict[str, Any], body: dict[str, Any]) -> None:
    asked = {**body, **case.get("own", {})}
    asked["HostConfig"] = {**body["HostConfig"], **case.get("host", {})}
    with pytest.raises(Refused):
        box_of(asked, SECCOMP)


def test_only_fields_that_were_understood_go_to_the_daemon(body: dict[str, Any]) -> None:
    assert "user" not in box_of({**body, "user": ""}, SECCOMP)


@pytest.mark.docker
def test_a_program_is_judged_through_the_proxy(proxy: int, tmp_path: Path) -> None:
    (tmp_path / "solution.py").write_text("def square(x): return x * x\n")
    (tmp_path / "cases.json").write_text('[{"call": {"function": "square", "arguments": [12], "expected": 144}}]')
    environment = {**os.environ, "DOCKER_HOST": f"tcp://127.0.0.1:{proxy}", "ESPALIER_SANDBOX_KIND": "docker"}
    command = [
        sys.executable,
        "-m",
        "espalier.solver.cli.main",
        "verify",
        "code",
        "solution.py",
        "--cases",
        "cases.json",
    ]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.split()[0]) == (0, "PASS"), done.stderr


@pytest.mark.docker
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/containers/json"),
        ("GET", '/containers/json?filters={"label":["other"]}'),
        ("GET", "/images/json"),
        ("POST", "/images/create?fromImage=debian"),
        ("POST", "/build"),
        ("POST", "/containers/prune"),
        ("POST", "/v1.44/swarm/init"),
        ("GET", "/v1.44/containers/../images/json"),
        ("DELETE", "/images/espalier-sandbox:python"),
        ("POST", "/containers/create?name=other"),
    ],
)
def test_other_calls_do_not_reach_the_daemon(proxy: int, method: str, path: str) -> None:
    status, answer = ask(proxy, method, path.replace('"', "%22"))
    assert status == 403, answer


@pytest.mark.docker
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/start"), ("POST", "/attach"), ("DELETE", ""), ("GET", "/json"), ("POST", "/exec"), ("GET", "/logs")],
)
def test_containers_of_others_are_out_of_reach(proxy: int, foreign: str, method: str, path: str) -> None:
    assert ask(proxy, method, f"/containers/{foreign}{path}")[0] == 403
    assert docker.DockerClient.from_env().api.inspect_container(foreign)["State"]["Status"] == "created"


@pytest.mark.docker
@pytest.mark.parametrize(
    "head",
    [
        b"POST /_ping HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /containers/create HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
        b"GET /_ping HTTP/1.1 extra\r\n\r\n",
        b"GET http://docker/_ping HTTP/1.1\r\n\r\n",
        b"GET /_ping\r\n\r\n",
        b"GET /" + b"a" * 40000 + b" HTTP/1.1\r\n\r\n",
        b"POST /containers/create HTTP/1.1\r\nContent-Length: 5\r\n\r\n[[[[[",
    ],
)
def test_requests_that_could_be_read_in_two_ways_are_refused(proxy: int, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", proxy), timeout=60) as connection:
        connection.sendall(head)
        assert b" 403 " in connection.makefile("rb").readline()
