"""A dead box or daemon is the sandbox's fault: tried again, then ERROR; and whatever dies, nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import docker
import docker.errors
import psutil
import pytest

from espalier.verifiers.check import Claim, ProgramCheck, ProgramLimits, StdioCase
from espalier.verifiers.code.docker import LABEL
from espalier.verifiers.code.owner import owner_tag
from espalier.verifiers.code.pool import PooledSandbox
from espalier.verifiers.code.settings import SandboxSettings, open_sandbox
from espalier.verifiers.code.verifier import CodeVerifier
from espalier.verifiers.local import LocalVerifiers
from espalier.verifiers.verdict import Status
from tests.verifiers.code.boxes import KINDS, opened, unavailable

HELLO = Claim("print('hi')", bare=True)
SLOW = Claim("import time\ntime.sleep(1.5)\nprint('hi')", bare=True)
HI = ProgramCheck((StdioCase("", "hi"),), limits=ProgramLimits(case_seconds=10))

OWNER = """
import asyncio, sys
from espalier.verifiers.code.sandbox import BoxSpec, Command, Job
from espalier.verifiers.code.settings import SandboxSettings, open_sandbox

async def main():
    sandbox = await open_sandbox(SandboxSettings(kind=sys.argv[1], warm=2))
    await sandbox.wait_warm()
    command = Command(("/usr/bin/python3", "-c", "import time; time.sleep(100)"), seconds=100)
    async def job():
        async for _ in sandbox.run(Job(BoxSpec("python"), (command,))):
            pass
    running = asyncio.create_task(job())
    await asyncio.sleep(0.5)
    print("busy", flush=True)
    await running

asyncio.run(main())
"""


def my_containers(owner_pid: int) -> dict[str, str]:
    """Containers by id, with what the daemon says of each."""
    found = docker.from_env().api.containers(all=True, filters={"label": LABEL})
    mine = [item for item in found if f".{owner_pid}." in item["Labels"][LABEL]]
    return {
        item["Id"]: f"{item['State']}, {item['Status']}, made {time.time() - item['Created']:.0f} s ago"
        for item in mine
    }


def my_groups(owner_pid: int) -> list[Path]:
    """Control groups of this owner's boxes; those of other tests come and go meanwhile."""
    return [
        Path(top, name)
        for top, names, _ in os.walk("/sys/fs/cgroup")
        for name in names
        if name.startswith("espalier-box-") and f".{owner_pid}." in name
    ]


def processes_in(group: Path) -> set[int]:
    """Of a control group that may be gone."""
    try:
        return set(map(int, (group / "cgroup.procs").read_text().split()))
    except OSError:
        return set()


def left_behind(kind: str, owner_pid: int) -> list[object]:
    """What of this owner's boxes is still on the machine."""
    if kind == "docker":
        return [*my_containers(owner_pid).items()]
    processes = [p.pid for p in psutil.process_iter(["name"]) if p.info["name"] == "bwrap" and p.ppid() == owner_pid]
    return [*my_groups(owner_pid), *processes]


async def until(condition: Callable[[], bool], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if await asyncio.to_thread(condition):
            return True
        await asyncio.sleep(0.1)
    return False


def kill_boxes(kind: str) -> int:
    """Kill every box of this process from outside; how many there were."""
    if kind == "docker":
        containers = my_containers(os.getpid())
        for container in containers:
            with contextlib.suppress(docker.errors.APIError):  # gone in the meantime, or not yet started
                docker.from_env().api.kill(container)
        return len(containers)
    pids = set[int]().union(*map(processes_in, my_groups(os.getpid())))
    for pid in sorted(pids):  # the oldest is the box itself; a runner that outlives its program would report the death
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(pids)


@pytest.mark.parametrize("kind", KINDS)
async def test_boxes_killed_while_they_wait_cost_no_verdict(kind: str) -> None:
    async with opened(kind) as sandbox:
        await sandbox.wait_warm()
        assert await asyncio.to_thread(kill_boxes, kind) >= 2
        verdict = await LocalVerifiers([CodeVerifier(sandbox=sandbox)]).verify(HELLO, HI)
        assert verdict.status is Status.PASS


@pytest.mark.parametrize("kind", KINDS)
async def test_a_box_killed_at_work_is_replaced_and_the_claim_judged(kind: str) -> None:
    async with opened(kind, warm=0) as sandbox:  # the only box is the one at work
        judging = asyncio.create_task(LocalVerifiers([CodeVerifier(sandbox=sandbox)]).verify(SLOW, HI))
        await asyncio.sleep(0.5)
        assert await asyncio.to_thread(kill_boxes, kind)
        assert (await judging).status is Status.PASS


@pytest.mark.parametrize("kind", KINDS)
async def test_boxes_killed_again_and_again_are_an_error_never_a_fail(kind: str) -> None:
    async with opened(kind) as sandbox:
        judging = asyncio.create_task(LocalVerifiers([CodeVerifier(sandbox=sandbox)]).verify(SLOW, HI))
        while not judging.done():
            await asyncio.to_thread(kill_boxes, kind)
            await asyncio.sleep(0.05)
        assert (await judging).status is Status.ERROR


@pytest.mark.parametrize("kind", KINDS)
async def test_close_and_cancel_leave_nothing(kind: str) -> None:
    async with opened(kind) as sandbox:
        judging = asyncio.create_task(CodeVerifier(sandbox=sandbox).verify(SLOW, HI))
        await asyncio.sleep(0.3)
        judging.cancel()
        await asyncio.gather(judging, return_exceptions=True)
    await until(lambda: not left_behind(kind, os.getpid()))
    assert left_behind(kind, os.getpid()) == []


@pytest.mark.parametrize("kind", KINDS)
async def test_close_at_work_is_an_error_for_the_job_and_leaves_nothing(kind: str) -> None:
    async with opened(kind) as sandbox:
        judging = asyncio.create_task(CodeVerifier(sandbox=sandbox).verify(SLOW, HI))
        await asyncio.sleep(0.5)
    assert (await judging).status is Status.ERROR
    await until(lambda: not left_behind(kind, os.getpid()))
    assert left_behind(kind, os.getpid()) == []


@pytest.mark.parametrize("kind", KINDS)
async def test_an_owner_killed_at_work_leaves_nothing_once_another_starts(kind: str) -> None:
    async with opened(kind, warm=0):
        pass  # skips where there is no such sandbox
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, kind, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    assert owner.stdout is not None
    assert (await owner.stdout.readline()).strip() == b"busy"
    assert left_behind(kind, owner.pid)
    owner.kill()
    await owner.wait()
    successor = await open_sandbox(SandboxSettings.model_validate({"kind": kind, "warm": 0}))
    try:
        await until(lambda: not left_behind(kind, owner.pid))
        assert left_behind(kind, owner.pid) == []
    finally:
        await successor.close()


@pytest.mark.docker
async def test_the_reaper_removes_containers_of_dead_owners_and_no_others() -> None:
    async with opened("docker", warm=0):
        api = docker.from_env().api
        dead = await asyncio.create_subprocess_exec("true")
        await dead.wait()
        mine = owner_tag()
        world = mine.partition(".")[0]
        stale = api.create_container("espalier-sandbox:python", "true", labels={LABEL: f"{world}.{dead.pid}.1"})["Id"]
        foreign = api.create_container("espalier-sandbox:python", "true", labels={LABEL: "elsewhere.1.1"})["Id"]
        kept = api.create_container("espalier-sandbox:python", "true", labels={LABEL: mine})["Id"]
        try:
            successor = await open_sandbox(SandboxSettings(kind="docker", warm=0))
            await successor.close()
            left = {item["Id"] for item in api.containers(all=True, filters={"label": LABEL})}
            assert stale not in left
            assert {foreign, kept} <= left
        finally:
            for container in (foreign, kept):
                api.remove_container(container, force=True)


@pytest.fixture
def private_daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """A Docker daemon of this test's own, with the image; gives the function that kills it."""
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        unavailable("a daemon that may be killed needs root and dockerd")
    exported = subprocess.run(["docker", "image", "inspect", "espalier-sandbox:python"], capture_output=True)
    if exported.returncode:
        unavailable("the image espalier-sandbox:python is missing; run scripts/sandbox-image.sh")
    state = Path(tempfile.mkdtemp(prefix="dockerd-"))
    host = f"unix://{state}/sock"
    options = "--storage-driver overlay2 --exec-opt native.cgroupdriver=cgroupfs --bridge=none --iptables=false"
    options += " --ip6tables=false --ip-forward=false --ip-masq=false --userland-proxy=false"
    places = ["--data-root", state / "data", "--exec-root", state / "exec", "--pidfile", state / "pid"]
    with (state / "log").open("wb") as log:
        daemon = subprocess.Popen(["dockerd", "--host", host, *places, *options.split()], stdout=log, stderr=log)

    def kill() -> None:
        tree = [daemon, *psutil.Process(daemon.pid).children(recursive=True)] if daemon.poll() is None else []
        for process in tree:
            process.kill()
        daemon.wait()
        for process in psutil.process_iter(["cmdline"]):
            if str(state) in " ".join(process.info["cmdline"] or ()):
                process.kill()  # the shims of containerd, and with them the boxes

    try:
        for _ in range(150):
            if subprocess.run(["docker", "--host", host, "version"], capture_output=True).returncode == 0:
                break
            time.sleep(0.2)
        else:
            pytest.fail((state / "log").read_text()[-2000:])
        save = subprocess.Popen(["docker", "save", "espalier-sandbox:python"], stdout=subprocess.PIPE)
        subprocess.run(["docker", "--host", host, "load"], stdin=save.stdout, check=True, capture_output=True)
        monkeypatch.setenv("DOCKER_HOST", host)
        yield kill
    finally:
        kill()
        subprocess.run(f"grep -o ' {state}[^ ]*' /proc/mounts | xargs -r umount -l", shell=True)  # noqa: S602
        shutil.rmtree(state, ignore_errors=True)


@pytest.fixture
async def private_sandbox(private_daemon: Callable[[], None]) -> AsyncIterator[PooledSandbox]:
    async with opened("docker") as sandbox:
        yield sandbox


@pytest.mark.docker
@pytest.mark.slow
async def test_a_dead_daemon_is_an_error_and_health_says_so(
    private_daemon: Callable[[], None], private_sandbox: PooledSandbox
) -> None:
    verifier = CodeVerifier(sandbox=private_sandbox)
    await private_sandbox.wait_warm()
    assert (await verifier.verify(HELLO, HI)).status is Status.PASS
    assert (await private_sandbox.health()).ok
    judging = asyncio.create_task(verifier.verify(SLOW, HI))
    await asyncio.sleep(0.5)
    await asyncio.to_thread(private_daemon)
    assert (await judging).status is Status.ERROR
    assert (await verifier.verify(HELLO, HI)).status is Status.ERROR
    health = await private_sandbox.health()
    assert not health.ok
    assert "daemon" in health.detail
    assert await verifier.self_check()
