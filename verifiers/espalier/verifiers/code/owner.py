"""Marks what a process leaves on the machine (containers, cgroups), so that a later one can clear it away."""

from __future__ import annotations

import os
from pathlib import Path


def owner_tag() -> str:
    """This process, unmistakably: boot, PID namespace, PID and the time it started."""
    return f"{_world()}.{os.getpid()}.{_start_time(os.getpid())}"


def owner_is_dead(tag: str) -> bool:
    """Whether the process behind `tag` is gone. False for owners of another boot or namespace: not ours to judge."""
    world, _, process = tag.partition(".")
    pid, _, started = process.partition(".")
    if world != _world() or not pid.isdigit():
        return False
    return _start_time(int(pid)) != started


def _world() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}-{Path('/proc/self/ns/pid').stat().st_ino}"


def _start_time(pid: int) -> str:
    try:
        # The second field, the command, may hold spaces and parentheses; field 22 is the start time.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
