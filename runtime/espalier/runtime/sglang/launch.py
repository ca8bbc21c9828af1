"""Start an SGLang server with the plugin on, and stop it again with all its processes."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path

from espalier.common.distribution import install
from espalier.common.ports import free_port
from espalier.common.security import is_loopback
from espalier.runtime.engine import EngineError, EngineUnavailable
from espalier.runtime.sglang.client.server import Profile, Server, session

PLUGINS = "sglang.srt.plugins"
OURS = ("--model", "--model-path", "--host", "--port", "--api-key")
"""Flags of SGLang that have an option of their own here."""

DRAIN = 30.0
"""Seconds for requests on their way after SIGTERM."""


class LaunchError(EngineError):
    """The server cannot be started as asked; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What to start.

    Attributes:
        model: Directory, or a name that SGLang can resolve.
        host: Where to listen. Other than loopback wants a key or `insecure`.
        port: Where to listen; 0 takes a free one.
        key: What callers have to show.
        insecure: Serve anyone who can reach it.
        flags: For SGLang, as on its own command line.
        environment: Variables of the server beside those of this process.
    """

    model: str
    host: str = "127.0.0.1"
    port: int = 30000
    key: str | None = field(default=None, repr=False)
    insecure: bool = False
    flags: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def require_possible(self) -> None:
        """
        Raises:
            LaunchError: Something is missing or in the way.
        """
        taken = next((flag for flag in self.flags if flag.split("=")[0] in OURS), None)
        if taken:
            raise LaunchError(f"{taken} belongs to `espalier engine serve` itself: --model, --host, --port, --key-file")
        if self.key and "--config" in self.flags:
            raise LaunchError("--key-file and SGLang's --config exclude each other; write api-key into that file")
        if not (is_loopback(self.host) or self.key or self.insecure):
            raise LaunchError(
                f"{self.host} can be reached from other machines: give --key-file, or --insecure to serve anyone"
            )
        looks_like_path = self.model.startswith((".", "/", "~"))
        if looks_like_path and not (Path(self.model).expanduser() / "config.json").is_file():
            raise LaunchError(f"no model at {self.model}: there is no config.json")
        if importlib.util.find_spec("sglang") is None:
            raise LaunchError(f"SGLang is not installed; {install('sglang')}")
        if not any(point.value.startswith("espalier.") for point in entry_points(group=PLUGINS)):
            raise LaunchError(f"this installation of Espalier has no entry point {PLUGINS}; install it again with pip")
        if not any(flag.split("=")[0] == "--device" for flag in self.flags) and not _has_gpu():
            raise LaunchError("SGLang needs a GPU and there is none; the embedded engine does not: --engine local:PATH")
        _require_free(self.host, self.port)

    def words(self, port: int, config: Path | None) -> list[str]:
        """The command line."""
        directory = Path(self.model).expanduser()  # clients read the tokenizer there, from wherever they are
        model = str(directory.resolve()) if directory.is_dir() else self.model
        words = [sys.executable, "-m", "sglang.launch_server", "--model-path", model]
        words += ["--host", self.host, "--port", str(port), "--incremental-streaming-output"]
        return [*words, *(["--config", str(config)] if config else []), *self.flags]


@dataclass(frozen=True, slots=True)
class Served:
    """A healthy server.

    Attributes:
        engine: The setting that reaches it, `sglang://HOST:PORT`.
        profile: What it says about itself.
        process: The parent of its processes.
    """

    engine: str
    profile: Profile
    process: subprocess.Popen[bytes]


@asynccontextmanager
async def served(launch: Launch, log: Callable[[str], None]) -> AsyncIterator[Served]:
    """A server that is healthy inside the block and gone after it.

    Args:
        launch: What to start.
        log: Called with each line that the server writes.

    Raises:
        LaunchError: It could not be started, ended before it was healthy, or runs without the plugin.
    """
    launch.require_possible()
    port = launch.port or free_port(launch.host)
    # Rollouts carry log-probabilities at temperature 1, whatever temperature drew the tokens.
    environment = os.environ | {"SGLANG_RETURN_ORIGINAL_LOGPROB": "1", **launch.environment}
    with _config(launch.key) as config:
        process = _spawn(launch.words(port, config), environment)
        reading = asyncio.create_task(_pass_on(process, log))
        try:
            profile = await _healthy(launch, port, process)
            yield Served(f"sglang://{_reachable(launch.host)}:{port}", profile, process)
        finally:
            await _stop(process)
            await asyncio.wait([reading], timeout=1.0)  # its last words
            reading.cancel()
            await asyncio.wait([reading])


def _spawn(words: list[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start the server. Not by asyncio: the end of its subprocesses is not seen while a child of theirs lives on."""
    return subprocess.Popen(  # noqa: S603 (a command line of ours)
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,  # a Ctrl-C is for us to pass on, once
    )


async def _healthy(launch: Launch, port: int, process: subprocess.Popen[bytes]) -> Profile:
    async with session(launch.key) as http:
        server = Server(f"http://{_reachable(launch.host)}:{port}", http)
        while process.poll() is None:
            try:
                profile = await server.meet()
            except EngineUnavailable:
                await asyncio.sleep(0.2)
                continue
            if profile.no_plugin:
                raise LaunchError(
                    f"SGLang {profile.version} runs without native parallel reasoning: {profile.no_plugin}"
                )
            return profile
    raise LaunchError(f"SGLang ended with status {process.returncode} before it was healthy; its last words say why")


async def _pass_on(process: subprocess.Popen[bytes], log: Callable[[str], None]) -> None:
    said = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(said), process.stdout
    )
    rest = b""
    try:
        while piece := await said.read(1 << 16):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                log(line.decode(errors="replace").rstrip())
    finally:
        transport.close()


async def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM lets SGLang finish what runs; whatever is left of its processes after that is killed."""
    try:
        process.send_signal(signal.SIGTERM)  # nothing where it has ended
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(process.wait, DRAIN)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    await asyncio.to_thread(process.wait)


@contextmanager
def _config(key: str | None) -> Iterator[Path | None]:
    """The key in a file that only we can read: a command line can be read by everyone."""
    if key is None:
        yield None
        return
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(f"api-key: '{key.replace(chr(39), chr(39) * 2)}'\n")
        file.flush()
        yield Path(file.name)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _reachable(host: str) -> str:
    """An address for ourselves: one that listens everywhere is reached on loopback."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (compared, not bound)
    return f"[{host}]" if ":" in host else host


def _require_free(host: str, port: int) -> None:
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        raise LaunchError(f"{host}:{port} cannot be listened on: {error.strerror}; choose another --port") from None
