"""Worker processes that are killed and replaced, and the log of what they did."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.chaos.conftest import LEASE

ROOT = Path(__file__).parents[2]
EXIT_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Line:
    """Something that a worker noted."""

    nanoseconds: int
    pid: int
    what: str
    whom: str


@dataclass
class Crew:
    """So many workers on one queue, all the time. Leaving the context kills them.

    Attributes:
        url: Of Redis.
        log: Where they note what they do.
        size: How many.
        lease: Seconds of a lease.
        deliveries: At most, of a job.
        seconds: About how long a candidate takes.
        keep: Seconds that results are kept.
    """

    url: str
    log: Path
    size: int = 3
    lease: float = LEASE
    deliveries: int = 50
    seconds: float = 0.05
    keep: int = 3600
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    replaced: int = 0

    def __enter__(self) -> Self:
        self.workers = [self._spawn() for _ in range(self.size)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()

    def kill(self, number: int) -> None:
        """Kill a worker and put a new one in its place."""
        self.workers[number].kill()
        self.workers[number].wait()
        self.workers[number] = self._spawn()

    def replace_the_dead(self) -> None:
        """Put a new worker in the place of each that died by itself."""
        for number, worker in enumerate(self.workers):
            if worker.poll() is not None:
                self.workers[number] = self._spawn()
                self.replaced += 1

    def signal(self, number: int, what: signal.Signals) -> None:
        self.workers[number].send_signal(what)

    async def left(self) -> list[int]:
        """Exit statuses, once all have left by themselves."""
        return [await asyncio.to_thread(worker.wait, EXIT_SECONDS) for worker in self.workers]

    def lines(self) -> list[Line]:
        """What was noted so far, in order."""
        if not self.log.exists():
            return []
        rows = (row.split() for row in self.log.read_text().splitlines())
        return sorted(
            (Line(int(at), int(pid), what, whom) for at, pid, what, whom in rows), key=lambda line: line.nanoseconds
        )

    async def ready(self) -> None:
        """Wait until every worker takes signals."""
        await self.reach(self.size, "ready")

    async def busy(self, order: Sequence[int]) -> int:
        """The first worker in this order that is at work on a job; waits while none is."""
        while True:
            for number in order:
                if self.jobs_of(number):
                    return number
            await asyncio.sleep(0.01)

    def jobs_of(self, number: int) -> set[str]:
        """The jobs that a worker is at work on."""
        pid, jobs = self.workers[number].pid, set[str]()
        for line in self.lines():
            if line.pid == pid and line.what == "deliver":
                jobs.add(line.whom)
            elif line.pid == pid and line.what == "solved":
                jobs.discard(line.whom)
        return jobs

    async def stop_at_work(self, number: int) -> set[str]:
        """SIGSTOP a worker while it is at work; the jobs that it sleeps on."""
        while True:
            await self.busy([number])
            self.signal(number, signal.SIGSTOP)
            if jobs := self.jobs_of(number):
                return jobs
            self.signal(number, signal.SIGCONT)

    async def taken_over(self, jobs: set[str], number: int) -> None:
        """Wait until another worker than this one has one of the jobs."""
        pid = self.workers[number].pid
        while not any(  # noqa: ASYNC110
            line.what == "deliver" and line.pid != pid and line.whom in jobs for line in self.lines()
        ):
            await asyncio.sleep(0.05)

    async def reach(self, count: int, what: str = "stored") -> None:
        """Wait for so many lines of a kind."""
        while sum(line.what == what for line in self.lines()) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    def counts(self, what: str) -> Counter[str]:
        """How often each was noted."""
        return Counter(line.whom for line in self.lines() if line.what == what)

    def _spawn(self) -> subprocess.Popen[bytes]:
        numbers = (self.lease, self.deliveries, self.seconds, self.keep)
        settings = [self.url, str(self.log), *map(str, numbers)]
        return subprocess.Popen([sys.executable, "-m", "tests.chaos.worker", *settings], cwd=ROOT)


def done_again(lines: list[Line], done: str, kept: str) -> list[str]:
    """Seeds for which something was done after its outcome was known to be kept; `judged` implies `stored`."""
    kept_at: dict[str, int] = {}
    begun: dict[str, list[int]] = defaultdict(list)
    for line in lines:
        if line.what == kept or line.what == "judged":
            kept_at.setdefault(line.whom, line.nanoseconds)
        if line.what == done:
            begun[line.whom].append(line.nanoseconds)
    return [seed for seed, at in kept_at.items() if any(start > at for start in begun[seed])]
