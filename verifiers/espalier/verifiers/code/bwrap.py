"""Bubblewrap sandboxes, for machines without a Docker daemon."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from pathlib import Path

import structlog

from espalier.common.cache import cache_directory
from espalier.verifiers.code.box import BoxChannel
from espalier.verifiers.code.cgroup import ControlGroup, GroupLimits, Hierarchy, find_hierarchy
from espalier.verifiers.code.sandbox import PACKAGES, SHM_BYTES, BoxSpec, SandboxError
from espalier.verifiers.code.seccomp import bpf_program
from espalier.verifiers.code.users import NOBODY, own_user, users_here

OVERHEAD_MIB = 32
"""Memory for the runner itself."""
END_SECONDS = 5.0
COMPLAINT_BYTES = 2048

log = structlog.get_logger()

# Enters the control groups, then becomes the rest of its arguments.
ENTER_GROUPS = 'while [ "$1" != -- ]; do echo $$ > "$1" || exit 125; shift; done; shift; exec "$@"'


def rootfs_directory() -> Path:
    """Where scripts/sandbox-image.sh leaves the root file systems."""
    return cache_directory("sandbox")


class BwrapLauncher:
    """Starts bubblewraps out of the same root file systems as the images.

    Started by root, each has a user of the host for itself; otherwise all have the user of this process. As under
    Docker the command is process 1 and the same system calls are allowed. A bubblewrap ends with the thread that made
    it (`--die-with-parent`); `prepare` removes the control groups of dead owners. Without a zygote, as a box
    of its own, it differs: files in /tmp may be executed, and their number is bounded only through the memory that they
    take.

    Args:
        cpus: Processor share of one box.
        pids: Processes and threads of one box.
    """

    name = "bwrap"

    def __init__(self, *, cpus: float = 1.0, pids: int = 64) -> None:
        self._cpus = cpus
        self._pids = pids
        self._hierarchy: Hierarchy | None = None
        self._seccomp: dict[bool, bytes] = {}

    async def prepare(self) -> None:
        if shutil.which("bwrap") is None:
            raise SandboxError("bubblewrap is missing; install the package bubblewrap")
        try:
            self._seccomp = self._seccomp or {zygote: bpf_program(zygote=zygote) for zygote in (False, True)}
            self._hierarchy = find_hierarchy()
            await asyncio.to_thread(self._hierarchy.reap)
        except OSError as error:
            raise SandboxError(str(error)) from error

    async def launch(self, spec: BoxSpec, command: tuple[str, ...], *, zygote: bool) -> BoxChannel:
        if self._hierarchy is None:
            raise SandboxError("the sandbox is not started")
        rootfs = rootfs_directory() / spec.image
        if not rootfs.is_dir():
            raise SandboxError(f"the root file system {rootfs} is missing; run scripts/sandbox-image.sh {spec.image}")
        memory = (spec.memory_mib + OVERHEAD_MIB) << 20
        group = self._hierarchy.create(GroupLimits(memory, self._pids + zygote, self._cpus))
        try:
            process, stream = self._spawn(rootfs, spec, group, command, zygote)
        except OSError as error:
            await asyncio.to_thread(group.remove)
            raise SandboxError(f"cannot start bubblewrap: {error}") from error
        ending: asyncio.Future[bytes] | None = None

        async def end() -> bytes:
            nonlocal ending
            if ending is None:
                ending = asyncio.ensure_future(asyncio.to_thread(_end, process, group))
            return await asyncio.shield(ending)

        try:
            reader, writer = await asyncio.open_unix_connection(sock=stream)
        except BaseException:  # cancelled just now: no other part knows of the process
            stream.close()
            await end()
            raise

        async def write(data: bytes) -> None:
            writer.write(data)
            await writer.drain()

        async def close() -> None:
            writer.transport.abort()
            await end()

        async def complaint() -> str:
            said = (await end()).decode(errors="replace").strip()
            return f": {said}" if said else ""

        return BoxChannel(
            reader.readexactly,
            write,
            lambda: reader.at_eof() or reader.exception() is not None,
            close,
            complaint,
        )

    async def close(self) -> None:
        """Nothing is kept between boxes."""

    def _spawn(
        self, rootfs: Path, spec: BoxSpec, group: ControlGroup, command: tuple[str, ...], zygote: bool
    ) -> tuple[subprocess.Popen[bytes], socket.socket]:
        """Start bubblewrap; gives our end of what are its standard input and output.

        Not by asyncio: when the start of its subprocess is cancelled, it kills the first process alone and waits for
        the end of all streams, which a second process keeps open.
        """
        ours, theirs = socket.socketpair()
        # A memory file of its own for every box: the offset would be shared.
        seccomp = os.memfd_create("seccomp")
        meter = self._meter(group)
        passed = (seccomp, *meter)
        try:
            os.write(seccomp, self._seccomp[zygote])
            os.lseek(seccomp, 0, os.SEEK_SET)
            process = subprocess.Popen(  # noqa: S603 (a command line of ours)
                (
                    *("/bin/sh", "-c", ENTER_GROUPS, "sh", *group.entrances, "--"),
                    *self._unprivileged(),
                    *self._bwrap(rootfs, spec, seccomp, zygote),
                    *command,
                    *map(str, meter),
                ),
                bufsize=0,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.PIPE,
                pass_fds=passed,
                env={},  # the launcher's would be readable inside, at /proc/1/environ
                cwd="/",
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            for descriptor in passed:
                os.close(descriptor)
        ours.setblocking(False)
        return process, ours

    def _meter(self, group: ControlGroup) -> tuple[int, ...]:
        """A descriptor of the file that tells the group's processor time; none where there is no such file."""
        assert self._hierarchy is not None  # noqa: S101 (the group is of it)
        file = self._hierarchy.meter(group)
        return () if file is None else (os.open(file, os.O_RDONLY),)

    @staticmethod
    def _unprivileged() -> tuple[str, ...]:
        """Root gives itself up before there is a box: inside one, its user would own the files of the host's root."""
        if os.geteuid() != 0:
            return ()
        user = own_user(users_here())
        identity = (f"--reuid={user}", f"--regid={user}", "--clear-groups")
        return ("/usr/bin/setpriv", *identity, "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--")

    @staticmethod
    def _bwrap(rootfs: Path, spec: BoxSpec, seccomp: int, zygote: bool) -> tuple[str, ...]:
        shm = ("--size", str(SHM_BYTES), "--tmpfs", "/dev/shm")  # noqa: S108 (inside the box)
        tmp = ("--size", str(spec.tmp_mib << 20), "--tmpfs", "/tmp")  # noqa: S108 (inside the box)
        packages = ("--ro-bind", spec.packages, PACKAGES) if spec.packages else ()
        return (
            "/usr/bin/bwrap",
            *("--unshare-all", "--unshare-user", "--as-pid-1"),
            *(() if zygote else ("--disable-userns",)),  # a zygote does that in each of its boxes
            *("--new-session", "--die-with-parent", "--clearenv", "--cap-drop", "ALL"),
            *("--uid", str(NOBODY), "--gid", str(NOBODY), "--hostname", "box"),
            *("--ro-bind", str(rootfs), "/", "--proc", "/proc", "--dev", "/dev"),
            *(*shm, *tmp, "--remount-ro", "/dev", *packages),
            *("--chdir", "/tmp", "--seccomp", str(seccomp), "--"),  # noqa: S108
        )


def _end(process: subprocess.Popen[bytes], group: ControlGroup) -> bytes:
    """End a bubblewrap, however far its start has come, and all that is in it; gives what it said on standard error.

    Before it has entered its groups it has no children; afterwards they are in the groups too, but do not end with it
    until they are set up. Blocks, for as long as the removal of the groups may take and END_SECONDS.
    """
    process.kill()
    try:
        group.remove()
        process.wait(END_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("a box could not be ended", sandbox=BwrapLauncher.name, process=process.pid, reason=str(error))
    assert process.stderr is not None  # noqa: S101 (it is a pipe)
    with process.stderr:
        os.set_blocking(process.stderr.fileno(), False)  # its end is not waited for
        return process.stderr.read(COMPLAINT_BYTES) or b""
