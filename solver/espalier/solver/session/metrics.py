"""What the solving service counts, for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import product

from prometheus_client import Counter, Gauge, Histogram

from espalier.runtime.engine import FinishReason, Tokens, Usage
from espalier.solver.core.events import CandidateFinished, CandidateStarted, SolveEvent, Streamed
from espalier.solver.core.result import Result
from espalier.solver.core.selection import Selection
from espalier.verifiers import metrics

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
"""Buckets of the latency of a solve."""

CANDIDATES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Buckets of the number of candidates."""


FATES = ("accepted", "failed", "aborted", "verification")
"""What becomes of tokens: the fields of :class:`espalier.solver.core.result.Spent` that count them."""


class SolverMetrics(metrics.VerifierMetrics):
    """Counters of one solving service: what a verifier service counts, and solves."""

    def __init__(self) -> None:
        super().__init__()
        registry = self.registry
        solves = Counter("espalier_solves", "Solves by policy and end", ("policy", "end"), registry=registry)
        solve_seconds = Histogram(
            "espalier_solve_seconds", "Time from admission to result", ("policy",), buckets=SECONDS, registry=registry
        )
        candidates = Histogram(
            "espalier_solve_candidates", "Candidates of a solve", ("policy",), buckets=CANDIDATES, registry=registry
        )
        tokens = Counter(
            "espalier_tokens", "New tokens by fate of their candidate and origin", ("fate", "origin"), registry=registry
        )
        self._aborts = Counter("espalier_aborts", "Candidates aborted in the engine", registry=registry)
        self._running = Gauge("espalier_solves_running", "Solves on their way", registry=registry)
        self._depth = Gauge(
            "espalier_queue_depth",
            "What waits: live solves for admission, jobs for a worker",
            ("queue",),
            registry=registry,
        )

        self._first_token = Histogram(
            "espalier_first_token_seconds", "Time from admission to the first token", buckets=SECONDS, registry=registry
        )
        wait = Histogram("espalier_wait_seconds", "Time in line", ("queue",), buckets=SECONDS, registry=registry)
        self._jobs = Counter("espalier_jobs", "Deliveries of jobs by outcome", ("outcome",), registry=registry)
        self._webhooks = Counter("espalier_webhooks", "Tries to tell a webhook", ("outcome",), registry=registry)
        self._dead = Gauge("espalier_jobs_dead", "Jobs that were given up and wait for a decision", registry=registry)
        self._serving = Gauge("espalier_serving", "1 after a good self-check, else 0", registry=registry)
        self._engine = Gauge("espalier_engine_up", "1 when the engine passed the last self-check", registry=registry)

        self._caller_solves = Counter("espalier_caller_solves", "Solves of a caller", ("caller",), registry=registry)
        self._caller_tokens = Counter(
            "espalier_caller_tokens", "New tokens of a caller", ("caller",), registry=registry
        )

        self._caller_stored = Gauge(
            "espalier_caller_stored_bytes",
            "Bytes of a caller's jobs, results and files in the queue",
            ("caller",),
            registry=registry,
        )

        # Finding the counter of some labels costs more than counting.
        self._solves, self._tokens = cache(solves.labels), cache(tokens.labels)
        self._solve_seconds, self._candidates = cache(solve_seconds.labels), cache(candidates.labels)
        self._wait = cache(wait.labels)
        for fate, origin in product(FATES, ("sampled", "forced")):  # there from the start, before a token is spent
            self._tokens(fate, origin)

    def show_load(self, running: Callable[[], float], waiting: Callable[[], float]) -> None:
        """Where to read the load when someone looks."""
        self._running.set_function(running)
        self._depth.labels("live").set_function(waiting)

    def queued(self, jobs: int, dead: int) -> None:
        """Note how many jobs are not done yet, and how many were given up."""
        self._depth.labels("jobs").set(jobs)
        self._dead.set(dead)

    def stored(self, callers: Mapping[str, int]) -> None:
        """Note how many bytes each caller has stored in the queue; those that are not named have none."""
        self._caller_stored.clear()
        for caller, size in callers.items():
            self._caller_stored.labels(caller).set(size)

    def serving(self, *, engine: bool, all_of_it: bool) -> None:
        """Note what the last self-check found: whether the engine works, and whether all that a solve needs does."""
        self._engine.set(engine)
        self._serving.set(all_of_it)

    def waited(self, queue: str, seconds: float) -> None:
        """Note how long a live solve waited for admission, or a job for a worker."""
        self._wait(queue).observe(seconds)

    def first_token(self, seconds: float) -> None:
        """Note how long the first token of a solve took."""
        self._first_token.observe(seconds)

    def job(self, outcome: str) -> None:
        """Count what became of a delivered job: done, retried, dead, released or lost."""
        self._jobs.labels(outcome).inc()

    def webhook(self, outcome: str) -> None:
        """Count a try to tell a webhook that a batch has ended: delivered, failed or given_up."""
        self._webhooks.labels(outcome).inc()

    def charged(self, caller: str, tokens: int) -> None:
        """Count a solve of a named caller, and its new tokens."""
        self._caller_solves.labels(caller).inc()
        self._caller_tokens.labels(caller).inc(tokens)

    def solved(self, policy: str, result: Result) -> None:
        """Count a solve that came to a result."""
        self._solves(policy, ending(result.selection)).inc()
        self._solve_seconds(policy).observe(result.spent.seconds)
        self._candidates(policy).observe(len(result.judged))
        for fate in FATES:
            self._spend(fate, getattr(result.spent, fate))
        self._aborts.inc(sum(entry.candidate.reason is FinishReason.ABORTED for entry in result.judged))

    def broken_off(self, policy: str, end: str, tally: Tally) -> None:
        """Count a solve that was cancelled or failed; what it had generated is aborted."""
        self._solves(policy, end).inc()
        self._candidates(policy).observe(tally.started)
        self._spend("aborted", tally.usage)
        self._aborts.inc(len(tally.open))

    def _spend(self, fate: str, usage: Usage) -> None:
        if usage.new_tokens:
            self._tokens(fate, "sampled").inc(usage.sampled_tokens)
            self._tokens(fate, "forced").inc(usage.forced_tokens)


@dataclass(slots=True)
class Tally:
    """Observes a solve, so that its tokens are known even if it never comes to a result.

    Attributes:
        started: Candidates that were asked for; those that an earlier run kept are not.
        open: Those of them that have not ended, by index.
        sampled: New tokens so far that the model drew.
        forced: New tokens so far that the engine inserted.
        first_token: Seconds until the first token; None: there is none yet.
    """

    started: int = 0
    open: set[int] = field(default_factory=set)
    sampled: int = 0
    forced: int = 0
    first_token: float | None = None
    _begun: float = field(default_factory=time.perf_counter)

    @property
    def usage(self) -> Usage:
        """New tokens so far."""
        return Usage(sampled_tokens=self.sampled, forced_tokens=self.forced)

    def observe(self, event: SolveEvent) -> None:
        """Take in one event."""
        match event:
            case CandidateStarted(spec):
                self.started += 1
                self.open.add(spec.index)
            case CandidateFinished(candidate):
                self.open.discard(candidate.spec.index)
            case Streamed(event=Tokens(forced=forced)):
                if self.first_token is None:
                    self.first_token = time.perf_counter() - self._begun
                inserted = sum(forced)
                self.sampled += len(forced) - inserted
                self.forced += inserted


def ending(selection: Selection) -> str:
    """How a solve with a result ended, in one word."""
    if selection.answer is None:
        return "unsolved"
    return "verified" if selection.verified else "answered"
