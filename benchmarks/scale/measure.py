"""Measures the real parts on this machine, one after the other.

What is timed is timed several times, and the quietest run counts: whatever else runs on the machine only adds to it.
Decoding steps, Redis and workers are measured in processor time, which does not hold what others take.
"""

from __future__ import annotations

import asyncio
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import redis as redis_client
import torch
from benchmarks.engine import Scripted, decode, sequential
from benchmarks.job_queue import redis_server
from benchmarks.scale.measured import Measured, Sampled

from espalier.common.logging import configure_logging
from espalier.common.security import ServerSecurity
from espalier.runtime.engine import FinishReason, Limits, Usage
from espalier.runtime.grammar import Vocabulary
from espalier.runtime.local import LocalEngine
from espalier.solver.batch.connection import connect
from espalier.solver.batch.keys import Keys
from espalier.solver.batch.queue import JobQueue
from espalier.solver.batch.worker import Worker
from espalier.solver.core.candidate import Candidate, Spec
from espalier.solver.core.events import Observer
from espalier.solver.core.generation import Generation
from espalier.solver.core.journal import Entry, Journal
from espalier.solver.core.loop import Solver
from espalier.solver.core.policies import BestOfK
from espalier.solver.core.policy import Budget
from espalier.solver.core.prompts import templates_of
from espalier.solver.core.sources import fresh_problems
from espalier.v1 import common_pb2
from espalier.v1 import solver_pb2 as pb
from espalier.verifiers.check import CallCase, Check, Claim, ProgramCheck, ReferenceCheck
from espalier.verifiers.local import LocalVerifiers, load
from espalier.verifiers.remote import RemoteVerifiers
from espalier.verifiers.service import ServerSettings, VerifierServer
from espalier.verifiers.verdict import Status, Verdict

TASKS = ("gcd", "lcm", "simple_equations", "countdown", "number_sequence", "puzzle24")
BATCHES = (1, 2, 4, 8, 16, 32)
STEPS = 48
CANDIDATE_TOKENS = 1024
SOLVES_AT_ONCE = 12
VERDICTS = 400
PROGRAMS = 40
RUNS = 5
"""Of what is timed."""

JOBS = 400
CANDIDATES = (1, 5)
"""Candidates of a no-op job in two runs: the difference is what a candidate costs."""

LOAD = """
import asyncio
from espalier.runtime.open import open_engine
async def load():
    async with open_engine("local"):
        pass
asyncio.run(load())
"""


PARTS = ("steps", "problems", "verdicts", "queue", "start")


async def measure(problems: int, samples: int, parts: Collection[str], known: dict[str, Any]) -> Measured:
    """The parts that are asked for; of the others what is known.

    Args:
        problems: Of each task.
        samples: Of each problem.
        parts: Of `PARTS`.
        known: Fields of an earlier measurement.
    """
    configure_logging("error")
    torch.set_num_threads(1)
    found: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, one torch thread"
    }
    if "steps" in parts:
        found["steps"] = await _steps()
    if "problems" in parts:
        found["problems"] = await _problems(problems, samples)
    if "verdicts" in parts:
        found["math_seconds"] = await _verdicts("math", _math_claim, VERDICTS)
        found["program_seconds"] = await _verdicts("code", _program, PROGRAMS)
    if "queue" in parts:
        few, many = [min([await _queue(count) for _ in range(RUNS)]) for count in CANDIDATES]
        each = (many[0] - few[0]) / (CANDIDATES[1] - CANDIDATES[0])
        found |= {"redis_seconds": max(0.0, few[0] - each), "redis_candidate_seconds": each, "worker_seconds": few[1]}
    if "start" in parts:
        found["start_seconds"] = _start()
    return Measured(**(known | found))


async def _steps() -> dict[int, float]:
    """Processor seconds of a decoding step by branches in the batch."""
    engine = LocalEngine.load()
    engine._sampler = Scripted(Vocabulary.of(engine.tokenizer))
    prompt = tuple(engine.tokenizer.encode("Using the numbers 19, 36, 55 and 7, make 65. " * 4))
    found: dict[int, float] = {}
    async with engine:
        await decode(engine, sequential(prompt, 2, 16, "warm"))
        for count in BATCHES:
            runs = []
            for run in range(RUNS):
                begun = time.process_time()
                await decode(engine, sequential(prompt, count, STEPS, f"{run}-{count}"))
                runs.append(time.process_time() - begun)
            found[count] = max(min(runs) / STEPS, *found.values(), 0.0)
    return found


async def _problems(count: int, samples: int) -> list[list[Sampled]]:
    """Candidates of fresh problems, each solved alone with k = 1."""
    free = asyncio.Semaphore(SOLVES_AT_ONCE)
    async with LocalEngine.load() as engine, LocalVerifiers(load(["math"])) as judge:
        generation = Generation(limits=Limits(max_tokens=CANDIDATE_TOKENS))
        solver = Solver(engine, judge, templates_of(engine, {}), generation)

        async def one(task: str, number: int, seed: int) -> Sampled:
            async with free:
                problem = fresh_problems(task, 11, count)[number]
                result = await solver.solve(problem, BestOfK(), Budget(1), seed=seed)
                candidate, verdict = result.judged[0].candidate, result.judged[0].verdict
                return candidate.usage.new_tokens, candidate.usage.critical_path_tokens, verdict.passed

        return [
            list(await asyncio.gather(*(one(task, number, seed) for seed in range(samples))))
            for task in TASKS
            for number in range(count)
        ]


Numbered = Callable[[int], tuple[Claim, Check]]


def _math_claim(number: int) -> tuple[Claim, Check]:
    return Claim(rf"\frac{{{2 * number}}}{{4}}", bare=True), ReferenceCheck(f"{number}/2")


def _program(number: int) -> tuple[Claim, Check]:
    check = ProgramCheck((CallCase("square", "[12]", "144"),))
    return Claim(f"def square(x):\n    return x * x  # {number}\n", bare=True), check


async def _verdicts(verifier: str, make: Numbered, count: int) -> list[float]:
    """Seconds of each verdict through a real server, one after the other. No claim comes twice: verifiers remember."""
    server = VerifierServer(LocalVerifiers(load([verifier])), ServerSettings(address="127.0.0.1:0"), ServerSecurity())
    address = f"127.0.0.1:{await server.start()}"
    runs = []
    async with RemoteVerifiers([address]) as client:
        await client.verify(*make(0), timeout=60)
        for run in range(RUNS):
            seconds = []
            for number in range(run * count + 1, (run + 1) * count + 1):
                begun = time.perf_counter()
                verdict = await client.verify(*make(number), timeout=60)
                seconds.append(time.perf_counter() - begun)
                assert verdict.passed, verdict
            runs.append(seconds)
    await server.drain()
    return [round(value, 6) for value in min(runs, key=statistics.median)]


async def _queue(candidates: int) -> tuple[float, float]:
    """Processor seconds of Redis and of the worker for one job that stores so many candidates."""
    spec = Spec(0, 0, 1, 1.0)
    candidate = Candidate(spec, "x" * 1500, "42", (), FinishReason.STOP, Usage(100, 500, 20, 250), 1.0)

    async def work(job: pb.Job, observer: Observer, journal: Journal, entries: Sequence[Entry]) -> pb.SolveResponse:
        for index in range(candidates):
            numbered = replace(candidate, spec=replace(spec, index=index))
            await journal.generated(numbered)
            await journal.judged(numbered, Verdict(Status.FAIL, 0.0, "measure"))
        return pb.SolveResponse(solve_id=job.id, answer="42")

    with redis_server() as port:
        url = f"redis://127.0.0.1:{port}/0"
        async with connect(url) as client:
            queue = JobQueue(client, Keys())
            submitted = await queue.submit([common_pb2.Problem(id=str(i), text=f"Problem {i}") for i in range(JOBS)])
            before, own = _processor(port), time.process_time()
            stop = asyncio.Event()
            running = asyncio.create_task(Worker(client, url, work, slots=16).run(stop))
            while (await queue.depth()).total:  # noqa: ASYNC110 (the queue has no event for it)
                await asyncio.sleep(0.05)
            assert len(submitted.job_ids) == JOBS
            used = _processor(port) - before, time.process_time() - own
            stop.set()
            await running
    return used[0] / JOBS, used[1] / JOBS


def _processor(port: int) -> float:
    with redis_client.Redis(port=port) as client:
        told = client.info("cpu")
        return float(told["used_cpu_sys"]) + float(told["used_cpu_user"])


def _start() -> float:
    """Seconds until a worker's process could take a job: it has imported everything and loaded the model."""
    runs = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", LOAD], check=True, cwd=Path(__file__).parents[2])
        runs.append(time.perf_counter() - begun)
    return min(runs)
