"""What hundreds of workers do: a simulation with the real policies and measured service times.

    python -m benchmarks.scale_sim measure      # times the real parts on this machine → benchmarks/scale/measured.json
    python -m benchmarks.scale_sim              # simulates 100,000 jobs and more; prints the table
    python -m benchmarks.scale_sim validate     # the same small run in the simulation and for real

For each row a backlog is worked off first: that gives the capacity, and the share of the time in which each part works
when there is always work. Then jobs come at random times at 80 % of the capacity: that gives latencies and tokens. Left
out: the time for reading prompts, the network between machines, that machines differ, and that Redis or verifiers fail.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from benchmarks.scale.measured import FILE, Measured, read, write
from benchmarks.scale.model import ServerLimits, Simulation, Tally, with_failures

from espalier.solver.core.policies import Adaptive, BestOfK

LOAD = 0.8
"""Jobs come at this share of the capacity."""

BACKLOG = 50
"""Jobs of the backlog for each worker."""

PLAIN = ServerLimits(Adaptive())

ROWS = {
    "50 workers": replace(PLAIN, workers=50),
    "200 workers": PLAIN,
    "200 workers, 1 slot": replace(PLAIN, slots=1),
    "200 workers, best_of_k": replace(PLAIN, policy=BestOfK()),
    "200 workers, failures": with_failures(PLAIN),
    "200 workers, programs, 2 verifiers": replace(PLAIN, programs=True),
    "200 workers, programs, 40 verifiers": replace(PLAIN, programs=True, verifiers=40),
    "800 workers": replace(PLAIN, workers=800),
}


@dataclass(frozen=True, slots=True)
class Row:
    """What a limits does.

    Attributes:
        capacity: Jobs a second while there is always work.
        rate: Jobs a second that came, and were done.
        seconds: Of a job from its submission to its result.
        tally: Tokens and ends.
        elapsed: Simulated seconds.
        loads: Share of its time that each part worked while there was always work.
    """

    capacity: float
    rate: float
    seconds: Sequence[float]
    tally: Tally
    elapsed: float
    loads: dict[str, float]

    @property
    def tokens(self) -> float:
        """All new tokens."""
        return self.tally.accepted + self.tally.failed + self.tally.aborted + self.tally.lost

    @property
    def first(self) -> str:
        """The part that is at its limit first."""
        return max(self.loads, key=lambda part: self.loads[part])


def simulate(limits: ServerLimits, measured: Measured, jobs: int, seed: int) -> Row:
    """Work off a backlog, then serve jobs as they come."""
    draw = random.Random(seed)
    backlog = Simulation(limits, measured, seed)
    backlog.run(draw.choices(measured.problems, k=BACKLOG * limits.workers))
    done_by = sorted(backlog.tally.seconds)
    middle = len(done_by) * 8 // 10  # the last ones run while others have nothing left to do
    capacity = middle / done_by[middle]
    loads = {
        "engine": statistics.fmean(worker.busy for worker in backlog.workers) / backlog.clock.now,
        "verifier": backlog.verifiers.load(),
        "redis": backlog.redis.load(),
    }
    serving = Simulation(limits, measured, seed + 1)
    tally = serving.run(draw.choices(measured.problems, k=jobs), LOAD * capacity)
    elapsed = serving.clock.now
    return Row(capacity, tally.done / elapsed, sorted(tally.seconds), tally, elapsed, loads)


def table(rows: dict[str, Row], jobs: int, measured: Measured) -> str:
    """The rows for people."""
    lines = [
        f"{jobs:,} jobs in each row, k = {PLAIN.k}, {PLAIN.slots} slots a worker unless said; "
        f"jobs come at {LOAD:.0%} of the capacity",
        "engine, verif., redis: share of the time in which they work while there is always work",
        f"service times: {measured.machine}; jobs given up: {sum(row.tally.dead for row in rows.values())}",
        f"{'':36}{'capacity':>9}{'p50':>7}{'p95':>7}{'p99':>7}{'tokens':>9}{'not won':>8}{'lost':>7}{'again':>7}"
        f"{'engine':>8}{'verif.':>7}{'redis':>7}  first",
        f"{'':36}{'jobs/s':>9}{'s':>7}{'s':>7}{'s':>7}{'/s':>9}{'%':>8}{'%':>7}{'jobs':>7}{'%':>8}{'%':>7}{'%':>7}",
    ]
    for name, row in rows.items():
        p50, p95, p99 = (row.seconds[int(share * (len(row.seconds) - 1))] for share in (0.50, 0.95, 0.99))
        engine, verifier, redis = (100 * row.loads[part] for part in ("engine", "verifier", "redis"))
        lines.append(
            f"{name:36}{row.capacity:9.1f}{p50:7.1f}{p95:7.1f}{p99:7.1f}{row.tokens / row.elapsed:9,.0f}"
            f"{100 * (row.tally.failed + row.tally.aborted) / row.tokens:8.1f}{100 * row.tally.lost / row.tokens:7.2f}"
            f"{row.tally.redelivered:7,}{engine:8.1f}{verifier:7.1f}{redis:7.1f}  {row.first}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("simulate", "measure", "validate"), default="simulate")
    parser.add_argument("--jobs", type=int, default=100_000, help="of each row")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="the row of this name alone")
    parser.add_argument(
        "--part",
        action="append",
        choices=("steps", "problems", "verdicts", "queue", "start"),
        help="measure: this part alone, and keep the others; repeat for several",
    )
    parser.add_argument("--problems", type=int, default=6, help="measure: of each of six tasks")
    parser.add_argument("--samples", type=int, default=6, help="measure: of each problem")
    arguments = parser.parse_args()
    if arguments.what == "measure":
        from benchmarks.scale.measure import PARTS, measure

        parts = arguments.part or PARTS
        known = {} if set(parts) == set(PARTS) else asdict(read())
        write(asyncio.run(measure(arguments.problems, arguments.samples, parts, known)))
        print(f"written to {FILE}")
        return
    measured = read()
    if arguments.what == "validate":
        from benchmarks.scale.validate import validate

        print(validate(measured, arguments.seed))
        return
    begun = time.perf_counter()
    chosen = {name: limits for name, limits in ROWS.items() if arguments.only in (None, name)}
    rows = {name: simulate(limits, measured, arguments.jobs, arguments.seed) for name, limits in chosen.items()}
    print(table(rows, arguments.jobs, measured))
    print(f"simulated in {time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
