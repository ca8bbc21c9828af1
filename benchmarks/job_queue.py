"""Jobs per second through the queue with work that does nothing, beside arq and rq on the same Redis.

    python -m benchmarks.job_queue --jobs 5000 --rounds 3

Each library gets the same server in the same run (append-only file, fsync everysec), as many worker processes, and as
many jobs at a time where it can have several. Jobs are queued first; then workers start, and the clock runs from the
first jobs that are seen done to the last. arq and rq are installed into an environment of their own
(.work/bench-queue). arq gets a poll delay of 10 ms instead of 500 ms, rq also its worker without fork: both are faster
so than as they come.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from espalier.common.logging import configure_logging
from espalier.common.ports import free_port
from espalier.solver.batch.connection import connect
from espalier.solver.batch.keys import Keys
from espalier.solver.batch.queue import MAX_JOBS, JobQueue
from espalier.solver.batch.run import run_worker
from espalier.solver.core.events import Observer
from espalier.solver.core.journal import Entry, Journal
from espalier.v1 import common_pb2
from espalier.v1 import solver_pb2 as pb

ROOT = Path(__file__).parents[1]
OTHERS = ROOT / ".work" / "bench-queue"
PACKAGES = ("arq==0.26.3", "rq==2.6.0")
LOOK_SECONDS = 0.01
LONGEST_SECONDS = 300.0

ARQ_SUBMIT = """
import asyncio, sys
from arq import create_pool
from arq.connections import RedisSettings
async def main(port, jobs):
    pool = await create_pool(RedisSettings(port=port))
    for start in range(0, jobs, 100):
        wanted = range(start, min(start + 100, jobs))
        await asyncio.gather(*(pool.enqueue_job("nothing", f"Problem {i}") for i in wanted))
asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
"""
ARQ_WORK = """
import asyncio, sys
from arq.connections import RedisSettings
from arq.worker import Worker, func
async def nothing(ctx, text):
    return text
async def main(port, slots):
    settings = RedisSettings(port=port)
    await Worker([func(nothing)], redis_settings=settings, max_jobs=slots, poll_delay=0.01, handle_signals=False).main()
asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
"""
RQ_SUBMIT = """
import sys
from redis import Redis
from rq import Queue
queue = Queue(connection=Redis(port=int(sys.argv[1])))
jobs = int(sys.argv[2])
for start in range(0, jobs, 1000):
    wanted = range(start, min(start + 1000, jobs))
    queue.enqueue_many([Queue.prepare_data("builtins.len", (f"Problem {i}",)) for i in wanted])
"""
RQ_WORK = """
import logging, sys
from redis import Redis
from rq import Queue, SimpleWorker, Worker
kind = {{"fork": Worker, "simple": SimpleWorker}}["{kind}"]
connection = Redis(port=int(sys.argv[1]))
kind([Queue(connection=connection)], connection=connection).work(logging_level="ERROR")
"""


@dataclass(frozen=True, slots=True)
class Contender:
    """A queue in the race.

    Attributes:
        name: In the table.
        submit: Command that queues jobs; gets port and number of jobs.
        work: Command of one worker; gets port and slots.
        done: How many jobs are done, of so many.
    """

    name: str
    submit: Sequence[str]
    work: Sequence[str]
    done: Callable[[redis.Redis, int], int]


async def nothing(job: pb.Job, observer: Observer, journal: Journal, entries: Sequence[Entry]) -> pb.SolveResponse:
    """The work that does nothing."""
    return pb.SolveResponse(solve_id=job.id, answer=job.problem.text)


def contenders() -> list[Contender]:
    ours, theirs = sys.executable, str(OTHERS / "bin" / "python")
    me = (ours, "-m", "benchmarks.job_queue")
    finished = "rq:finished:default"
    return [
        Contender("espalier", (*me, "--submit"), (*me, "--work"), lambda r, n: n - _left(r)),
        Contender(
            "arq", (theirs, "-c", ARQ_SUBMIT), (theirs, "-c", ARQ_WORK), lambda r, n: n - int(r.zcard("arq:queue"))
        ),
        Contender(
            "rq (no fork)",
            (theirs, "-c", RQ_SUBMIT),
            (theirs, "-c", RQ_WORK.format(kind="simple")),
            lambda r, n: int(r.zcard(finished)),
        ),
        Contender(
            "rq",
            (theirs, "-c", RQ_SUBMIT),
            (theirs, "-c", RQ_WORK.format(kind="fork")),
            lambda r, n: int(r.zcard(finished)),
        ),
    ]


def _left(client: redis.Redis) -> int:
    """Jobs that wait or run."""
    return int(client.zcard(Keys().waiting)) + int(client.xlen(Keys().jobs))


async def submit(port: int, jobs: int) -> None:
    async with connect(f"redis://127.0.0.1:{port}/0") as client:
        problems = [common_pb2.Problem(id=str(i), text=f"Problem {i}") for i in range(jobs)]
        for start in range(0, jobs, MAX_JOBS):
            await JobQueue(client).submit(problems[start : start + MAX_JOBS])


def work(port: int, slots: int) -> None:
    configure_logging("warning")
    asyncio.run(run_worker(f"redis://127.0.0.1:{port}/0", nothing, slots=slots, grace=1.0))


@contextmanager
def redis_server() -> Iterator[int]:
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        here = ["--port", str(port), "--bind", "127.0.0.1", "--dir", directory, "--save", "", "--appendonly", "yes"]
        server = subprocess.Popen(["redis-server", *here], stdout=subprocess.DEVNULL)
        try:
            with redis.Redis(port=port) as client:
                while not _answers(client):
                    time.sleep(0.05)
            yield port
        finally:
            server.terminate()
            server.wait()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def race(contender: Contender, port: int, jobs: int, workers: int, slots: int) -> float:
    """Jobs per second."""
    with redis.Redis(port=port) as client:
        client.flushall()
        subprocess.run([*contender.submit, str(port), str(jobs)], check=True, cwd=ROOT)
        begun = time.perf_counter()
        crew = [
            subprocess.Popen([*contender.work, str(port), str(slots)], cwd=ROOT, stderr=subprocess.DEVNULL)
            for _ in range(workers)
        ]
        try:
            first, first_at = 0, begun
            while (done := contender.done(client, jobs)) < jobs:
                now = time.perf_counter()
                if not first and done > 0:
                    first, first_at = done, now
                if now - begun > LONGEST_SECONDS:
                    raise SystemExit(f"{contender.name}: {done} of {jobs} jobs after {LONGEST_SECONDS:.0f} s")
                time.sleep(LOOK_SECONDS)
            seconds = time.perf_counter() - first_at
        finally:
            for worker in crew:
                worker.kill()
                worker.wait()
    return (jobs - first) / seconds


def install_others() -> None:
    if not (OTHERS / "bin" / "arq").exists():
        venv.create(OTHERS, with_pip=True)
        pip = [str(OTHERS / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *PACKAGES], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--slots", type=int, default=32, help="jobs at a time in each process")
    parser.add_argument("--rounds", type=int, default=3, help="races; medians are shown")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--submit", nargs=2, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--work", nargs=2, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.submit:
        asyncio.run(submit(*args.submit))
        return
    if args.work:
        work(*args.work)
        return
    if shutil.which("redis-server") is None:
        raise SystemExit("redis-server is missing; bash scripts/redis.sh installs it")
    install_others()
    rates: dict[str, list[float]] = {contender.name: [] for contender in contenders()}
    with redis_server() as port:
        for _ in range(args.rounds):
            for contender in contenders():
                rates[contender.name].append(race(contender, port, args.jobs, args.workers, args.slots))
    medians = {name: statistics.median(found) for name, found in rates.items()}
    if args.json:
        print(json.dumps({"jobs": args.jobs, "workers": args.workers, "cores": os.cpu_count(), "jobs_per_s": rates}))
        return
    print(
        f"{args.jobs} jobs, {args.workers} workers of {args.slots} slots, {os.cpu_count()} cores, {args.rounds} rounds"
    )
    for name, rate in sorted(medians.items(), key=lambda item: -item[1]):
        print(f"{name:14}{rate:10.0f} jobs/s   ({', '.join(f'{found:.0f}' for found in rates[name])})")
    fastest = max(rate for name, rate in medians.items() if name != "espalier")
    print(f"espalier does {medians['espalier'] / fastest:.2f} times what the faster library does")


if __name__ == "__main__":
    main()
