"""Jobs per second and latency of the ways to run an untrusted program, on one Docker daemon in one run.

    python benchmarks/sandbox.py [--jobs 32] [--concurrency 1 2 4 8] [--sustained 15] [--only espalier] [--json FILE]

Every job is the same small Python program with an input, and every output is checked. A job is:

    docker run        a new container through the CLI, with the limits of our boxes, thrown away (cold)
    docker exec       a process in one long-lived container through the CLI: nothing parts the jobs
    llm-sandbox pool  a session of llm-sandbox's container pool; its containers are used again (pip install
                      'llm-sandbox[docker]'; its environment set-up is skipped as there is no network in a box)
    espalier docker   our pool: one box per job, made in long-lived containers; "warm": twice as many boxes ready as
                      there are jobs
    espalier bwrap    the same with bubblewrap

"Warm" is a burst into a full pool, short enough that the pool puts refilling off (it does until half of it is used).
"Sustained" keeps all clients busy for longer than any pool lasts, so that it measures how fast boxes are made.
"Single-use, no pool" starts without any box: what the first job of a spec waits for.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from espalier.verifiers.code.languages import LANGUAGES
from espalier.verifiers.code.pool import PooledSandbox
from espalier.verifiers.code.sandbox import BoxSpec, Command, Job
from espalier.verifiers.code.seccomp import docker_profile
from espalier.verifiers.code.settings import SandboxSettings, open_sandbox

PROGRAM = "print(sum(map(int, input().split())))"
STDIN, EXPECTED = "20 22\n", "42"
IMAGE = "espalier-sandbox:python"
METER = Path(f"/sys/fs/cgroup/cpuacct/espalier-benchmark-{os.getpid()}")
PEER_IMAGE = "espalier-sandbox-peer:python"
"""Our image with a shell and its tools, which llm-sandbox needs inside."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; seconds."""

    system: str
    concurrency: int
    jobs: int
    jobs_per_second: float
    p50: float
    p95: float
    p99: float
    cpu_ms: float | None = None
    """Processor milliseconds of a job: of this process and all below it, so without what a daemon does; None where
    they cannot be read."""


class System(ABC):
    """A way to run a program. `run_one` returns its standard output."""

    name: str

    @abstractmethod
    async def open(self, jobs: int, concurrency: int) -> None:
        """Make ready; not timed."""

    @abstractmethod
    async def run_one(self) -> str: ...

    @abstractmethod
    async def close(self) -> None:
        """Throw everything away; not timed."""


class Threaded(System):
    """A system with a blocking interface."""

    async def open(self, jobs: int, concurrency: int) -> None:
        self.threads = ThreadPoolExecutor(concurrency)

    async def run_one(self) -> str:
        return await asyncio.get_running_loop().run_in_executor(self.threads, self.blocking)

    @abstractmethod
    def blocking(self) -> str: ...

    async def close(self) -> None:
        self.threads.shutdown()


class DockerRun(Threaded):
    name = "docker run (cold)"

    async def open(self, jobs: int, concurrency: int) -> None:
        await super().open(jobs, concurrency)
        with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
            file.write(docker_profile())
        self.profile = Path(file.name)
        self.options = [
            *("--network=none", "--read-only", "--user=65534:65534", "--cap-drop=ALL", "--pids-limit=64"),
            *("--security-opt=no-new-privileges", f"--security-opt=seccomp={self.profile}"),
            *("--memory=288m", "--memory-swap=288m", "--cpus=1", "--ulimit=nofile=256:256", "--ulimit=core=0:0"),
            *("--tmpfs=/tmp:rw,nosuid,nodev,noexec,size=64m,nr_inodes=4096", "--log-driver=none"),
        ]

    def blocking(self) -> str:
        return output(["docker", "run", "--rm", "--interactive", *self.options, IMAGE, "python3", "-I", "-c", PROGRAM])

    async def close(self) -> None:
        await super().close()
        self.profile.unlink()


class DockerExec(Threaded):
    name = "docker exec (shared)"

    async def open(self, jobs: int, concurrency: int) -> None:
        await super().open(jobs, concurrency)
        self.container = f"espalier-benchmark-{secrets.token_hex(4)}"
        sleep = ["python3", "-c", "import time; time.sleep(3600)"]
        output(["docker", "run", "--rm", "--detach", "--network=none", "--name", self.container, IMAGE, *sleep])

    def blocking(self) -> str:
        return output(["docker", "exec", "--interactive", self.container, "python3", "-I", "-c", PROGRAM])

    async def close(self) -> None:
        await super().close()
        output(["docker", "rm", "--force", self.container])


class LlmSandbox(Threaded):
    name = "llm-sandbox pool (reused)"

    async def open(self, jobs: int, concurrency: int) -> None:
        await super().open(jobs, concurrency)
        from llm_sandbox.pool import PoolConfig, PooledSandboxSession, create_pool_manager

        self.session = PooledSandboxSession
        self.pool = create_pool_manager(
            backend="docker",
            config=PoolConfig(max_pool_size=concurrency, min_pool_size=concurrency, enable_prewarming=True),
            lang="python",
            image=PEER_IMAGE,
            skip_environment_setup=True,
            runtime_configs={"network_mode": "none", "user": "root"},
        )
        for _ in range(concurrency):
            self.blocking()

    def blocking(self) -> str:
        with self.session(pool_manager=self.pool) as session:
            result = session.run(f"import io, sys\nsys.stdin = io.StringIO({STDIN!r})\n{PROGRAM}")
            if result.exit_code:
                raise RuntimeError(f"llm-sandbox: {result.stderr}")
            return str(result.stdout)

    async def close(self) -> None:
        await super().close()
        self.pool.close()


class Espalier(System):
    def __init__(self, kind: str, *, warm: bool) -> None:
        self.name = f"espalier {kind} ({'single-use, warm' if warm else 'single-use, no pool'})"
        self.kind, self.warm = kind, warm

    async def open(self, jobs: int, concurrency: int) -> None:
        settings = {"kind": self.kind, "warm": 2 * jobs if self.warm else 0, "concurrency": concurrency}
        sandbox = await open_sandbox(SandboxSettings.model_validate(settings))
        assert isinstance(sandbox, PooledSandbox)
        self.sandbox = sandbox
        await sandbox.wait_warm()

    async def run_one(self) -> str:
        command = Command(LANGUAGES["python"].run, STDIN)
        job = Job(BoxSpec("python"), (command,), {"program.py": PROGRAM})
        return "".join([outcome.stdout.decode() async for outcome in self.sandbox.run(job)])

    async def close(self) -> None:
        await self.sandbox.close()


async def measure(system: System, jobs: int, concurrency: int) -> Row:
    """A burst of `jobs` jobs from `concurrency` clients."""
    try:
        await system.open(jobs, concurrency)
        left = iter(range(jobs))
        return await clients(system, system.name, concurrency, lambda: next(left, None) is not None)
    finally:
        await system.close()


async def sustain(system: System, seconds: float, concurrency: int, pool: int = 8) -> Row:
    """As many jobs as `concurrency` clients get done in `seconds`, out of a pool of `pool` boxes."""
    try:
        await system.open(pool // 2, concurrency)
        deadline = time.monotonic() + seconds
        name = f"{system.name}, sustained {seconds:g} s"
        return await clients(system, name, concurrency, lambda: time.monotonic() < deadline)
    finally:
        await system.close()


async def clients(system: System, name: str, concurrency: int, more: Callable[[], bool]) -> Row:
    latencies: list[float] = []

    async def client() -> None:
        while more():
            started = time.perf_counter()
            got = await system.run_one()
            latencies.append(time.perf_counter() - started)
            assert got.strip() == EXPECTED, f"{name} gave {got!r}"

    cpu_before = cpu_seconds()
    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(concurrency)))
    elapsed = time.perf_counter() - started
    cpu = None if cpu_before is None else 1000 * ((cpu_seconds() or 0.0) - cpu_before) / len(latencies)
    cuts = statistics.quantiles(latencies, n=100, method="inclusive") if len(latencies) > 1 else latencies * 99
    rate = len(latencies) / elapsed
    return Row(name, concurrency, len(latencies), rate, cuts[49], cuts[94], cuts[98], cpu)


def enter_meter() -> None:
    """Put this process, and so all that it starts, into a control group that counts processor time."""
    try:
        METER.mkdir()
        (METER / "cgroup.procs").write_text(str(os.getpid()))
    except OSError:
        return


def cpu_seconds() -> float | None:
    """Processor seconds of that group so far."""
    try:
        return int((METER / "cpuacct.usage").read_text()) / 1e9
    except OSError:
        return None


def output(command: list[str]) -> str:
    done = subprocess.run(command, input=STDIN, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:3])} …: {done.stderr.strip()}")
    return done.stdout


def build_peer_image() -> None:
    """Add a shell and its tools to our image (from Debian's busybox-static)."""
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(  # noqa: S602
            "apt-get -qq -o APT::Sandbox::User=root download busybox-static"
            " && dpkg-deb -x busybox-static_*.deb . && cp bin/busybox .",
            shell=True,
            check=True,
            cwd=directory,
            capture_output=True,
        )
        lines = [f"FROM {IMAGE}", "USER root", "COPY busybox /usr/bin/busybox"]
        lines += ['RUN ["/usr/bin/busybox", "--install", "-s", "/usr/bin"]', "RUN ln -sf python3 /usr/bin/python"]
        lines += ["RUN mkdir -p /sandbox/.sandbox-venv/bin && ln -s /usr/bin/python3 /sandbox/.sandbox-venv/bin/python"]
        lines += ['CMD ["/usr/bin/sleep", "86400"]']
        (Path(directory) / "Dockerfile").write_text("\n".join(lines))
        environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
        subprocess.run(
            ["docker", "build", "--quiet", "--network=none", "--tag", PEER_IMAGE, directory],
            check=True,
            env=environment,
            capture_output=True,
        )


async def run(arguments: argparse.Namespace, note: Callable[[str], Any]) -> list[Row]:
    systems: list[System] = [DockerRun(), DockerExec()]
    try:
        import llm_sandbox  # noqa: F401

        build_peer_image()
        systems.append(LlmSandbox())
    except (ImportError, subprocess.CalledProcessError) as error:
        note(f"llm-sandbox is left out: {error}")
    systems += [Espalier(kind, warm=warm) for kind in ("docker", "bwrap") for warm in (True, False)]
    rows: list[Row] = []

    async def attempt(label: str, work: Awaitable[Row]) -> None:
        note(label)
        try:
            rows.append(await work)
        except Exception as error:  # one system's trouble is no reason to lose the others' rows
            note(f"{label} is left out: {error}")

    for system in (system for system in systems if arguments.only in system.name):
        for concurrency in arguments.concurrency:
            await attempt(f"{system.name}, {concurrency} clients", measure(system, arguments.jobs, concurrency))
    for kind in ("docker", "bwrap"):
        system = Espalier(kind, warm=True)
        await attempt(f"{system.name}, sustained", sustain(system, arguments.sustained, max(arguments.concurrency)))
    return rows


def show(rows: list[Row], console: Console) -> None:
    load = os.getloadavg()[0]
    table = Table(title=f"One small Python program, {os.cpu_count()} processors, load {load:.1f} at the end")
    for column in ("system", "clients", "jobs", "jobs/s", "p50 ms", "p95 ms", "p99 ms", "CPU ms"):
        table.add_column(column, justify="left" if column == "system" else "right")
    for row in rows:
        milliseconds = [f"{1000 * value:.1f}" for value in (row.p50, row.p95, row.p99)]
        cpu = "" if row.cpu_ms is None else f"{row.cpu_ms:.1f}"
        table.add_row(row.system, str(row.concurrency), str(row.jobs), f"{row.jobs_per_second:.2f}", *milliseconds, cpu)
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=32, help="jobs of each burst")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 2, 4, 8], help="numbers of clients")
    parser.add_argument("--sustained", type=float, default=15, help="seconds of the sustained runs")
    parser.add_argument("--only", default="", help="only systems whose name contains this")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    arguments = parser.parse_args()
    enter_meter()
    notes = Console(stderr=True)
    rows = asyncio.run(run(arguments, notes.print))
    show(rows, Console(width=110))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
