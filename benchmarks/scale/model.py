"""A limits of hundreds of workers in simulated time: real policies, measured service times, and parts that fail.

Time jumps from event to event. An engine is shared by the candidates on it: a step takes longer the more branches it
decodes, as measured. Verifiers and Redis are lines in front of servers. A worker that dies loses what was being
generated; what it had stored is kept, its jobs go to others when their leases have run out. All as the queue promises
(docs/batch.md).
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from benchmarks.scale.measured import Measured, Sampled

from espalier.runtime.engine import FinishReason, Usage
from espalier.solver.core.candidate import Candidate, Spec
from espalier.solver.core.policy import Budget, Policy, PolicyState, begin
from espalier.verifiers.verdict import Status, Verdict

Then = Callable[[], None]

VERDICTS = {
    True: Verdict(Status.PASS, 1.0, "simulated"),
    False: Verdict(Status.FAIL, 0.0, "simulated"),
}


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What is simulated.

    Attributes:
        policy: Decides, as in a real solve.
        k: Candidates of a job at most.
        workers: Processes, each with an engine of its own.
        slots: Jobs that a worker takes at once.
        verifiers: Processes of the verifier service.
        programs: Whether answers are programs, and run in boxes.
        worker_hours: Mean hours until a worker's process or machine dies; 0: never.
        engine_hours: Mean hours until an engine is lost: its worker hands its jobs back and starts again.
        lease: Seconds until the jobs of a silent worker go to another.
        max_deliveries: After so many a job is given up.
    """

    policy: Policy
    k: int = 8
    workers: int = 200
    slots: int = 4
    verifiers: int = 2
    programs: bool = False
    worker_hours: float = 0.0
    engine_hours: float = 0.0
    lease: float = 30.0
    max_deliveries: int = 5


class Clock:
    """Simulated time, and what happens when."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Then]] = []
        self._numbers = count()

    def after(self, seconds: float, then: Then) -> None:
        """Do something in so many seconds."""
        heapq.heappush(self._events, (self.now + seconds, next(self._numbers), then))

    def run(self, until: Callable[[], bool]) -> None:
        """Let time pass until something holds."""
        while not until():
            self.now, _, then = heapq.heappop(self._events)
            then()


class Line:
    """Servers with one line in front of them.

    Args:
        clock: Time.
        servers: That work side by side.
    """

    def __init__(self, clock: Clock, servers: int) -> None:
        self._clock = clock
        self._servers = servers
        self._busy = 0
        self._waiting: deque[tuple[float, Then]] = deque()
        self.worked = 0.0

    def ask(self, seconds: float, then: Then) -> None:
        """Be served for so many seconds."""
        self._waiting.append((seconds, then))
        self._serve()

    def load(self) -> float:
        """Share of the servers' time in which they worked."""
        return self.worked / (self._servers * self._clock.now)

    def _serve(self) -> None:
        while self._waiting and self._busy < self._servers:
            seconds, then = self._waiting.popleft()
            self._busy += 1
            self.worked += seconds
            self._clock.after(seconds, lambda then=then: self._done(then))  # type: ignore[misc]

    def _done(self, then: Then) -> None:
        self._busy -= 1
        then()
        self._serve()


@dataclass(slots=True)
class Decoding:
    """One candidate on an engine: where in the engine's steps it began and will end."""

    begun: float
    end: float
    width: float
    then: Then
    live: bool = True


class Engine:
    """Decodes all its candidates in one batch: in each step every branch of each of them advances by one token."""

    def __init__(self, clock: Clock, step: Callable[[float], float]) -> None:
        self._clock = clock
        self._step = step
        self._steps = 0.0
        self._at = 0.0
        self._branches = 0.0
        self._ends: list[tuple[float, int, Decoding]] = []
        self._numbers = count()
        self._planned = 0
        self.busy = 0.0
        self.tokens = 0.0

    def decode(self, tokens: int, critical: int, then: Then) -> Decoding:
        """Add a candidate."""
        self._advance()
        decoding = Decoding(self._steps, self._steps + critical, tokens / critical, then)
        heapq.heappush(self._ends, (decoding.end, next(self._numbers), decoding))
        self._branches += decoding.width
        self._plan()
        return decoding

    def abort(self, decoding: Decoding) -> float:
        """End a candidate now; the tokens that it had."""
        self._advance()
        decoding.live = False
        self._branches = max(0.0, self._branches - decoding.width)
        self._plan()
        return (min(self._steps, decoding.end) - decoding.begun) * decoding.width

    def _advance(self) -> None:
        """Count the steps since the last change."""
        passed = self._clock.now - self._at
        if self._branches > 1e-9:
            steps = passed / self._step(self._branches)
            self._steps += steps
            self.tokens += steps * self._branches
            self.busy += passed
        self._at = self._clock.now

    def _plan(self) -> None:
        while self._ends and not self._ends[0][2].live:
            heapq.heappop(self._ends)
        self._planned += 1
        if self._ends:
            plan = self._planned
            seconds = max(0.0, self._ends[0][0] - self._steps) * self._step(max(1.0, self._branches))
            self._clock.after(seconds, lambda: self._finish(plan))

    def _finish(self, plan: int) -> None:
        if plan != self._planned:
            return  # something has changed since
        self._advance()
        _, _, decoding = heapq.heappop(self._ends)
        self._steps = max(self._steps, decoding.end)
        decoding.live = False
        self._branches = max(0.0, self._branches - decoding.width)
        self._plan()
        decoding.then()


@dataclass(slots=True)
class Job:
    """A job, with what is stored of it.

    Attributes:
        stored: Candidates that were generated, and the verdict that each has or will get.
        judged: Those whose verdict is known.
    """

    number: int
    submitted: float
    samples: Sequence[Sampled]
    stored: dict[int, tuple[Candidate, Verdict]] = field(default_factory=dict)
    judged: set[int] = field(default_factory=set)
    deliveries: int = 0


@dataclass(slots=True)
class Tally:
    """What came of it."""

    done: int = 0
    dead: int = 0
    redelivered: int = 0
    candidates: int = 0
    seconds: list[float] = field(default_factory=list)
    accepted: float = 0.0
    failed: float = 0.0
    aborted: float = 0.0
    lost: float = 0.0
    """Tokens that died with a worker or an engine, and were generated again."""


class Simulation:
    """One run.

    Args:
        limits: What is simulated.
        measured: Service times, and candidates to draw from.
        seed: Repeats the run.
    """

    def __init__(self, limits: ServerLimits, measured: Measured, seed: int) -> None:
        self.limits = limits
        self.measured = measured
        self.clock = Clock()
        self.random = random.Random(seed)
        self.redis = Line(self.clock, 1)
        self.verifiers = Line(self.clock, limits.verifiers)
        self.waiting: deque[Job] = deque()
        self.tally = Tally()
        self.free: dict[Worker, None] = {}
        """Workers that would take a job, in turn."""
        self.workers = [Worker(self) for _ in range(limits.workers)]

    def run(self, problems: Sequence[Sequence[Sampled]], per_second: float = 0.0) -> Tally:
        """Submit a job for each problem, all at once or at random times at a rate, and work until all have ended."""
        at = 0.0
        for number, samples in enumerate(problems):
            at += self.random.expovariate(per_second) if per_second else 0.0
            self.clock.after(at, lambda job=Job(number, at, samples): self._submit(job))  # type: ignore[misc]
        self.clock.run(lambda: self.tally.done + self.tally.dead == len(problems))
        return self.tally

    def offer(self) -> None:
        """Jobs to workers with a free slot, in turn."""
        while self.waiting and self.free:
            worker = next(iter(self.free))
            del self.free[worker]
            worker.take(self.waiting.popleft())

    def nack(self, job: Job) -> None:
        """A job is to be done again by someone."""
        self.tally.redelivered += 1
        self.waiting.appendleft(job)
        self.offer()

    def ended(self, job: Job, state: PolicyState | None, winner: int | None) -> None:
        """A job has its result, or is given up."""
        if state is None:
            self.tally.dead += 1
        else:
            self.tally.done += 1
            self.tally.seconds.append(self.clock.now - job.submitted)
        for index, (candidate, _) in job.stored.items():
            if index == winner:
                self.tally.accepted += candidate.usage.new_tokens
            else:
                self.tally.failed += candidate.usage.new_tokens

    def _submit(self, job: Job) -> None:
        self.waiting.append(job)
        self.offer()


class Worker:
    """A process with an engine, until it dies; another one takes its place."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._busy_before = 0.0
        self._tokens_before = 0.0
        self._begin()

    def _begin(self) -> None:
        limits, simulation = self._simulation.limits, self._simulation
        self.engine = Engine(simulation.clock, simulation.measured.step)
        self.solves: dict[Solve, None] = {}
        self.alive = True
        self.show()
        for hours, end in ((limits.worker_hours, self._die), (limits.engine_hours, self._lose_engine)):
            if hours:
                seconds = simulation.random.expovariate(1 / (3600 * hours))
                engine = self.engine
                simulation.clock.after(seconds, lambda end=end, engine=engine: end(engine))  # type: ignore[misc]

    @property
    def busy(self) -> float:
        """Seconds that its engines have decoded."""
        return self._busy_before + (self.engine.busy if self.alive else 0.0)

    @property
    def tokens(self) -> float:
        """Tokens that its engines have decoded."""
        return self._tokens_before + (self.engine.tokens if self.alive else 0.0)

    def show(self) -> None:
        """Be among those that take jobs, if there is a slot free."""
        if self.alive and len(self.solves) < self._simulation.limits.slots:
            self._simulation.free[self] = None

    def take(self, job: Job) -> None:
        """Begin a job."""
        job.deliveries += 1
        if job.deliveries > self._simulation.limits.max_deliveries:
            self._simulation.ended(job, None, None)
        else:
            self.solves[Solve(self._simulation, self, job)] = None
        self.show()

    def _die(self, engine: Engine) -> None:
        """The queue is not told: other workers get its jobs when their leases have run out."""
        self._end(engine, self._simulation.limits.lease)

    def _lose_engine(self, engine: Engine) -> None:
        """The worker hands its jobs back and ends."""
        self._end(engine, 0.0)

    def _end(self, engine: Engine, silence: float) -> None:
        if engine is not self.engine or not self.alive:
            return  # it has died of something else since
        clock = self._simulation.clock
        self.alive = False
        self._simulation.free.pop(self, None)
        for solve in list(self.solves):
            self._simulation.tally.lost += solve.drop()
            del self.solves[solve]
            clock.after(silence, lambda job=solve.job: self._simulation.nack(job))  # type: ignore[misc]
        self._busy_before += engine.busy
        self._tokens_before += engine.tokens
        clock.after(self._simulation.measured.start_seconds, self._start_again)

    def _start_again(self) -> None:
        self._begin()
        self._simulation.offer()


class Solve:
    """One delivery of a job: asks the policy, decodes, judges and tells, as the loop of `solver.core` does."""

    def __init__(self, simulation: Simulation, worker: Worker, job: Job) -> None:
        self.job = job
        self._simulation = simulation
        self._worker = worker
        self._live = True
        self._decoding: dict[int, Decoding] = {}
        self._judging: set[int] = set()
        self._state = begin(job.number, Budget(candidates=simulation.limits.k))
        for index in job.judged:
            self._state = self._policy.tell(self._state, *job.stored[index])
        simulation.redis.ask(simulation.measured.redis_seconds, self._ask)

    @property
    def _policy(self) -> Policy:
        return self._simulation.limits.policy

    def drop(self) -> float:
        """The worker is gone; the tokens that are lost with it."""
        self._live = False
        return sum(self._worker.engine.abort(decoding) for decoding in self._decoding.values())

    def _ask(self) -> None:
        if not self._live:
            return
        for spec in self._policy.ask(self._state):
            if spec.index in self._decoding or spec.index in self._judging:
                continue
            if spec.index in self.job.stored:
                self._judge(spec.index)  # another worker has generated it
            else:
                self._decode(spec)
        if not self._decoding and not self._judging:
            self._end()

    def _decode(self, spec: Spec) -> None:
        tokens, critical, passed = self._simulation.random.choice(self.job.samples)
        self._simulation.tally.candidates += 1
        self._decoding[spec.index] = self._worker.engine.decode(
            tokens, critical, lambda: self._decoded(spec, tokens, critical, passed)
        )

    def _decoded(self, spec: Spec, tokens: int, critical: int, passed: bool) -> None:
        del self._decoding[spec.index]
        usage = Usage(sampled_tokens=tokens, critical_path_tokens=critical)
        candidate = Candidate(spec, "", "answer", (), FinishReason.STOP, usage, self._simulation.clock.now)
        self.job.stored[spec.index] = (candidate, VERDICTS[passed])
        self._simulation.redis.ask(self._simulation.measured.redis_candidate_seconds, lambda: self._judge(spec.index))
        self._judging.add(spec.index)

    def _judge(self, index: int) -> None:
        if not self._live:
            return
        self._judging.add(index)
        measured = self._simulation.measured
        found = measured.program_seconds if self._simulation.limits.programs else measured.math_seconds
        self._simulation.verifiers.ask(self._simulation.random.choice(found), lambda: self._judged(index))

    def _judged(self, index: int) -> None:
        if not self._live:
            return
        self._judging.discard(index)
        self.job.judged.add(index)
        self._state = self._policy.tell(self._state, *self.job.stored[index])
        if self._state.stopped:
            for decoding in self._decoding.values():
                self._simulation.tally.aborted += self._worker.engine.abort(decoding)
            self._decoding.clear()
            self._end()
        else:
            self._ask()

    def _end(self) -> None:
        if not self._live:
            return
        self._live = False
        del self._worker.solves[self]
        self._worker.show()
        passed = [index for index in sorted(self.job.judged) if self.job.stored[index][1].passed]
        winner = passed[0] if passed else min(self.job.judged, default=None)
        self._simulation.ended(self.job, self._state, winner)
        self._simulation.offer()


def with_failures(limits: ServerLimits) -> ServerLimits:
    """The same limits on bad days: a worker dies once in two hours, an engine once in one."""
    return replace(limits, worker_hours=2.0, engine_hours=1.0)
