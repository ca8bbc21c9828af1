#!/usr/bin/env python3
"""Runs the services of compose.yaml as plain processes on free loopback ports, without Docker images.

    python deploy/stack.py                   # until Ctrl-C

Commands, environments, health checks and the order of starting are read from compose.yaml and images/Dockerfile: what
runs here is what runs there. Only what the machine gives differs: addresses, and where secrets, volumes and files lie.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from espalier.common.ports import free_port

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = ROOT / "deploy" / "compose.yaml"
DOCKERFILE = ROOT / "deploy" / "images" / "Dockerfile"

SERVICES = ("redis", "docker-proxy", "verifier", "solver", "worker")
"""Those whose programs are here; Prometheus, Grafana and SGLang come as images."""

START_SECONDS = 180.0
STOP_SECONDS = 60.0
LOOK_SECONDS = 0.3


class StackError(Exception):
    """A service did not start or end as it should; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class Image:
    """What a stage of the Dockerfile says of running it.

    Attributes:
        entrypoint: Goes before the service's command.
        health: Command of the health check.
        files: Where its files come from: path in the image → path here.
    """

    entrypoint: tuple[str, ...] = ()
    health: tuple[str, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Service:
    """A service of compose.yaml.

    Attributes:
        name: Of the service; its host name.
        command: All of it, with the entrypoint.
        environment: Its variables.
        health: Command that exits with 0 when it is healthy.
        needs: Services that have to be healthy first.
        replicas: How many of it run.
        volumes: Paths that are volumes.
        files: Paths in its image → paths here.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    health: tuple[str, ...]
    needs: tuple[str, ...]
    replicas: int
    volumes: tuple[str, ...]
    files: Mapping[str, Path]


def read_services(environment: Mapping[str, str] = os.environ) -> dict[str, Service]:
    """The services of compose.yaml that can run here, with its variables filled in."""
    text = re.sub(
        r"\$\{(\w+)(?::-([^}]*))?\}",
        lambda found: environment.get(found[1]) or found[2] or "",
        COMPOSE.read_text("utf-8"),
    )
    services = yaml.safe_load(text)["services"]
    images = read_images(DOCKERFILE.read_text("utf-8"))
    return {name: _service(name, services[name], images) for name in SERVICES}


def _service(name: str, said: dict[str, Any], images: Mapping[str, Image]) -> Service:
    image = images[said["build"]["target"]] if "build" in said else Image()
    check = said.get("healthcheck", {}).get("test", ["CMD"])
    return Service(
        name=name,
        command=(*image.entrypoint, *said["command"]),
        environment=said.get("environment", {}),
        health=tuple(check[1:]) or image.health,
        needs=tuple(said.get("depends_on", ())),
        replicas=said.get("deploy", {}).get("replicas", 1),
        volumes=tuple(volume.split(":")[1] for volume in said.get("volumes", ()) if not volume.startswith(("/", "."))),
        files=image.files,
    )


def read_images(dockerfile: str) -> dict[str, Image]:
    """The stages of a Dockerfile by name. A stage has what the one that it is made from has."""
    images: dict[str, Image] = {}
    for stage in re.split(r"(?m)^FROM ", dockerfile.replace("\\\n", " "))[1:]:
        first, _, lines = stage.partition("\n")
        base, _, name = first.partition(" AS ")
        known = images.get(base, Image())
        entrypoint = re.search(r"(?m)^ENTRYPOINT (\[.*\])", lines)
        health = re.search(r"(?m)^HEALTHCHECK .*CMD (\[.*\])", lines)
        files = dict(known.files)
        for sources, target in re.findall(r"(?m)^COPY ((?:[^-\s]\S* )+)(/\S+/)$", lines):
            files |= {f"{target}{Path(source).name}": ROOT / source for source in sources.split()}
        images[name.strip()] = Image(
            entrypoint=tuple(json.loads(entrypoint[1])) if entrypoint else known.entrypoint,
            health=tuple(json.loads(health[1])) if health else known.health,
            files=files,
        )
    return images


@dataclass(slots=True)
class Running:
    """A process of a service."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    health: list[str]
    environment: dict[str, str]

    def is_healthy(self) -> bool:
        """
        Raises:
            StackError: It has ended.
        """
        if self.process.poll() is not None:
            raise StackError(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")
        done = subprocess.run(self.health, env=self.environment, capture_output=True, timeout=30, check=False)  # noqa: S603
        return done.returncode == 0

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text("utf-8", errors="replace")[-3000:]


class Stack:
    """All services of one run. Use :func:`running`."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._services = read_services(environment)
        self._directory = directory
        self._ports: dict[tuple[str, str], int] = {}
        self.processes: dict[str, Running] = {}
        self.token = directory / "secrets" / "token"
        self.token.parent.mkdir()
        self.token.write_text(secrets.token_hex(32))

    def address(self, service: str, port: int, number: int = 1) -> str:
        """Where a port of a service, or of one of its replicas, is found here."""
        return f"127.0.0.1:{self._port(_instance(service, number), str(port))}"

    def start(self) -> None:
        """Start all services, each when those that it needs are healthy, and wait until all are.

        Raises:
            StackError: One ended, or was not healthy in time.
        """
        for service in self._services.values():
            for needed in service.needs:
                self._await(needed)
            for number in range(1, service.replicas + 1):
                self._launch(service, number)
        for name in self._services:
            self._await(name)

    def stop(self, name: str) -> int:
        """SIGTERM to one process; its exit status.

        Raises:
            StackError: It did not end in time.
        """
        running = self.processes[name]
        running.process.send_signal(signal.SIGTERM)
        try:
            return running.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise StackError(f"{name} did not end within {STOP_SECONDS:g} s:\n{running.tail()}") from None

    def stop_all(self) -> dict[str, int]:
        """End what still runs, in the reverse of the order of starting; exit statuses of all processes."""
        for name, running in reversed(self.processes.items()):
            if running.process.poll() is None:
                self.stop(name)
        return {name: running.process.returncode for name, running in self.processes.items()}

    def kill(self) -> None:
        """Whatever is left."""
        for running in self.processes.values():
            running.process.kill()
            running.process.wait()

    def _launch(self, service: Service, number: int) -> None:
        name = _instance(service.name, number)
        log = self._directory / f"{name}.log"
        for volume in service.volumes:
            (self._directory / name / volume.strip("/")).mkdir(parents=True)
        said = {key: self._here(str(value), service, name) for key, value in service.environment.items()}
        environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **said}
        with log.open("wb") as sink:
            process = subprocess.Popen(  # noqa: S603
                self._command(service.command, service, name),
                env=environment,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us: services end in their order
            )
        health = self._command(service.health, service, name)
        self.processes[name] = Running(name, process, log, health, environment)

    def _await(self, service: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        for running in [running for name, running in self.processes.items() if name.rpartition("-")[0] == service]:
            while not running.is_healthy():
                if time.monotonic() > deadline:
                    raise StackError(f"{running.name} is not healthy after {START_SECONDS:g} s:\n{running.tail()}")
                time.sleep(LOOK_SECONDS)

    def _command(self, command: Sequence[str], service: Service, name: str) -> list[str]:
        program, *arguments = command
        words: list[str] = [_program(program)]
        for word in arguments:
            is_port = words[-1] in ("--port", "-p")
            words.append(str(self._port(name, word)) if is_port else self._here(word, service, name))
        return words

    def _here(self, text: str, service: Service, name: str) -> str:
        """A word of compose.yaml as it has to be on this machine."""
        for path, source in service.files.items():
            text = text.replace(path, str(source))
        for volume in service.volumes:
            text = re.sub(rf"^{volume}\b", str(self._directory / name / volume.strip("/")), text)
        text = text.replace("/run/secrets", str(self.token.parent))
        text = re.sub(r"^0\.0\.0\.0$", "127.0.0.1", text)
        text = re.sub(
            r"\b(?:0\.0\.0\.0|127\.0\.0\.1):(\d+)", lambda found: f"127.0.0.1:{self._port(name, found[1])}", text
        )
        others = "|".join(other for other in self._services if other != service.name)
        return re.sub(
            rf"(?<![\w.-])({others}):(\d+)",
            lambda found: f"127.0.0.1:{self._port(_instance(found[1], 1), found[2])}",
            text,
        )

    def _port(self, name: str, port: str) -> int:
        if (name, port) not in self._ports:
            self._ports[name, port] = free_port()
        return self._ports[name, port]


@contextmanager
def running(environment: Mapping[str, str] = os.environ) -> Iterator[Stack]:
    """All services, healthy; ended in order afterwards.

    Raises:
        StackError: One did not start or end.
    """
    with tempfile.TemporaryDirectory(prefix="espalier-stack-") as directory:
        stack = Stack(Path(directory), environment)
        try:
            stack.start()
            yield stack
            stack.stop_all()
        finally:
            stack.kill()


def _instance(service: str, number: int) -> str:
    return f"{service}-{number}"


def _program(name: str) -> str:
    """The program of this environment: `python` is this one, `espalier` the one beside it."""
    if name == "python":
        return sys.executable
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise StackError(f"{name} is not installed; `espalier doctor` says what else is missing")
    return found


def main() -> None:
    """Start the stack, print its addresses, and stop it when the user does."""
    try:
        with running() as stack:
            print(f"gRPC      {stack.address('solver', 50051)}")
            print(f"OpenAI    http://{stack.address('solver', 8000)}/v1")
            print(f"Redis     redis://{stack.address('redis', 6379)}/0")
            print(f"verifier  {stack.address('verifier', 50061)}")
            print(f"token     {stack.token}")
            print("Ctrl-C ends it.", flush=True)
            with suppress(KeyboardInterrupt):
                signal.pause()
    except StackError as error:
        sys.exit(f"stack.py: {error}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main()
