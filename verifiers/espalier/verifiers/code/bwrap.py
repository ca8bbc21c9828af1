"""Bubblewrap sandboxes, for machines without a Docker daemon."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from pathlib import Path

from espalier.common.cache import cache_directory
from espalier.verifiers.code.box import BoxChannel
from espalier.verifiers.code.cgroup import ControlGroup, GroupLimits, Hierarchy, find_hierarchy
from espalier.verifiers.code.sandbox import PACKAGES, SHM_BYTES, BoxSpec, SandboxError
from espalier.verifiers.code.seccomp import bpf_program

NOBODY = 65534
OVERHEAD_MIB = 32
"""Memory for the runner itself."""

# Enters the control groups, then becomes the rest of its arguments.
ENTER_GROUPS = 'while [ "$1" != -- ]; do echo $$ > "$1" || exit 125; shift; done; shift; exec "$@"'


def rootfs_directory() -> Path:
    """Where scripts/sandbox-image.sh leaves the root file systems."""
    return cache_directory("sandbox")


class BwrapLauncher:
    """Starts bubblewraps out of the same root file systems as the images.

    As under Docker the command is process 1 and the same system calls are allowed. A bubblewrap ends with the thread
    that made it (`--die-with-parent`); `prepare` removes the control groups of dead owners. Without a zygote, as a box
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
            process = await self._spawn(rootfs, spec, group, command, zygote)
        except OSError as error:
            await asyncio.to_thread(group.remove)
            raise SandboxError(f"cannot start bubblewrap: {error}") from error
        except asyncio.CancelledError:
            await asyncio.to_thread(group.remove)
            raise
        stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
        assert stdin and stdout and stderr  # noqa: S101 (they are pipes)

        async def write(data: bytes) -> None:
            stdin.write(data)
            await stdin.drain()

        async def close() -> None:
            stdin.close()
            with contextlib.suppress(OSError):
                await asyncio.to_thread(group.remove)  # bubblewrap itself is in it, and ends with it
            await process.wait()

        async def complaint() -> str:
            said = (await stderr.read(2048)).decode(errors="replace").strip()
            return f": {said}" if said else ""

        return BoxChannel(stdout.readexactly, write, stdout.at_eof, close, complaint)

    async def close(self) -> None:
        """Nothing is kept between boxes."""

    async def _spawn(
        self, rootfs: Path, spec: BoxSpec, group: ControlGroup, command: tuple[str, ...], zygote: bool
    ) -> asyncio.subprocess.Process:
        # A memory file of its own for every box: the offset would be shared.
        seccomp = os.memfd_create("seccomp")
        try:
            os.write(seccomp, self._seccomp[zygote])
            os.lseek(seccomp, 0, os.SEEK_SET)
            return await asyncio.create_subprocess_exec(
                "/bin/sh",
                "-c",
                ENTER_GROUPS,
                "sh",
                *group.entrances,
                "--",
                *self._unprivileged(),
                *self._bwrap(rootfs, spec, seccomp, zygote),
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=(seccomp,),
                env={},  # the launcher's environment would be readable inside, at /proc/1/environ
                cwd="/",
                start_new_session=True,
            )
        finally:
            os.close(seccomp)

    @staticmethod
    def _unprivileged() -> tuple[str, ...]:
        """Root gives itself up before there is a box: inside one, its user would own the files of the host's root."""
        if os.geteuid() != 0:
            return ()
        identity = (f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
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
