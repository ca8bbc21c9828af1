"""Docker containers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker
import docker.errors
import requests

from espalier.verifiers.code.box import BoxChannel, ZygoteRefused
from espalier.verifiers.code.owner import owner_is_dead, owner_tag
from espalier.verifiers.code.sandbox import PACKAGES, SHM_OPTIONS, BoxSpec, SandboxError, tmp_options
from espalier.verifiers.code.seccomp import docker_profile
from espalier.verifiers.code.users import REMAPPED, UNUSED, own_user

LABEL = "espalier.sandbox"
IMAGE_REPOSITORY = "espalier-sandbox"
FILE_BYTES = 64 << 20
OVERHEAD_MIB = 32
"""Memory for the runner itself."""
API_SECONDS = 60
FORBIDDEN = 403
"""What a proxy in front of the daemon answers, or a plug-in in it, that lets no zygotes be made."""
STDOUT = 1
"""Stream number in the daemon's framing of an attached stream."""


class DockerLauncher:
    """Starts containers through the daemon that DOCKER_HOST names.

    Each has a user for itself, and the command is process 1. It ends, and the daemon removes the container, when our
    end of the attached stream closes: nothing outlives a killed owner but a container caught between creation and
    start, which `prepare` removes.

    Args:
        runtime: OCI runtime, for example "runsc"; None for the daemon's default.
        cpus: Processor share of one box.
        pids: Processes and threads of one box.
    """

    name = "docker"

    def __init__(self, *, runtime: str | None = None, cpus: float = 1.0, pids: int = 64) -> None:
        self._runtime = runtime
        self._cpus = cpus
        self._pids = pids
        self._owner = owner_tag()
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="docker")
        self._client: docker.APIClient | None = None
        self._remapped: bool | None = None
        """Whether the daemon maps the users of containers; not known before it was asked."""
        self._removals: set[asyncio.Task[None]] = set()
        """Of containers that were not wanted any more, or did not start."""

    async def prepare(self) -> None:
        await self._call(self._prepare)

    async def launch(self, spec: BoxSpec, command: tuple[str, ...], *, zygote: bool) -> BoxChannel:
        making = asyncio.ensure_future(self._call(self._create, spec, command, zygote))
        try:
            container, stream = await asyncio.shield(making)
            reader, writer = await asyncio.open_connection(sock=stream)
        except (
            BaseException
        ):  # the thread that makes it cannot be interrupted, and no other part knows of the container
            self._in_background(self._give_up(making))
            raise
        demultiplexed = _Demultiplexer(reader)

        async def write(data: bytes) -> None:
            writer.write(data)
            await writer.drain()

        async def close() -> None:
            writer.transport.abort()
            await self._remove(container)

        async def complaint() -> str:
            return demultiplexed.complaint()

        try:
            await self._call(self._api().start, container)
        except (SandboxError, asyncio.CancelledError):
            self._in_background(close())
            raise
        return BoxChannel(demultiplexed.read, write, reader.at_eof, close, complaint)

    def _in_background(self, removal: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(removal)
        self._removals.add(task)
        task.add_done_callback(self._removals.discard)

    async def _give_up(self, making: asyncio.Future[tuple[str, socket.socket]]) -> None:
        with contextlib.suppress(SandboxError):
            container, stream = await making
            stream.close()
            await self._remove(container)

    async def close(self) -> None:
        if self._removals:
            await asyncio.wait(self._removals, timeout=API_SECONDS)
        self._threads.shutdown(wait=False)  # a call that the daemon does not answer must not hold the event loop
        if self._client is not None:
            self._client.close()

    def _api(self) -> docker.APIClient:
        if self._client is None:
            # Honours DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH.
            self._client = docker.DockerClient.from_env(timeout=API_SECONDS, max_pool_size=16).api
        return self._client

    def _prepare(self) -> None:
        self._api().ping()
        if self._runtime is not None and self._runtime not in self._api().info().get("Runtimes", {}):
            raise SandboxError(f"the Docker daemon has no runtime '{self._runtime}'; install it or unset the runtime")
        for found in self._api().containers(all=True, filters={"label": LABEL}):
            if owner_is_dead(found["Labels"][LABEL]):
                self._remove_now(found["Id"])

    def _users(self) -> range:
        """The users that a container may have: a daemon in a user namespace has fewer, and none of them is the host's
        own user of that number."""
        if self._remapped is None:
            options = " ".join(self._api().info().get("SecurityOptions") or ())
            self._remapped = "name=rootless" in options or "name=userns" in options
        return REMAPPED if self._remapped else UNUSED

    def _create(self, spec: BoxSpec, command: tuple[str, ...], zygote: bool) -> tuple[str, socket.socket]:
        memory = (spec.memory_mib + OVERHEAD_MIB) << 20
        api = self._api()
        user = own_user(self._users())
        access = f"rw,nosuid,nodev,{'exec' if spec.executable_tmp else 'noexec'}"
        # Where paths of /proc are covered, the kernel lets a zygote mount no other; it hides them in its boxes itself.
        uncovered: dict[str, list[str]] = {"MaskedPaths": [], "ReadonlyPaths": []} if zygote else {}
        try:
            container = api.create_container(
                f"{IMAGE_REPOSITORY}:{spec.image}",
                entrypoint=list(command),
                command=[],
                user=f"{user}:{user}",
                working_dir="/tmp",  # noqa: S108 (inside the box)
                environment={},
                stdin_open=True,
                network_disabled=True,
                labels={LABEL: self._owner},
                host_config=uncovered
                | api.create_host_config(
                    auto_remove=True,
                    binds={spec.packages: {"bind": PACKAGES, "mode": "ro"}} if spec.packages else None,
                    cap_drop=["ALL"],
                    cgroupns="private",
                    ipc_mode="private",
                    log_config=docker.types.LogConfig(type="none"),
                    mem_limit=memory,
                    memswap_limit=memory,
                    nano_cpus=int(self._cpus * 1e9),
                    network_mode="none",
                    pids_limit=self._pids + zygote,
                    read_only=True,
                    runtime=self._runtime,
                    security_opt=["no-new-privileges", f"seccomp={docker_profile(zygote=zygote)}"],
                    tmpfs={
                        "/tmp": f"{access},{tmp_options(spec)}",  # noqa: S108 (inside the box)
                        "/dev/shm": f"rw,nosuid,nodev,noexec,{SHM_OPTIONS}",  # noqa: S108
                    },
                    ulimits=[
                        docker.types.Ulimit(name="core", soft=0, hard=0),
                        docker.types.Ulimit(name="nofile", soft=256, hard=256),
                        docker.types.Ulimit(name="fsize", soft=FILE_BYTES, hard=FILE_BYTES),
                    ],
                ),
            )["Id"]
        except docker.errors.ImageNotFound as error:
            raise SandboxError(
                f"the image {IMAGE_REPOSITORY}:{spec.image} is missing; "
                f"run scripts/sandbox-image.sh {spec.image}, or build deploy/sandbox/Dockerfile"
            ) from error
        except docker.errors.APIError as error:
            if zygote and error.status_code == FORBIDDEN:
                raise ZygoteRefused(str(error)) from error
            raise
        try:
            return container, self._attach(container)
        except BaseException:
            self._remove_now(container)
            raise

    def _attach(self, container: str) -> socket.socket:
        attached: Any = self._api().attach_socket(container, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        raw = getattr(attached, "_sock", None)
        if type(raw) is not socket.socket:
            raise SandboxError("the Docker daemon must be reached over a Unix or plain TCP socket, not TLS or ssh")
        # Ours to close; the SDK's response keeps its own descriptor until it is collected.
        stream = socket.socket(fileno=os.dup(raw.fileno()))
        attached.close()
        raw.close()
        stream.setblocking(False)
        return stream

    async def _remove(self, container: str) -> None:
        with contextlib.suppress(SandboxError):
            await asyncio.shield(self._call(self._remove_now, container))

    def _remove_now(self, container: str) -> None:
        try:
            self._api().remove_container(container, force=True, v=True)
        except (docker.errors.NotFound, docker.errors.APIError) as error:
            if error.status_code not in (404, 409):  # gone, or being removed already
                raise

    async def _call(self, function: Any, *arguments: Any) -> Any:
        """Run a blocking call of the SDK in a thread; every trouble with the daemon is a SandboxError."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            raise SandboxError(
                f"the Docker daemon does not serve: {error}; start it (scripts/dockerd.sh where it may), "
                "or choose the bubblewrap sandbox"
            ) from error
        except RuntimeError as error:  # the threads are shut down
            raise SandboxError(str(error)) from error


class _Demultiplexer:
    """The runner's standard output out of the daemon's stream; its standard error is kept for messages."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._buffer = bytearray()
        self._stderr = b""

    async def read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            stream, length = struct.unpack(">BxxxL", await self._reader.readexactly(8))
            payload = await self._reader.readexactly(length)
            if stream == STDOUT:
                self._buffer += payload
            else:
                self._stderr = (self._stderr + payload)[-2048:]
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def complaint(self) -> str:
        return f": {self._stderr.decode(errors='replace').strip()}" if self._stderr else ""
