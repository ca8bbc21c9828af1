"""What a program sees and may do in a box, and what the host sees of it; in boxes that a zygote made, and in others.

`facts.json` has a value for each fact, or where they differ one for boxes of a zygote and one for each kind without it;
a kind that is not named is not asked. `calls.jsonl` has system calls with their arguments, which are refused with EPERM
or what is named.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pyseccomp
import pytest
import pytest_asyncio

from espalier.verifiers.code.pool import PooledSandbox
from espalier.verifiers.code.sandbox import Command
from espalier.verifiers.code.users import UNUSED
from tests.verifiers.code.boxes import KINDS, once, opened, refuse_zygotes

HERE = Path(__file__).parent
PROBE = (HERE / "probe.py").read_text("utf-8")
FACTS = json.loads((HERE / "facts.json").read_text("utf-8"))
CALLS = [json.loads(line) for line in (HERE / "calls.jsonl").read_text("utf-8").splitlines()]
GIVEN = {
    "numbers": {name: pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name) for _, name, *_ in CALLS},
    "calls": [call[:3] for call in CALLS],
    "paths": [str(Path(__file__).parents[4]), str(Path.home() / ".cache"), "/var/lib", "/var/run/docker.sock", "/boot"],
    "hostname": socket.gethostname(),
}
ALIVE = "import sys, time; sys.stdin.read(); time.sleep(float(sys.argv[1]))"
MEMORY = (256 + 32) << 20
METERS = ("/cpuacct.usage", "/cpu.stat")

in_module_loop = pytest.mark.asyncio(loop_scope="module")


def plain_python(source: str, stdin: str = "", *arguments: str) -> Command:
    """An interpreter that is executed, not copied: it can be told from its runner by its command line."""
    return Command(("/usr/bin/python3", "-I", "-c", source, *arguments), stdin, 20, 100)


@pytest.fixture(scope="module", params=["by a zygote", "without a zygote"])
def zygote(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether zygotes make the boxes."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        if request.param == "without a zygote":
            refuse_zygotes(monkeypatch)
        yield request.param == "by a zygote"


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def sandbox(request: pytest.FixtureRequest, zygote: bool) -> AsyncIterator[PooledSandbox]:
    """Each real sandbox of this machine."""
    async with opened(request.param) as opened_sandbox:
        yield opened_sandbox


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seen(sandbox: PooledSandbox) -> dict[str, Any]:
    """What the probe says, by name of the fact."""
    [outcome] = await once(sandbox, plain_python(PROBE, json.dumps(GIVEN)))
    assert outcome.exit_code == 0, outcome.stderr
    return dict(json.loads(outcome.stdout))


@in_module_loop
@pytest.mark.parametrize("fact", FACTS)
async def test_a_program_finds_what_the_table_says(
    sandbox: PooledSandbox, zygote: bool, seen: dict[str, Any], fact: str
) -> None:
    expected = FACTS[fact]
    if isinstance(expected, dict):
        expected = expected.get("zygote" if zygote else kind_of(sandbox), seen[fact])
    assert seen[fact] == expected


@in_module_loop
async def test_every_call_that_makes_or_leaves_a_box_is_refused(sandbox: PooledSandbox, seen: dict[str, Any]) -> None:
    expected = {label: refusal[0] if refusal else "EPERM" for label, _, _, *refusal in CALLS}
    assert seen["system calls"] == expected


@in_module_loop
async def test_namespaces_are_the_hosts_in_no_kind_and_shared_by_no_two_boxes(
    sandbox: PooledSandbox, zygote: bool, seen: dict[str, Any]
) -> None:
    shared = set() if zygote or kind_of(sandbox) == "bwrap" else {"user"}
    async with alive(sandbox) as one, alive(sandbox) as other:
        for name in NAMESPACES - shared:
            host = link("self", name)
            links = [link(process.pid, name) for process in (one, other)]
            assert len({host, seen["namespaces"][name], *links}) >= 3, name
            assert links[0] != links[1], name
            assert host not in (seen["namespaces"][name], *links), name


@in_module_loop
async def test_the_host_sees_an_unprivileged_process_under_limits(sandbox: PooledSandbox, zygote: bool) -> None:
    async with alive(sandbox) as process:
        status = status_of(process.pid)
        [user] = {int(number) for number in status["Uid"] + status["Gid"]}
        assert user in UNUSED
        assert all(int(status[name][0], 16) == 0 for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"))
        assert (status["NoNewPrivs"], status["Seccomp"]) == (["1"], ["2"])
        assert len(status["NSpid"]) >= 2
        assert limits_of(process.pid) == {"memory": MEMORY, "swap": 0, "pids": 64 + zygote, "cpus": 1.0}


@in_module_loop
async def test_nothing_of_a_sandbox_has_privileges_or_knows_its_owners_environment(
    sandbox: PooledSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ESPALIER_CANARY", secrets.token_hex(8))
    async with alive(sandbox) as process:
        user = status_of(process.pid)["Uid"]
        for member in members_of_group(process.pid):
            status = status_of(member)
            assert status["Uid"] == user, member
            assert int(status["CapEff"][0], 16) == 0, member
            assert status["NoNewPrivs"] == ["1"], member
            assert "ESPALIER" not in environment_of(member), member


@in_module_loop
async def test_no_two_outer_sandboxes_have_the_same_user(sandbox: PooledSandbox) -> None:
    async with alive(sandbox) as one, alive(sandbox) as other:
        users = [status_of(process.pid)["Uid"] + status_of(process.pid)["Gid"] for process in (one, other)]
        assert not set(users[0]) & set(users[1])


@in_module_loop
async def test_a_zygote_holds_no_byte_of_a_job_and_nothing_but_its_streams_and_its_meter(
    sandbox: PooledSandbox, zygote: bool
) -> None:
    if not zygote or os.geteuid() != 0:
        pytest.skip("there is no zygote, or only root may read its memory")
    secret = secrets.token_hex(24)
    async with alive(sandbox, stdin=secret, seconds=2) as process:
        runner = parent_of(process.pid)
        parent = parent_of(runner)
        assert parent in members_of_group(process.pid)  # so making boxes is paid for out of their own limits
        assert sum(path.endswith(METERS) for path in descriptors_of(parent)) == 1
        assert len(descriptors_of(parent)) == 4
        assert secret.encode() in memory_of(runner)
        assert secret.encode() not in memory_of(parent)
    await sandbox.wait_warm()
    [successor] = psutil.Process(parent).children()
    assert successor.pid != runner
    assert secret.encode() not in memory_of(parent) + memory_of(successor.pid)


@in_module_loop
async def test_no_job_finds_what_another_left(sandbox: PooledSandbox) -> None:
    """As many jobs as there are boxes and more, one after the other: every box that is used again is seen."""
    for _ in range(8):
        [outcome] = await once(sandbox, plain_python(LEAVE_AND_LOOK), files={"data": "x"})
        assert (outcome.exit_code, outcome.stdout) == (0, b""), outcome.stderr


LEAVE_AND_LOOK = """
import os, socket, time
found = []
for at in ("/tmp", "/dev/shm", "/dev/mqueue", "/dev/pts", "/run", "/var/tmp"):
    if os.path.isdir(at):
        found += [f"{at}/{name}" for name in os.listdir(at) if name not in ("0", "job", "ptmx")]
    try:
        open(f"{at}/mark", "w").write("x")
    except OSError:
        pass
pair = socket.socket(socket.AF_UNIX)
try:
    pair.bind("\\0mark")
except OSError:
    found.append("a socket")
found += [pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) not in (1, os.getpid())]
for path, value in (("/proc/sys/kernel/msgmax", "4321"), ("/proc/sys/fs/mqueue/msg_max", "7")):
    if open(path).read().strip() == value:
        found.append(path)
    try:
        open(path, "w").write(value)
    except OSError:
        pass
if os.fork() == 0:
    os.setsid()
    time.sleep(100)
for name in found:
    print(name)
"""

NAMESPACES = {"mnt", "pid", "net", "ipc", "uts", "cgroup", "user"}


def kind_of(sandbox: PooledSandbox) -> str:
    return sandbox._maker.name


class alive:  # noqa: N801 (used as a function)
    """A program that waits in a box of its own, as the host sees it. It is left at work, unless it ends soon."""

    def __init__(self, sandbox: PooledSandbox, stdin: str = "", seconds: float = 100) -> None:
        self.mark = secrets.token_hex(16)
        command = plain_python(ALIVE, stdin, str(seconds), self.mark)
        self.task = asyncio.create_task(once(sandbox, command))
        self.short = seconds < 10

    async def __aenter__(self) -> psutil.Process:
        while True:
            assert not self.task.done(), self.task
            for process in psutil.process_iter(["cmdline"]):
                if self.mark in (process.info["cmdline"] or ()):
                    return process
            await asyncio.sleep(0.05)

    async def __aexit__(self, *_: object) -> None:
        if not self.short:
            self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def status_of(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: values.split() for name, _, values in (line.partition(":") for line in lines)}


def environment_of(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_text(errors="replace")


def parent_of(pid: int) -> int:
    return psutil.Process(pid).ppid()


def descriptors_of(pid: int) -> list[str]:
    return [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]


def memory_of(pid: int) -> bytes:
    """All that a process could read of itself."""
    found = bytearray()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, access, *_ = line.split()
            start, end = (int(place, 16) for place in span.split("-"))
            if access.startswith("r") and start < 1 << 47:
                with contextlib.suppress(OSError):  # pages of the kernel
                    memory.seek(start)
                    found += memory.read(end - start)
    return bytes(found)


def link(pid: int | str, namespace: str) -> str:
    return str(Path(f"/proc/{pid}/ns/{namespace}").readlink())


def groups_of(pid: int) -> dict[str, Path]:
    """Directories of the control groups of a process, by controller; version 2 has one under every name."""
    lines = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    found = {
        name: Path(f"/sys/fs/cgroup/{name}{path}") for _, names, path in lines for name in names.split(",") if names
    }
    unified = Path(f"/sys/fs/cgroup{lines[-1][2]}")
    return found or dict.fromkeys(("memory", "pids", "cpu"), unified)


def limits_of(pid: int) -> dict[str, float]:
    groups = groups_of(pid)

    def number(controller: str, name: str) -> list[int]:
        return [int(word) for word in (groups[controller] / name).read_text().split()]

    if (groups["memory"] / "memory.max").exists():
        quota, period = number("cpu", "cpu.max")
        [memory], [swap] = number("memory", "memory.max"), number("memory", "memory.swap.max")
    else:
        [quota], [period] = number("cpu", "cpu.cfs_quota_us"), number("cpu", "cpu.cfs_period_us")
        [memory] = number("memory", "memory.limit_in_bytes")
        both = groups["memory"] / "memory.memsw.limit_in_bytes"
        swap = int(both.read_text()) - memory if both.exists() else 0
    return {"memory": memory, "swap": swap, "pids": number("pids", "pids.max")[0], "cpus": quota / period}


def members_of_group(pid: int) -> list[int]:
    return [int(line) for line in (groups_of(pid)["pids"] / "cgroup.procs").read_text().split()]
