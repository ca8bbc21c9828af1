"""Service times that were measured on a machine, as a small file of JSON."""

from __future__ import annotations

import json
from bisect import bisect_left
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = Path(__file__).with_name("measured.json")

Sampled = tuple[int, int, bool]
"""One candidate: new tokens, critical path, and whether it passed."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What the parts take.

    Attributes:
        machine: Where it was measured.
        steps: Branches in the engine's batch → seconds of one decoding step, rising.
        problems: Candidates of each problem as solves end them: one that states the right answer early is cut there.
        math_seconds: Verdicts on answers, one caller, over gRPC.
        program_seconds: Verdicts on small programs, each in a box of its own that has to be made meanwhile.
        redis_seconds: Processor time of Redis for a job.
        redis_candidate_seconds: And for each of its candidates.
        worker_seconds: Processor time of a worker for a job, without decoding.
        start_seconds: From the start of a worker's process to its first job.
    """

    machine: str
    steps: dict[int, float]
    problems: list[list[Sampled]]
    math_seconds: list[float]
    program_seconds: list[float]
    redis_seconds: float
    redis_candidate_seconds: float
    worker_seconds: float
    start_seconds: float

    def step(self, branches: float) -> float:
        """Seconds of a decoding step, between the measured points on straight lines, beyond them in proportion."""
        counts = sorted(self.steps)
        if branches >= counts[-1]:
            return self.steps[counts[-1]] * branches / counts[-1]
        above = counts[bisect_left(counts, branches)]
        below = max((count for count in counts if count < branches), default=above)
        if above == below or branches <= counts[0]:
            return self.steps[above]
        share = (branches - below) / (above - below)
        return (1 - share) * self.steps[below] + share * self.steps[above]


def read(path: Path = FILE) -> Measured:
    """What `measure` wrote."""
    said = json.loads(path.read_text("utf-8"))
    steps = {int(count): seconds for count, seconds in said.pop("steps").items()}
    problems = [[(tokens, critical, passed) for tokens, critical, passed in one] for one in said.pop("problems")]
    return Measured(steps=steps, problems=problems, **said)


def write(measured: Measured, path: Path = FILE) -> None:
    """Keep it for `read`."""
    path.write_text(json.dumps(asdict(measured)) + "\n", encoding="utf-8")
