"""The compose file: Docker's own reading of it, and what it must not allow."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml
from deploy.stack import COMPOSE, DOCKERFILE, ROOT, SERVICES, read_images, read_services

SAID: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())


def compose_command() -> list[str]:
    """`docker compose`, or Debian's docker-compose."""
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0:
        return ["docker", "compose"]
    found = shutil.which("docker-compose")
    assert found, "neither `docker compose` nor docker-compose is here; scripts/test-needs.sh installs one"
    return [found]


@pytest.mark.parametrize("profile", ["", "gpu"])
def test_docker_compose_reads_it(profile: str) -> None:
    options = ["--profile", profile] if profile else []
    done = subprocess.run(
        [*compose_command(), "-f", str(COMPOSE), *options, "config"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    assert set(SERVICES) <= services.keys()
    assert services["worker"]["environment"]["ESPALIER_REDIS"] == "redis://redis:6379/0"


def test_the_services_that_run_as_processes_are_all_but_those_from_elsewhere() -> None:
    built = {name for name, service in SAID["services"].items() if "build" in service}
    assert set(SERVICES) == (built | {"redis"}) - {"engine"}
    assert read_services({}).keys() == set(SERVICES)


@pytest.mark.parametrize("name", sorted(SAID["services"]))
def test_every_service_is_confined_checked_and_pinned(name: str) -> None:
    service = SAID["services"][name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.search(r":v?\d+\.\d+\.\d+", service["image"])
    if "build" in service:
        assert read_images(DOCKERFILE.read_text())[service["build"]["target"]].health
    else:
        assert service["healthcheck"]["test"]


def test_ports_are_open_to_this_machine_only() -> None:
    ports = [port for service in SAID["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_only_the_proxy_sees_the_docker_daemon_and_only_the_verifier_the_proxy() -> None:
    seeing = {
        name
        for name, service in SAID["services"].items()
        if any("docker.sock" in volume for volume in service.get("volumes", []))
    }
    assert seeing == {"docker-proxy"}
    assert {name for name, service in SAID["services"].items() if "docker" in service["networks"]} == {
        "docker-proxy",
        "verifier",
    }
    assert SAID["networks"]["docker"]["internal"] is True


def test_services_that_listen_to_others_ask_for_the_token() -> None:
    for name in ("verifier", "solver"):
        assert "--token-file" in SAID["services"][name]["command"]
        assert "--insecure" not in SAID["services"][name]["command"]


def test_mounted_files_exist() -> None:
    for service in SAID["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / "deploy" / source).exists(), source
