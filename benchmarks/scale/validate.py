"""The same small run twice: simulated, and for real with the services of deploy/compose.yaml."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from dataclasses import dataclass

from benchmarks.scale.measure import CANDIDATE_TOKENS, TASKS
from benchmarks.scale.measured import Measured
from benchmarks.scale.model import ServerLimits, Simulation
from deploy.stack import Stack, running

from espalier.solver.batch.connection import connect
from espalier.solver.batch.queue import JobQueue
from espalier.solver.core.policies import Adaptive
from espalier.solver.core.proto import encode_problem
from espalier.solver.core.sources import fresh_problems
from espalier.v1 import solver_pb2 as pb

LIMITS = ServerLimits(Adaptive(), k=8, workers=2, slots=4, verifiers=1)
RUNS = 40
"""Simulated runs, with different seeds."""

LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to; seconds are from the submission of all jobs."""

    seconds: float
    middle: float
    tokens: float
    lost_share: float
    candidates: float


def validate(measured: Measured, seed: int) -> str:
    """Both, side by side."""
    simulated = [_simulated(measured, seed + run) for run in range(RUNS)]
    real = asyncio.run(_real(len(measured.problems) // len(TASKS), seed))
    lines = [
        f"{len(measured.problems)} jobs at once, {LIMITS.workers} workers, {LIMITS.slots} slots, "
        f"adaptive, k = {LIMITS.k}",
        f"{'':28}{'real':>9}{'simulated':>11}{'of ' + str(RUNS) + ' runs, 5 to 95 %':>26}",
    ]
    names = {
        "seconds": "seconds until all are done",
        "middle": "median seconds of a job",
        "tokens": "tokens of a job",
        "lost_share": "share of tokens not won",
        "candidates": "candidates of a job",
    }
    for name, told in names.items():
        values = sorted(getattr(one, name) for one in simulated)
        low, high = values[int(0.05 * RUNS)], values[int(0.95 * RUNS)]
        lines.append(
            f"{told:28}{getattr(real, name):9.2f}{statistics.median(values):11.2f}{f'{low:.2f} to {high:.2f}':>26}"
        )
    return "\n".join(lines)


def _simulated(measured: Measured, seed: int) -> Outcome:
    simulation = Simulation(LIMITS, measured, seed)
    tally = simulation.run(measured.problems)
    jobs = len(measured.problems)
    tokens = tally.accepted + tally.failed + tally.aborted
    return Outcome(
        simulation.clock.now,
        statistics.median(tally.seconds),
        tokens / jobs,
        (tally.failed + tally.aborted) / tokens,
        tally.candidates / jobs,
    )


async def _real(problems: int, seed: int) -> Outcome:
    """Jobs on real workers with one thread each."""
    drawn = [encode_problem(problem) for task in TASKS for problem in fresh_problems(task, 11, problems)]
    with running({**os.environ, "THREADS": "1", "SANDBOX_WARM": "0"}) as stack:
        return await _solve(stack, drawn, seed)


async def _solve(stack: Stack, problems: list[object], seed: int) -> Outcome:
    settings = pb.Settings(k=LIMITS.k, candidate_tokens=CANDIDATE_TOKENS, seed=seed)
    async with connect(f"redis://{stack.address('redis', 6379)}/0") as client:
        queue = JobQueue(client)
        begun = time.perf_counter()
        waiting = set((await queue.submit(problems, settings)).job_ids)  # type: ignore[arg-type]
        ended: dict[str, float] = {}
        results: list[pb.SolveResponse] = []
        while waiting:
            for job in list(waiting):
                found = await queue.get(job)
                if found.HasField("result"):
                    waiting.discard(job)
                    ended[job] = time.perf_counter() - begun
                    results.append(found.result)
            await asyncio.sleep(LOOK_SECONDS)
    tokens = sum(_tokens(result.spent.accepted) + _lost(result) for result in results)
    return Outcome(
        max(ended.values()),
        statistics.median(ended.values()),
        tokens / len(results),
        sum(map(_lost, results)) / tokens,
        sum(len(result.candidates) for result in results) / len(results),
    )


def _lost(result: pb.SolveResponse) -> int:
    return _tokens(result.spent.failed) + _tokens(result.spent.aborted)


def _tokens(usage: object) -> int:
    return int(usage.sampled_tokens + usage.forced_tokens)  # type: ignore[attr-defined]
