"""Lets the verifiers make sandbox boxes with a Docker daemon, and nothing else.

    python docker_proxy.py --listen 0.0.0.0:2375 --seccomp seccomp.json --zygote-seccomp seccomp_zygote.json

A process that can talk to a Docker daemon owns its machine: one container with the host's root mounted is enough.
Proxies that filter by path alone do not change that: `POST /containers/create` has to be open. This one reads the body.
A container may be made only in the shape of a box (no mounts, no network, no capabilities, read-only, our system-call
list, our image, with limits) or of a zygote, which makes boxes in its container, and only containers that carry the
sandbox's label can be attached, started or removed.

It needs nothing but Python's standard library. One connection carries one request; what goes to the daemon is written
anew from what was understood, so that no two readings of a request can differ.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

LABEL = "espalier.sandbox"
MAX_HEAD = 32 << 10
MAX_BODY = 1 << 20
MAX_MEMORY = 4 << 30
REQUEST_SECONDS = 30.0

CONTAINER = re.compile(r"(?:/v1\.\d+)?/containers/([0-9a-f]{64})(/start|/attach)?")
LISTING = re.compile(r"(?:/v1\.\d+)?/containers/json")
PLAIN = re.compile(r"(?:/v1\.\d+)?(/_ping|/version|/info|/containers/create)")
"""Without a query."""

BOX = {"NetworkDisabled": True, "WorkingDir": "/tmp"}  # noqa: S108 (in the box)
"""Fields of a container that must be so."""

BOX_HOST = {
    "AutoRemove": True,
    "CapDrop": ["ALL"],
    "CgroupnsMode": "private",
    "IpcMode": "private",
    "LogConfig": {"Type": "none", "Config": {}},
    "NetworkMode": "none",
    "ReadonlyRootfs": True,
}
"""Fields of its HostConfig that must be so."""

USERS = (range(0x7000_0000, 0x8000_0000), range(1 << 14, 65534))
"""A box has one of them for itself: of the first where containers have the host's users, of the second elsewhere."""

BOX_FREE = {"User", "Image", "Entrypoint", "Cmd", "Labels", "OpenStdin", "StdinOnce"} | {
    f"Attach{stream}" for stream in ("Stdin", "Stdout", "Stderr")
}
"""Fields of a container that may be anything, beside what `box_of` says of them."""

BOX_HOST_LIMITED = {"Memory", "MemorySwap", "NanoCpus", "PidsLimit", "SecurityOpt", "Tmpfs", "Ulimits", "Runtime"}
"""Fields of its HostConfig that `box_of` looks at one by one."""


class Refused(Exception):
    """A request that does not go to the daemon; the message says why."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for, as far as it counts."""

    method: str
    target: str
    body: bytes = b""

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    def head(self, connection: str) -> bytes:
        """The head that the daemon gets."""
        lines = [
            f"{self.method} {self.target} HTTP/1.1",
            "Host: docker",
            f"Connection: {connection}",
            *(["Upgrade: tcp"] if connection == "Upgrade" else []),
            "Content-Type: application/json",
            f"Content-Length: {len(self.body)}",
        ]
        return "\r\n".join([*lines, "", ""]).encode("ascii")


def box_of(container: Any, seccomp: Any, zygote_seccomp: Any = None) -> dict[str, Any]:
    """What a body of `POST /containers/create` says, with the fields that a box has and no others.

    The daemon reads names of fields in any case, and the last of two: so the body itself is never passed on.

    Args:
        container: The body.
        seccomp: The list of system calls of a box.
        zygote_seccomp: The list of a zygote, if there may be any. It has to mount a /proc of its own for each of its
            boxes, which needs one that is not covered in part: that comes with this list, and with no other.

    Raises:
        Refused: It describes something else than a box.
    """
    if not isinstance(container, dict) or not isinstance(container.get("HostConfig"), dict):
        raise Refused("a box has a HostConfig")
    host, own = _set(container["HostConfig"]), _set(container)
    del own["HostConfig"]
    _same(own, BOX, "")
    _same(host, BOX_HOST, "HostConfig.")
    if unknown := (own.keys() - BOX.keys() - BOX_FREE) | (host.keys() - BOX_HOST.keys() - BOX_HOST_LIMITED):
        raise Refused(f"a box does not set {', '.join(sorted(unknown))}")
    user = re.fullmatch(r"([0-9]{5,10}):\1", str(own.get("User")))
    if user is None or not any(int(user[1]) in users for users in USERS):
        raise Refused("User has to be the sandbox's: one number twice, of 1879048192 to 2147483647 or 16384 to 65533")
    if not re.fullmatch(r"espalier-sandbox:[a-z0-9_.-]+", str(own.get("Image"))):
        raise Refused("the image has to be espalier-sandbox:…")
    if not isinstance(own.get("Labels"), dict) or LABEL not in own["Labels"]:
        raise Refused(f"the label {LABEL} is missing")
    if not _positive(host.get("Memory"), MAX_MEMORY) or host.get("MemorySwap") != host["Memory"]:
        raise Refused(f"Memory has to be at most {MAX_MEMORY} bytes, and MemorySwap the same")
    if not _positive(host.get("PidsLimit"), 4096) or not _positive(host.get("NanoCpus"), 10**12):
        raise Refused("PidsLimit and NanoCpus have to be set")
    if not set(host.get("Tmpfs") or {}) <= {"/tmp", "/dev/shm"}:  # noqa: S108 (in the box)
        raise Refused("Tmpfs is for /tmp and /dev/shm")
    if host.get("Runtime") not in (None, "runc", "runsc"):
        raise Refused("Runtime has to be runc or runsc")
    listed = _list_of(host.get("SecurityOpt"))
    if listed is None or listed not in (seccomp, zygote_seccomp):
        raise Refused("SecurityOpt has to be no-new-privileges and the sandbox's list of system calls")
    uncovered: dict[str, Any] = {"MaskedPaths": [], "ReadonlyPaths": []} if listed == zygote_seccomp else {}
    return {**own, "HostConfig": host | uncovered}


def _set(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that are set at all; clients send the others too, as null or empty."""
    return {name: value for name, value in fields.items() if value not in (None, [], {}, "", 0, False)}


def _same(fields: dict[str, Any], wanted: Mapping[str, Any], at: str) -> None:
    for name, value in wanted.items():
        if fields.get(name) != value:
            raise Refused(f"{at}{name} has to be {value!r}")


def _positive(value: object, most: int) -> bool:
    return type(value) is int and 0 < value <= most


def _list_of(options: object) -> Any:
    """The list of system calls that the options ask for; None where they are no box's."""
    if not isinstance(options, list) or len(options) != 2 or options[0] != "no-new-privileges":
        return None
    name, _, text = str(options[1]).partition("=")
    return _json(text) if name == "seccomp" else None


class DockerProxy:
    """The proxy.

    Args:
        daemon: Path of the daemon's socket.
        seccomp: The list of system calls of a box.
        zygote_seccomp: The list of a zygote; None when there may be no zygotes.
    """

    def __init__(self, daemon: str, seccomp: Any, zygote_seccomp: Any = None) -> None:
        self._daemon = daemon
        self._lists = (seccomp, zygote_seccomp)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: one request, then its answer until the end."""
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                request = await self._admit(await read_request(reader))
            await self._pass_on(request, reader, writer)
        except Refused as error:
            print(f"refused: {error}", file=sys.stderr, flush=True)
            writer.write(_error(403, f"docker-proxy: {error}"))
        except (OSError, TimeoutError, EOFError) as error:
            writer.write(_error(502, f"docker-proxy: {type(error).__name__}: {error}"))
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _admit(self, request: Request) -> Request:
        """The request as it goes to the daemon.

        Raises:
            Refused: It is not one that a sandbox needs.
        """
        if found := PLAIN.fullmatch(request.target):
            if request.method in ("GET", "HEAD") and found[1] != "/containers/create":
                return request
            if (request.method, found[1]) == ("POST", "/containers/create"):
                return replace(request, body=json.dumps(box_of(_json(request.body), *self._lists)).encode())
        if LISTING.fullmatch(request.path) and request.method == "GET" and LABEL in _wanted_labels(request.target):
            return request
        if found := CONTAINER.fullmatch(request.path):
            wanted = (("POST", "/start"), ("POST", "/attach"), ("DELETE", None))
            if (request.method, found[2]) in wanted and not request.body and await self._is_box(found[1]):
                return request
        raise Refused(f"{request.method} {request.path} is not for sandboxes")

    async def _is_box(self, container: str) -> bool:
        """Whether a container carries the sandbox's label. Of one that is gone the daemon may say so itself."""
        reader, writer = await asyncio.open_unix_connection(self._daemon)
        try:
            writer.write(f"GET /containers/{container}/json HTTP/1.0\r\n\r\n".encode())
            head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
        finally:
            writer.close()
        status = head.split(b" ", 2)[1:2]
        return status == [b"404"] or (status == [b"200"] and LABEL in (_json(body)["Config"]["Labels"] or {}))

    async def _pass_on(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        attach = request.path.endswith("/attach")
        upstream, sink = await asyncio.open_unix_connection(self._daemon)
        try:
            sink.write(request.head("Upgrade" if attach else "close") + request.body)
            answering = asyncio.create_task(_copy(upstream, writer))
            asking = asyncio.create_task(_copy(reader, sink)) if attach else answering
            await asyncio.wait({answering, asking}, return_when=asyncio.FIRST_COMPLETED)
            for task in (answering, asking):
                task.cancel()
        finally:
            sink.close()


async def read_request(reader: asyncio.StreamReader) -> Request:
    """
    Raises:
        Refused: It is no request that could be passed on.
    """
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
    except (asyncio.LimitOverrunError, UnicodeDecodeError):
        raise Refused("the head of the request is too long, or not ASCII") from None
    first, *lines = head.rstrip("\r\n").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    parts = first.split(" ")
    if len(parts) != 3 or parts[2] != "HTTP/1.1" or not re.fullmatch(r"/[!-~]*", parts[1]):
        raise Refused("not a request of HTTP/1.1")
    length = headers.get("content-length", "0")
    if "transfer-encoding" in headers or not length.isdecimal() or int(length) > MAX_BODY:
        raise Refused(f"the body needs a Content-Length of at most {MAX_BODY}")
    return Request(parts[0], parts[1], await reader.readexactly(int(length)))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()


def _wanted_labels(target: str) -> list[str]:
    """The labels by which a list of containers is filtered."""
    filters = _json((parse_qs(urlsplit(target).query).get("filters") or ["{}"])[0])
    labels = filters.get("label", []) if isinstance(filters, Mapping) else []
    return [str(label) for label in labels]


def _json(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Refused("a body or a filter is not JSON") from None


def _error(status: int, message: str) -> bytes:
    body = json.dumps({"message": message}).encode()
    head = f"HTTP/1.1 {status} Refused\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body


async def run(host: str, port: int, proxy: DockerProxy) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = await asyncio.start_server(proxy.serve, host, port, limit=MAX_HEAD)
    print(f"listening on {host}:{server.sockets[0].getsockname()[1]}", file=sys.stderr, flush=True)
    await stop.wait()
    server.close()


def lists(seccomp: Path, zygote_seccomp: Path | None) -> tuple[Any, Any]:
    """The system calls of a box, and those of a zygote where there may be any: the same and what its file adds."""
    box = json.loads(seccomp.read_text("utf-8"))
    if zygote_seccomp is None:
        return box, None
    return box, {**box, "syscalls": box["syscalls"] + json.loads(zygote_seccomp.read_text("utf-8"))}


def main() -> None:
    """Read the options and serve until a signal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", default="127.0.0.1:2375", metavar="HOST:PORT")
    parser.add_argument("--daemon", default="/var/run/docker.sock", help="the daemon's socket")
    parser.add_argument("--seccomp", type=Path, required=True, help="the sandbox's list of system calls (JSON)")
    parser.add_argument("--zygote-seccomp", type=Path, help="what a zygote may call besides; without it there are none")
    arguments = parser.parse_args()
    host, _, port = arguments.listen.rpartition(":")
    if not port.isdecimal():
        parser.error(f"--listen {arguments.listen}: give HOST:PORT")
    proxy = DockerProxy(arguments.daemon, *lists(arguments.seccomp, arguments.zygote_seccomp))
    asyncio.run(run(host.strip("[]"), int(port), proxy))


if __name__ == "__main__":
    main()
