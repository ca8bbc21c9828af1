"""The caller's span, as W3C Trace Context hands it on: in a header, in metadata, or with a job."""

from __future__ import annotations

import re
import sys

TRACEPARENT = "traceparent"
"""Header and metadata key in which a caller names its span."""

_FORM = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def is_traceparent(text: str) -> bool:
    """Whether a text has the form that the standard gives the name of a span: 55 characters."""
    return _FORM.fullmatch(text) is not None


def traceparent() -> tuple[tuple[str, str], ...]:
    """The metadata that names the current span; nothing where none is recorded."""
    if "opentelemetry.trace" not in sys.modules:  # then nothing can have begun a span
        return ()
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return tuple((key, value) for key, value in carrier.items() if key == TRACEPARENT)
