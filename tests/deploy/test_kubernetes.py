"""The manifests, without a cluster: schemas of Kubernetes, and that their parts fit together."""

from __future__ import annotations

import json
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from espalier.solver.batch.keys import Keys

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "deploy" / "kubernetes"
KEDA = json.loads((Path(__file__).parent / "keda.schema.json").read_text())
VERSIONS = ("1.29", "1.37")
"""The oldest Kubernetes that is meant to work, and the newest that there are schemas of."""


def documents(directory: Path) -> list[dict[str, Any]]:
    kustomization = yaml.safe_load((directory / "kustomization.yaml").read_text())
    return [one for name in kustomization["resources"] for one in yaml.safe_load_all((directory / name).read_text())]


LIMITS = documents(MANIFESTS)
SANDBOX = documents(MANIFESTS / "sandbox")
ROUTER = documents(MANIFESTS / "router")
ALL = (*LIMITS, *SANDBOX, *ROUTER)
EXAMPLES = list(yaml.safe_load_all((MANIFESTS / "secrets.example.yaml").read_text()))


def of_kind(*kinds: str) -> list[dict[str, Any]]:
    return [one for one in ALL if one["kind"] in kinds]


def called(one: dict[str, Any]) -> str:
    return f"{one['kind']} {one['metadata']['name']}"


WORKLOADS = of_kind("Deployment", "StatefulSet")
CONTAINERS = [
    pytest.param(one, container, id=f"{called(one)}: {container['name']}")
    for one in WORKLOADS
    for container in one["spec"]["template"]["spec"]["containers"]
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("one", [*ALL, *EXAMPLES], ids=called)
def test_every_manifest_fits_the_schema_of_its_kind(one: dict[str, Any], version: str) -> None:
    if one["apiVersion"].startswith("keda.sh/"):
        jsonschema.validate(one, KEDA)
    else:
        kubernetes_validate.validate(one, version, strict=True)


def test_a_manifest_with_a_slip_is_found() -> None:
    (one,) = [one for one in of_kind("Deployment") if one["metadata"]["name"] == "worker"]
    wrong = json.loads(json.dumps(one))
    wrong["spec"]["template"]["spec"]["containers"][0]["livenessprobe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def test_every_file_belongs_to_a_kustomization_or_is_an_example() -> None:
    for directory in (MANIFESTS, MANIFESTS / "sandbox", MANIFESTS / "router"):
        listed = yaml.safe_load((directory / "kustomization.yaml").read_text())["resources"]
        there = {path.name for path in directory.glob("*.yaml")} - {"kustomization.yaml", "secrets.example.yaml"}
        assert there == set(listed)


@pytest.mark.parametrize(("one", "container"), CONTAINERS)
def test_containers_are_confined_limited_and_pinned(one: dict[str, Any], container: dict[str, Any]) -> None:
    name, tag = container["image"].rsplit(":", 1)
    assert name
    assert tag not in ("", "latest")
    assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
    assert "memory" in container["resources"]["limits"]
    security = container["securityContext"]
    if container["name"] == "dockerd":
        assert one["spec"]["template"]["spec"]["nodeSelector"] == {"espalier/sandbox": "true"}
        return
    pod = one["spec"]["template"]["spec"].get("securityContext", {})
    assert {**pod, **security}["runAsNonRoot"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize(
    ("one", "container"),
    [case for case in CONTAINERS if case.id and not case.id.endswith((": docker-proxy", ": dockerd"))],
)
def test_services_are_probed(one: dict[str, Any], container: dict[str, Any]) -> None:
    assert "livenessProbe" in container
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        found = container.get(probe, {})
        wanted = (found.get("httpGet") or found.get("tcpSocket") or found.get("grpc") or {}).get("port")
        assert wanted is None or wanted in ports or wanted in ports.values(), (called(one), probe)


def test_workloads_survive_a_drain_of_their_node() -> None:
    guarded = {tuple(one["spec"]["selector"]["matchLabels"].items()) for one in of_kind("PodDisruptionBudget")}
    scaled = {one["spec"]["scaleTargetRef"]["name"] for one in of_kind("ScaledObject")}
    for one in of_kind("Deployment"):
        if one["spec"].get("replicas", 0) > 1 or one["metadata"]["name"] in scaled:
            assert tuple(one["spec"]["selector"]["matchLabels"].items()) in guarded, called(one)


def test_services_policies_and_scalers_select_workloads_that_exist() -> None:
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in WORKLOADS]
    for one in of_kind("Service"):
        assert one["spec"]["selector"] in labels, called(one)
    for one in of_kind("NetworkPolicy"):
        wanted = one["spec"]["podSelector"].get("matchLabels")
        assert wanted is None or wanted in labels, called(one)
    names = {one["metadata"]["name"] for one in of_kind("Deployment")}
    for one in of_kind("ScaledObject"):
        target = one["spec"]["scaleTargetRef"]["name"]
        assert target in names
        (deployment,) = [other for other in of_kind("Deployment") if other["metadata"]["name"] == target]
        assert "replicas" not in deployment["spec"], "two would set the number of replicas"


def test_every_workload_has_a_policy_of_its_own_and_all_else_is_forbidden() -> None:
    policies = [one for one in LIMITS if one["kind"] == "NetworkPolicy"]
    (nothing,) = [one for one in policies if one["metadata"]["name"] == "nothing"]
    assert nothing["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    named = {json.dumps(one["spec"]["podSelector"].get("matchLabels")) for one in policies}
    for one in LIMITS:
        if one["kind"] in ("Deployment", "StatefulSet"):
            assert json.dumps(one["spec"]["selector"]["matchLabels"]) in named, called(one)


def test_workers_scale_on_what_waits_and_runs_in_the_queue() -> None:
    (worker,) = [one for one in of_kind("ScaledObject") if one["metadata"]["name"] == "worker"]
    waiting, running = (trigger["metadata"] for trigger in worker["spec"]["triggers"])
    assert (waiting["listName"], running["stream"]) == (Keys().waiting, Keys().jobs)


def test_addresses_are_services_with_that_port() -> None:
    services = {(one["metadata"]["name"], port["port"]) for one in of_kind("Service") for port in one["spec"]["ports"]}
    for one in WORKLOADS:
        for container in one["spec"]["template"]["spec"]["containers"]:
            for option, value in pairwise(container.get("args", [])):
                if option == "--verifiers":
                    host, _, port = value.partition(":")
                    assert (host, int(port)) in services, (called(one), value)


def test_the_engine_is_the_list_of_all_its_servers() -> None:
    (settings,) = of_kind("ConfigMap")
    (sglang,) = [one for one in of_kind("StatefulSet") if one["metadata"]["name"] == "sglang"]
    service, replicas = sglang["spec"]["serviceName"], sglang["spec"]["replicas"]
    servers = ",".join(f"sglang-{number}.{service}:30000" for number in range(replicas))
    assert settings["data"]["engine"].startswith(f"sglang://{servers}?")


def test_secrets_that_are_used_are_in_the_example() -> None:
    known = {(one["metadata"]["name"], key) for one in EXAMPLES for key in one["stringData"]}
    for one in WORKLOADS:
        for container in one["spec"]["template"]["spec"]["containers"]:
            for variable in container.get("env", []):
                if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                    assert (reference["name"], reference["key"]) in known


@pytest.fixture(scope="module")
def with_tls() -> dict[str, dict[str, Any]]:
    """The workloads as kustomize makes them with TLS, by name."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is missing; it has kustomize in it")
    made = subprocess.run(
        [kubectl, "kustomize", str(ROOT / "deploy" / "kubernetes-tls")], capture_output=True, text=True, check=True
    )
    documents = list(yaml.safe_load_all(made.stdout))
    for one in documents:
        if not one["apiVersion"].startswith("keda.sh/"):
            kubernetes_validate.validate(one, VERSIONS[-1], strict=True)
    return {one["metadata"]["name"]: one for one in documents if one["kind"] == "Deployment"}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("solver", {"--tls-cert": "tls.crt", "--tls-key": "tls.key", "--verifiers-tls-ca": "ca.crt"}),
        ("verifier", {"--tls-cert": "tls.crt", "--tls-key": "tls.key"}),
        ("worker", {"--verifiers-tls-ca": "ca.crt"}),
    ],
)
def test_with_tls_services_have_certificates_and_clients_know_their_root(
    with_tls: dict[str, dict[str, Any]], name: str, options: dict[str, str]
) -> None:
    pod = with_tls[name]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    for option, file in options.items():
        assert f"{option}=/run/tls/{file}" in container["args"]
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "tls"]
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "tls"]
    assert (volume["secret"]["secretName"], mount["mountPath"]) == ("espalier-tls", "/run/tls")


def test_with_tls_no_probe_asks_in_the_clear(with_tls: dict[str, dict[str, Any]]) -> None:
    for name in ("solver", "verifier"):
        container = with_tls[name]["spec"]["template"]["spec"]["containers"][0]
        for probe in ("startupProbe", "readinessProbe"):
            found = container.get(probe, {})
            assert "grpc" not in found  # such probes speak no TLS
            assert "httpGet" not in found or found["httpGet"]["scheme"] == "HTTPS"


def test_every_service_says_when_it_is_ready() -> None:
    for one in of_kind("Deployment"):
        if one["metadata"]["name"] in ("solver", "verifier", "worker"):
            assert "readinessProbe" in one["spec"]["template"]["spec"]["containers"][0], called(one)
