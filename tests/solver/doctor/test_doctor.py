"""`espalier doctor` with the real parts of this machine, and without them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from espalier.solver.doctor import machine, sandbox
from espalier.solver.doctor.finding import Finding, FindingState, ok
from espalier.solver.doctor.run import examine
from espalier.verifiers.check import CallCase, Claim, ProgramCheck, ProgramLimits
from espalier.verifiers.code.settings import SandboxSettings, open_sandbox
from espalier.verifiers.code.verifier import CodeVerifier
from espalier.verifiers.verdict import Status, Verdict
from tests.solver.batch.server import RedisServer

SECONDS = 100.0


def doctor(*arguments: str, **environment: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit status, and what was found by name."""
    done = subprocess.run(
        [sys.executable, "-m", "espalier.solver.cli.main", "doctor", "--json", "--seconds", str(SECONDS), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=2 * SECONDS,
    )
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    return done.returncode, {found["name"]: found for found in map(json.loads, done.stdout.splitlines())}


@pytest.mark.docker
def test_with_all_parts_there_nothing_is_wrong(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    try:
        status, found = doctor("--redis", server.url, "--need", "redis", "--need", "sandbox", "--need", "docker")
    finally:
        server.stop()
    assert status == 0, found
    for name in ("python", "packages", "torch", "engine", "sandbox", "docker", "redis", "disk"):
        assert found[name]["state"] in ("ok", "note"), found[name]
    assert "decoded 16 tokens" in found["engine"]["detail"]
    assert "an endless one and one that takes 1 GiB are stopped" in found["sandbox"]["detail"]
    assert all(one["advice"] for one in found.values() if one["state"] != "ok")


@pytest.mark.parametrize(
    ("right", "endless", "greedy", "said"),
    [
        (Status.PASS, Status.FAIL, Status.FAIL, "a program runs"),
        (Status.FAIL, Status.FAIL, Status.FAIL, "a right program does not pass: because"),
        (Status.PASS, Status.PASS, Status.FAIL, "a program that never ends is not stopped"),
        (Status.PASS, Status.FAIL, Status.PASS, "a program that takes 1 GiB is not stopped"),
        (Status.PASS, Status.ERROR, Status.FAIL, "the sandbox fails: because"),
    ],
)
def test_a_sandbox_is_blamed_for_what_it_does_and_not_for_a_busy_machine(
    right: Status, endless: Status, greedy: Status, said: str
) -> None:
    verdicts = [Verdict(status, 0.0, "test", feedback="because") for status in (right, endless, greedy)]
    found = sandbox.finding("box", *verdicts)
    assert said in found.detail
    assert ("do not use" in found.advice) == ("is not stopped" in said)


def test_a_sandbox_without_zygotes_holds_but_is_remarked_on() -> None:
    verdicts = [Verdict(status, 0.0, "test") for status in (Status.PASS, Status.FAIL, Status.FAIL)]
    found = sandbox.finding("box", *verdicts, "every job pays")
    assert found.state == "note"
    assert "are stopped; every job pays" in found.detail


@pytest.mark.docker
async def test_a_program_that_takes_too_much_memory_is_right_if_it_gets_it() -> None:
    """Else its failing would not show that memory is limited."""
    settings = SandboxSettings(warm=1, max_memory_mib=1500)
    opened = await open_sandbox(settings)
    try:
        limits = ProgramLimits(case_seconds=60.0, memory_mib=1500)
        check = ProgramCheck((CallCase("square", "[3]", "9"),), limits=limits)
        verdict = await CodeVerifier(settings, sandbox=opened).verify(
            Claim(sandbox.GREEDY, bare=True), check, timeout=120
        )
    finally:
        await opened.close()
    assert verdict.passed, verdict


def test_without_the_optional_parts_it_says_what_to_do_and_still_exits_with_0(tmp_path: Path) -> None:
    absent = {"PATH": str(tmp_path), "DOCKER_HOST": f"unix://{tmp_path}/none.sock", "HOME": str(tmp_path)}
    looked = ("sandbox", "docker", "bubblewrap", "redis")
    options = [word for name in looked for word in ("--only", name)]
    status, found = doctor(*options, "--redis", "redis://127.0.0.1:1/0", **absent)
    assert status == 0
    assert {name: one["state"] for name, one in found.items()} == dict.fromkeys(looked, "note")
    assert "scripts/redis.sh" in found["redis"]["advice"]
    assert "bubblewrap" in found["bubblewrap"]["advice"]


def test_a_wrong_setting_of_the_sandbox_is_named() -> None:
    status, found = doctor("--only", "sandbox", ESPALIER_SANDBOX_KIND="podman")
    assert (status, found["sandbox"]["state"]) == (1, "problem")
    assert "ESPALIER_SANDBOX_KIND" in found["sandbox"]["detail"]


def test_what_is_needed_is_looked_at_whatever_else_is() -> None:
    status, found = doctor("--only", "python", "--need", "redis", "--redis", "redis://127.0.0.1:1/0")
    assert (status, sorted(found)) == (1, ["python", "redis"])


def test_the_last_line_does_not_call_well_what_has_a_note() -> None:
    command = [sys.executable, "-m", "espalier.solver.cli.main", "doctor", "--only", "python", "--only", "redis"]
    done = subprocess.run([*command, "--redis", "redis://127.0.0.1:1/0"], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "Nothing is wrong; 1 of 2 checks have a note."


def test_what_is_needed_and_missing_is_a_problem() -> None:
    status, found = doctor("--only", "redis", "--need", "redis", "--redis", "redis://:secret@127.0.0.1:1/0")
    assert (status, found["redis"]["state"]) == (1, "problem")
    assert "secret" not in json.dumps(found)


def test_a_redis_that_forgets_is_noted(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, appendonly=False)
    server.start()
    try:
        _, found = doctor("--only", "redis", "--redis", server.url)
    finally:
        server.stop()
    assert found["redis"]["state"] == "note"
    assert "--appendonly yes" in found["redis"]["advice"]


@pytest.mark.parametrize("setting", ["local:{empty}", "sglang://127.0.0.1:1", "nonsense"])
def test_an_engine_that_is_not_there_is_a_problem(setting: str, tmp_path: Path) -> None:
    status, found = doctor("--only", "engine", "--engine", setting.format(empty=tmp_path))
    assert (status, found["engine"]["state"]) == (1, "problem")
    assert found["engine"]["advice"]


def test_an_sglang_that_cannot_be_imported_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "sglang").mkdir()
    (tmp_path / "sglang" / "__init__.py").write_text("raise ImportError('libcuda.so.1: not found')\n")
    (tmp_path / "sglang-0.5.21.dist-info").mkdir()
    (tmp_path / "sglang-0.5.21.dist-info" / "METADATA").write_text("Name: sglang\nVersion: 0.5.21\n")
    status, found = doctor("--only", "sglang", PYTHONPATH=str(tmp_path))
    assert (status, found["sglang"]["state"]) == (1, "problem")
    assert "libcuda.so.1" in found["sglang"]["detail"]


def test_a_check_that_does_not_exist_is_a_usage_error() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "espalier.solver.cli.main", "doctor", "--only", "engin"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "there are: python, packages" in done.stderr


def test_a_check_that_hangs_or_raises_is_told_and_keeps_no_other_from_being_told() -> None:
    def hang() -> Finding:
        time.sleep(3600)
        raise AssertionError

    def fall() -> Finding:
        raise RuntimeError("oh")

    begun = time.monotonic()
    found = dict(examine({"hang": hang, "fall": fall, "well": lambda: ok("fine")}, 0.3))
    assert time.monotonic() - begun < 60
    assert (found["hang"].state, found["fall"].state, found["well"].state) == (
        FindingState.PROBLEM,
        FindingState.PROBLEM,
        FindingState.OK,
    )
    assert "RuntimeError: oh" in found["fall"].detail


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = machine.ports([port])
    assert found.state is FindingState.NOTE
    assert str(port) in found.detail


def test_packages_that_are_missing_or_too_old_are_named() -> None:
    faults = list(machine._faults(["no-such-package>=1", "typer>=9999", "typer>=0.1", "typer>=9999; extra == 'x'"]))
    assert faults[0] == "no-such-package is missing"
    assert len(faults) == 2
    assert "typer" in faults[1]


@pytest.mark.parametrize(("free", "state"), [(1 << 40, "ok"), (1 << 29, "note"), (1 << 20, "problem")])
def test_a_disk_that_is_full_is_a_problem(
    free: int, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": free}))
    assert machine.disk([tmp_path / "not" / "yet" / "there"]).state == state


def test_an_address_that_is_none_of_redis_is_a_problem() -> None:
    status, found = doctor("--only", "redis", "--redis", "http://127.0.0.1:6379")
    assert (status, found["redis"]["state"]) == (1, "problem")
    assert "http://127.0.0.1:6379 is no address of Redis" in found["redis"]["detail"]
