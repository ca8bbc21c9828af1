"""How full an engine is, for Prometheus: as far as it tells of itself, which the embedded one does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


class EngineLoad(Collector):
    """Asks the engine whenever someone looks.

    Args:
        details: What the engine tells of itself, see :class:`espalier.runtime.engine.EngineInfo`.
    """

    def __init__(self, details: Callable[[], Mapping[str, Any]]) -> None:
        self._details = details

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """The metrics without values: registering them asks no engine."""
        yield GaugeMetricFamily("espalier_engine_kv_tokens", "Room for tokens in its memory", labels=["state"])
        yield GaugeMetricFamily("espalier_engine_rows", "Branches that fit into one pass", labels=["state"])
        yield GaugeMetricFamily("espalier_engine_requests", "Requests in the engine", labels=["state"])

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The values, of what the engine tells."""
        told = self._details()
        memory, rows, requests = self.describe()
        if {"kv_tokens", "kv_tokens_free"} <= told.keys():
            memory.add_metric(["used"], told["kv_tokens"] - told["kv_tokens_free"])
            memory.add_metric(["free"], told["kv_tokens_free"])
            yield memory
        if {"rows", "rows_used"} <= told.keys():
            rows.add_metric(["used"], told["rows_used"])
            rows.add_metric(["free"], told["rows"] - told["rows_used"])
            yield rows
        if {"running", "waiting"} <= told.keys():
            requests.add_metric(["running"], told["running"])
            requests.add_metric(["waiting"], told["waiting"])
            yield requests
