"""The port of the sandbox: a job goes in, raw results come out. What is expected never enters."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol

PACKAGES = "/tmp/packages"  # noqa: S108 (inside the box)
"""Where a box has the directory `BoxSpec.packages`."""

TMP_INODES_PER_MIB = 64

SHM_BYTES = 64 << 20
SHM_OPTIONS = f"size={SHM_BYTES},nr_inodes=256,mode=1777"
"""Of the tmpfs at /dev/shm."""


class SandboxError(Exception):
    """The sandbox failed, not the program: no daemon, no box, a box that died or fell silent."""


class CommandStop(StrEnum):
    """Why a command was ended before it ended itself."""

    TIME = "time"
    """Its processor time was used up."""
    WALL = "wall"
    """It had processor time left, but the clock had run out: it waited, or the machine was too busy."""
    OUTPUT = "output"
    START = "start"
    """It could not be started any more, because of what an earlier command left in the box (a full disk)."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command to run in the box.

    Attributes:
        argv: The command line.
        stdin: Its standard input.
        seconds: Limit of processor time, of all its processes together.
        wall_seconds: Limit of time on the clock.
        private: No later command may find its standard input: not even in what is left in the runner's memory.
        output_bytes: Cap of standard output; at the cap the command is ended. The result channel has the same, but at
            least 64 KiB.
    """

    argv: tuple[str, ...]
    stdin: str = ""
    seconds: float = 5.0
    wall_seconds: float = 25.0
    output_bytes: int = 1 << 20
    private: bool = False


@dataclass(frozen=True, slots=True)
class CommandOutcome:
    """What one command did: data, whatever it was.

    Attributes:
        stdout: Captured up to the cap.
        stderr: Its first 64 KiB.
        result: What it wrote to the descriptor named by RESULT_FD.
        exit_code: None when a signal ended it.
        signal: The signal that ended it.
        stopped: Set when the box ended it.
        seconds: Wall-clock time.
        cpu_seconds: Processor time of all its processes together.
        memory_mib: Peak resident memory of the largest process.
    """

    stdout: bytes = b""
    stderr: bytes = b""
    result: bytes = b""
    exit_code: int | None = None
    signal: int | None = None
    stopped: CommandStop | None = None
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory_mib: float = 0.0


@dataclass(frozen=True, slots=True)
class BoxSpec:
    """What a box is made with; boxes of equal spec are interchangeable.

    Attributes:
        image: Name of the language's image (`espalier-sandbox:IMAGE`) or root file system.
        memory_mib: Memory for the programs, files in /tmp included.
        executable_tmp: Files in /tmp may be executed (compiled languages).
        tmp_mib: Size of /tmp.
        packages: Directory of this machine that is mounted read-only at /tmp/packages; empty: none. All
            users must be able to read it.
    """

    image: str
    memory_mib: int = 256
    executable_tmp: bool = False
    tmp_mib: int = 64
    packages: str = ""


def tmp_options(spec: BoxSpec) -> str:
    """Options of the tmpfs at /tmp."""
    return f"size={spec.tmp_mib << 20},nr_inodes={TMP_INODES_PER_MIB * spec.tmp_mib},mode=1777"


@dataclass(frozen=True, slots=True)
class Job:
    """The commands of one single-use box, asked for one after the other.

    Attributes:
        spec: The box it needs.
        files: Texts written to /tmp/job before the first command.
        commands: Run in order, each taken when the one before is done and in a directory of its own; all processes of
            one are gone before the next.
    """

    spec: BoxSpec
    commands: Iterable[Command]
    files: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Health:
    """Whether jobs can run now, why not, and what makes them slower than they could be."""

    ok: bool
    detail: str
    remark: str = ""


class Sandbox(Protocol):
    """Runs untrusted commands in single-use boxes."""

    async def start(self) -> None:
        """Become ready: check what it rests on, clear away what dead owners left, warm the pool.

        Raises:
            SandboxError: What is missing, and what to do about it.
        """
        ...

    def run(self, job: Job) -> AsyncGenerator[CommandOutcome, None]:
        """Run the commands in one fresh box and yield each outcome; closing the generator throws the box away.

        Raises:
            SandboxError: The sandbox failed. Never raised for what a program did.
        """
        ...

    async def health(self) -> Health:
        """Whether a job handed over now would run."""
        ...

    async def close(self) -> None:
        """Throw all boxes away; nothing is left behind."""
        ...
