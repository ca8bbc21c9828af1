"""Dashboard and alerts ask for metrics and labels that exist, and Prometheus for services that do."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from espalier.solver.session.metrics import SolverMetrics

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "espalier.json").read_text())
ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]] + [
    rule["expr"] for group in ALERTS["groups"] for rule in group["rules"]
]
PROMETHEUS_OWN = {"up": {"job", "instance"}}


def known() -> dict[str, set[str]]:
    """Names of series → labels that they have, beside those that scraping adds."""
    names: dict[str, set[str]] = dict(PROMETHEUS_OWN)
    for collector in SolverMetrics().registry._collector_to_names:
        labels = set(collector._labelnames)  # type: ignore[attr-defined]
        for metric in collector.collect():
            for suffix in {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(metric.type, ("",)):
                names[f"{metric.name}{suffix}"] = labels | ({"le"} if suffix == "_bucket" else set())
    return names


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_that_is_asked_for_exists_with_its_labels(expression: str) -> None:
    series = known()
    used = re.findall(r"\b(espalier_\w+|up)\b(?:\{([^}]*)\})?", expression)
    assert used, "an expression without a metric shows nothing"
    labels = set().union(*(series[name] for name, _ in used)) | {"job", "instance"}
    for _, matchers in used:
        assert set(re.findall(r"(\w+)\s*[!=]~?", matchers)) <= labels
    for group in re.findall(r"\bby \(([^)]*)\)", expression):
        assert set(group.replace(" ", "").split(",")) <= labels


def test_every_metric_of_the_services_is_shown() -> None:
    shown = " ".join(EXPRESSIONS)
    metrics = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in known() if name.startswith("espalier_")}
    assert {name for name in metrics if name not in shown} == set()


def test_panels_have_the_provisioned_source_and_do_not_overlap() -> None:
    provisioned = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text())
    (source,) = provisioned["datasources"]
    places = set()
    for panel in DASHBOARD["panels"]:
        assert panel["datasource"]["uid"] == source["uid"]
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & places, panel["title"]
        assert at["x"] + at["w"] <= 24
        places |= cells


def test_prometheus_scrapes_the_metrics_of_every_service_that_shows_them() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    showing = {
        (name, int(value.rpartition(":")[2]))
        for name, service in services.items()
        for option, value in zip(service.get("command", []), service.get("command", [])[1:], strict=False)
        if option == "--metrics"
    }
    scraped = {
        (name, found["port"])
        for job in yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())["scrape_configs"]
        for found in job["dns_sd_configs"]
        for name in found["names"]
    }
    assert scraped == showing
