"""OpenTelemetry spans of a solve, where the extra `otel` is installed; nothing where it is not."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from espalier.common.distribution import install
from espalier.common.tracing import TRACEPARENT
from espalier.runtime.engine import FinishReason, Tokens
from espalier.solver.core.events import (
    Accepted,
    AnswerJudged,
    CandidateFinished,
    CandidateStarted,
    Observer,
    Solved,
    SolveEvent,
    Streamed,
    fan_out,
)

if TYPE_CHECKING:
    from opentelemetry.trace import Span

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""Environment variables, of the OpenTelemetry specification, that say where spans go."""


def export() -> bool:
    """Send spans where the environment says; whether it does.

    Raises:
        ValueError: The environment asks for spans and the extra is not installed.
    """
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return False
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        raise ValueError(f"{ENDPOINTS[0]} is set, and spans need the extra: {install('otel')}")
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = os.environ.get("OTEL_SERVICE_NAME", "espalier")
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return True


@contextmanager
def spans(solve_id: str, traceparent: str = "") -> Iterator[Observer]:
    """A watcher that makes a span of a solve, and one of each candidate below it.

    Args:
        solve_id: Of the solve.
        traceparent: The caller's span (W3C Trace Context), which that of the solve is below; empty or unreadable: none.
    """
    api = sys.modules.get("opentelemetry.trace")
    if api is None or isinstance(provider := api.get_tracer_provider(), api.ProxyTracerProvider):  # nothing collects
        yield fan_out()
        return
    from opentelemetry.trace import use_span
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    tracer = provider.get_tracer("espalier")
    candidates: dict[int, Span] = {}
    tokens: Counter[int] = Counter()
    solved = False
    above = TraceContextTextMapPropagator().extract({TRACEPARENT: traceparent}) if traceparent else None
    root = tracer.start_span("solve", above, attributes={"espalier.solve_id": solve_id})
    if not root.is_recording():  # this one is not collected, nor are those below it
        yield fan_out()
        return
    with use_span(root, end_on_exit=True):

        def watch(event: SolveEvent) -> None:
            nonlocal solved
            match event:
                case Streamed(candidate, Tokens(tokens=new)):
                    tokens[candidate] += len(new)
                case Accepted(problem, policy, _, seed):
                    root.set_attributes(
                        {"espalier.problem_id": problem.id, "espalier.policy": policy, "espalier.seed": str(seed)}
                    )
                case CandidateStarted(spec):
                    candidates[spec.index] = tracer.start_span(
                        "candidate",
                        attributes={"espalier.candidate": spec.index, "espalier.temperature": spec.temperature},
                    )
                case AnswerJudged(index, path, _, verdict):
                    if index in candidates:
                        attributes = {"espalier.status": verdict.status.value, "espalier.branch": bool(path)}
                        candidates[index].add_event("judged", attributes)
                case CandidateFinished(candidate, verdict):
                    span = candidates.pop(candidate.spec.index, None)
                    if span is not None:
                        _end(span, candidate.reason, candidate.usage.new_tokens, verdict.status.value)
                case Solved(result):
                    solved = True
                    root.set_attributes(
                        {
                            "espalier.decided_by": result.selection.decided_by.value,
                            "espalier.stopped": result.stopped.value,
                            "espalier.tokens": result.spent.total.new_tokens,
                        }
                    )

        try:
            yield watch
        finally:
            if not solved:
                root.set_attribute("espalier.tokens", tokens.total())
            for index, span in candidates.items():
                _end(span, FinishReason.ABORTED, tokens[index])


def _end(span: Span, reason: FinishReason, tokens: int = 0, status: str = "") -> None:
    span.set_attributes({"espalier.finish_reason": reason.value, "espalier.tokens": tokens, "espalier.status": status})
    span.end()
