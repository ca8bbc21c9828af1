"""What the verifier service counts, for Prometheus."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from espalier.verifiers.verdict import Verdict

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Buckets of the latency histogram: from a cached answer to a long program."""


class VerifierMetrics:
    """Counters of one service, in a registry of its own so that several services fit in a process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        verdicts = Counter(
            "espalier_verdicts", "Verdicts by kind of check and status", ("kind", "status"), registry=self.registry
        )
        seconds = Histogram(
            "espalier_verify_seconds", "Time to a verdict", ("kind",), buckets=SECONDS, registry=self.registry
        )
        # Finding the counter of some labels costs more than counting.
        self._verdicts, self._seconds = cache(verdicts.labels), cache(seconds.labels)
        self._in_flight = Gauge("espalier_in_flight", "Calls that are being answered", registry=self.registry)
        self._refused = Counter("espalier_refused", "Calls refused, by reason", ("reason",), registry=self.registry)
        self._healthy = Gauge(
            "espalier_verifier_healthy", "1 after a good self-check, else 0", ("verifier",), registry=self.registry
        )

    def call(self) -> AbstractContextManager[object]:
        """Count a call as in flight."""
        return self._in_flight.track_inprogress()

    def latency(self, kind: str) -> AbstractContextManager[object]:
        """Time one verdict; one that is cancelled is timed too."""
        return self._seconds(kind).time()

    def verdict(self, kind: str, verdict: Verdict) -> None:
        """Count a verdict."""
        self._verdicts(kind, verdict.status.value).inc()

    def refused(self, reason: str) -> None:
        """Count a call that got a status instead of an answer."""
        self._refused.labels(reason).inc()

    def healthy(self, verifier: str, healthy: bool) -> None:
        """Note the outcome of a self-check."""
        self._healthy.labels(verifier).set(healthy)
