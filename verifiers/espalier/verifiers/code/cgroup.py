"""Control groups made by hand, version 1 or 2, for boxes that no daemon limits."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import select
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from espalier.verifiers.code.owner import owner_is_dead, owner_tag
from espalier.verifiers.code.sandbox import SandboxError

PREFIX = "espalier-box-"
PERIOD_US = 100_000
REMOVE_SECONDS = 10.0
PAUSE_SECONDS = 0.001

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """What all processes of a group may use together."""

    memory_bytes: int
    pids: int
    cpus: float


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """One group: a directory (version 2) or one per controller (version 1)."""

    directories: tuple[Path, ...]

    @property
    def entrances(self) -> tuple[str, ...]:
        """Files into which a process writes its PID to enter."""
        return tuple(str(directory / "cgroup.procs") for directory in self.directories)

    def remove(self) -> None:
        """Kill what is inside, and remove the group. Blocks until its processes are gone."""
        deadline = time.monotonic() + REMOVE_SECONDS
        for directory in self.directories:
            while directory.exists():
                _end_members(directory, deadline)
                try:
                    directory.rmdir()
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(PAUSE_SECONDS)  # a process was just being made, or its end is not yet accounted for


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Where groups are made: one parent directory, or one for each of the controllers of version 1."""

    version: int
    parents: tuple[Path, ...]

    def create(self, limits: GroupLimits) -> ControlGroup:
        """A new group with these limits.

        Raises:
            SandboxError: It cannot be made or limited.
        """
        name = f"{PREFIX}{owner_tag()}-{next(_numbers)}"
        group = ControlGroup(tuple(parent / name for parent in self.parents))
        try:
            for directory in group.directories:
                directory.mkdir()
                for file, value in _values(self.version, limits):
                    if (directory / file).exists():
                        (directory / file).write_text(value)
        except OSError as error:
            group.remove()
            raise SandboxError(f"cannot limit a control group: {error}") from error
        return group

    def meter(self, group: ControlGroup) -> Path | None:
        """The file that tells how much processor time the group has used, if there is one."""
        name = "cpu.stat" if self.version == 2 else "cpuacct.usage"
        return next((file for directory in group.directories if (file := directory / name).exists()), None)

    def reap(self) -> None:
        """Remove the groups of dead owners."""
        for parent in self.parents:
            for directory in parent.glob(f"{PREFIX}*"):
                if owner_is_dead(directory.name.removeprefix(PREFIX).rpartition("-")[0]):
                    ControlGroup((directory,)).remove()


def find_hierarchy() -> Hierarchy:
    """The memory, pids, cpu and, if it may be had, cpuacct controllers of this machine, where this process may make
    groups.

    Raises:
        SandboxError: They are absent, or this process may not use them.
    """
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    by_controller = {
        name: Path(mount[1])
        for mount in mounts
        if mount[2] == "cgroup"
        for name in ("memory", "pids", "cpu", "cpuacct")
        if name in mount[3].split(",")
    }
    if by_controller:
        missing = {"memory", "pids", "cpu"} - by_controller.keys()
        if missing:
            raise SandboxError(f"the cgroup controllers {', '.join(sorted(missing))} are not mounted")
        if not os.access(by_controller.get("cpuacct", ""), os.W_OK):
            by_controller.pop("cpuacct", None)  # it limits nothing
        hierarchy = Hierarchy(1, tuple(sorted(set(by_controller.values()))))
    else:
        unified = next((Path(mount[1]) for mount in mounts if mount[2] == "cgroup2"), None)
        if unified is None:
            raise SandboxError("no cgroups are mounted; boxes cannot be limited without them")
        hierarchy = Hierarchy(2, (_delegated(unified),))
    for parent in hierarchy.parents:
        if not os.access(parent, os.W_OK):
            raise SandboxError(f"{parent} is not writable; run as root, or use Docker")
    return hierarchy


def _delegated(unified: Path) -> Path:
    """A group of version 2 that holds no process and hands the controllers down."""
    parent = unified / "espalier"
    try:
        for directory in (unified, parent):
            directory.mkdir(exist_ok=True)
            (directory / "cgroup.subtree_control").write_text("+memory +pids +cpu")
    except OSError as error:
        raise SandboxError(
            f"cannot delegate cgroup controllers in {unified}: {error}; run as root, or use Docker"
        ) from error
    return parent


def _values(version: int, limits: GroupLimits) -> list[tuple[str, str]]:
    """Files and values, in the order in which they must be written; what belongs to another controller is absent."""
    quota = int(limits.cpus * PERIOD_US)
    if version == 2:
        return [
            ("memory.max", str(limits.memory_bytes)),
            ("memory.swap.max", "0"),
            ("memory.oom.group", "0"),
            ("pids.max", str(limits.pids)),
            ("cpu.max", f"{quota} {PERIOD_US}"),
        ]
    return [
        ("memory.limit_in_bytes", str(limits.memory_bytes)),
        ("memory.memsw.limit_in_bytes", str(limits.memory_bytes)),
        ("pids.max", str(limits.pids)),
        ("cpu.cfs_period_us", str(PERIOD_US)),
        ("cpu.cfs_quota_us", str(quota)),
    ]


def _end_members(directory: Path, deadline: float) -> None:
    """End every process of a group, and wait for each: it has left the group before its descriptor tells of its end."""
    ends = select.poll()
    descriptors = []
    try:
        for line in _members(directory):
            with contextlib.suppress(ProcessLookupError):
                descriptors.append(os.pidfd_open(int(line)))
                signal.pidfd_send_signal(descriptors[-1], signal.SIGKILL)
        for descriptor in descriptors:
            ends.register(descriptor, select.POLLIN)
        waiting = set(descriptors)
        while waiting and (left := deadline - time.monotonic()) > 0:
            for descriptor, _ in ends.poll(left * 1000):
                ends.unregister(descriptor)
                waiting.discard(descriptor)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _members(directory: Path) -> list[str]:
    try:
        return (directory / "cgroup.procs").read_text().split()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV):  # removed by another, even while it was being read
            raise
        return []
