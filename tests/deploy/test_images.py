"""The Dockerfile, without a registry: pinned, without root, health-checked, and all that it installs known."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest
from deploy.stack import DOCKERFILE, ROOT, read_images
from packaging.requirements import Requirement

TEXT = DOCKERFILE.read_text()
STAGES = dict(re.findall(r"(?ms)^FROM \S+ AS ([\w-]+)\n(.*?)(?=^FROM |\Z)", TEXT))
SERVICES = {"verifier", "solver", "docker-proxy", "engine"}
CONSTRAINTS = {
    requirement.name: requirement.specifier
    for requirement in map(Requirement, re.findall(r"(?m)^[^#\n].*", (ROOT / "constraints.txt").read_text()))
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_every_base_is_pinned_to_a_version() -> None:
    bases = re.findall(r"(?m)^ARG \w+=(\S+)", TEXT)
    assert bases
    for base in bases:
        assert re.search(r":v?\d+\.\d+\.\d+", base), base
    for base in re.findall(r"(?m)^FROM (\S+)", TEXT):
        assert base.startswith("${") or base in STAGES


@pytest.mark.parametrize("stage", sorted(SERVICES))
def test_services_run_without_root_and_say_how_they_are(stage: str) -> None:
    body = STAGES[stage]
    assert re.search(r"(?m)^USER 10001:10001$", body)
    assert body.rindex("USER ") > body.rindex("RUN ") if "RUN " in body else True
    image = read_images(TEXT)[stage]
    assert image.entrypoint
    assert image.health


def test_nothing_is_copied_that_does_not_exist_or_is_not_in_the_build_context() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for sources in re.findall(r"(?m)^COPY ((?:[^-\s]\S* )+)\S+$", TEXT):
        for source in sources.split():
            assert (ROOT / source).exists(), source
            assert any(source.removeprefix("./").startswith(name) for name in allowed), source


def test_nothing_is_installed_without_its_version() -> None:
    installed = re.findall(r"pip install (?:[^&\n]|\n(?! *&&))*", TEXT.replace("\\\n", " "))
    assert installed
    for command in installed:
        assert "-c /tmp/constraints.txt" in command or "--no-deps" in command, command


def test_every_dependency_has_its_version_and_that_is_one_the_project_takes() -> None:
    extras = PROJECT["optional-dependencies"]
    wanted = [
        *PROJECT["dependencies"],
        *(line for name in ("http", "otel", "train", "docs", "dev") for line in extras[name]),
    ]
    for requirement in map(Requirement, wanted):
        if requirement.name == PROJECT["name"]:
            continue
        (pin,) = CONSTRAINTS[requirement.name.lower()]
        assert pin.operator == "=="
        assert requirement.specifier.contains(pin.version), requirement


def test_the_base_of_the_package_serves_verifiers_client_and_service_without_torch() -> None:
    base = {Requirement(line).name for line in PROJECT["dependencies"]}
    absent = {Requirement(line).name for line in PROJECT["optional-dependencies"]["local"]} - base
    assert "torch" in absent
    program = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
sys.argv = ["espalier", "verifiers", "describe", "--only", "math"]
import espalier.solver.service.server, espalier.solver.service.servicer, espalier.solver.batch.queue
import espalier.verifiers.remote, espalier.runtime.sglang.client.engine
from espalier.solver.cli.main import main
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
