"""Verifiers whose verdicts are counted and timed."""

from __future__ import annotations

from espalier.solver.core.loop import Verifiers
from espalier.solver.session.metrics import SolverMetrics
from espalier.verifiers.check import Check, Claim
from espalier.verifiers.proto import KIND_NAMES
from espalier.verifiers.verdict import Verdict


class MeasuredVerifiers:
    """Verifiers whose verdicts and latencies go to the metrics."""

    def __init__(self, verifiers: Verifiers, metrics: SolverMetrics) -> None:
        self._verifiers = verifiers
        self._metrics = metrics

    async def verify(self, claim: Claim, check: Check, *, timeout: float | None = None) -> Verdict:
        kind = KIND_NAMES[type(check)]
        with self._metrics.latency(kind):
            verdict = await self._verifiers.verify(claim, check, timeout=timeout)
        self._metrics.verdict(kind, verdict)
        return verdict

    async def validate_check(self, check: Check, *, timeout: float | None = None) -> None:
        await self._verifiers.validate_check(check, timeout=timeout)

    async def equivalent(self, a: str, b: str, *, timeout: float | None = None) -> Verdict:
        with self._metrics.latency("equivalent"):
            verdict = await self._verifiers.equivalent(a, b, timeout=timeout)
        self._metrics.verdict("equivalent", verdict)
        return verdict
