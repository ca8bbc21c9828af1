"""Verifiers whose verdicts are counted and timed."""

from __future__ import annotations

from espalier.solver.core.loop import Verifiers
from espalier.solver.session.metrics import Metrics
from espalier.verifiers.check import Check, Claim
from espalier.verifiers.proto import KIND_NAMES
from espalier.verifiers.verdict import Verdict


class MeasuredJudge:
    """A judge that tells the metrics what it said and how long it took."""

    def __init__(self, judge: Verifiers, metrics: Metrics) -> None:
        self._judge = judge
        self._metrics = metrics

    async def verify(self, claim: Claim, check: Check, *, timeout: float | None = None) -> Verdict:
        kind = KIND_NAMES[type(check)]
        with self._metrics.latency(kind):
            verdict = await self._judge.verify(claim, check, timeout=timeout)
        self._metrics.verdict(kind, verdict)
        return verdict

    async def equivalent(self, a: str, b: str, *, timeout: float | None = None) -> Verdict:
        with self._metrics.latency("equivalent"):
            verdict = await self._judge.equivalent(a, b, timeout=timeout)
        self._metrics.verdict("equivalent", verdict)
        return verdict
