"""The caller's span, as W3C Trace Context hands it on: in a header, in metadata, or with a job."""

from __future__ import annotations

import sys

TRACEPARENT = "traceparent"
"""Header and metadata key in which a caller names its span."""


def traceparent() -> tuple[tuple[str, str], ...]:
    """The metadata that names the current span; nothing where none is recorded."""
    if "opentelemetry.trace" not in sys.modules:  # then nothing can have begun a span
        return ()
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return tuple((key, value) for key, value in carrier.items() if key == TRACEPARENT)
