"""The user of an outer sandbox: one of its own, as the kernel counts some things by user of the host.

These are descriptors in flight over Unix sockets, pending signals, pages of pipes, instances of inotify, processes.
"""

from __future__ import annotations

import secrets
from pathlib import Path

NOBODY = 65534
"""The user that programs see."""

UNUSED = range(0x7000_0000, 0x8000_0000)
"""Users of a host that no distribution, container manager or service of systemd takes."""

REMAPPED = range(1 << 14, NOBODY)
"""Users of a namespace of 65,536: none that a container usually has, and each another one of the host."""


def users_here() -> range:
    """The users that a process of this user namespace may give to outer sandboxes, if it is root; nobody alone where
    hardly any are mapped."""
    for users in (UNUSED, REMAPPED):
        if all(_maps(Path(f"/proc/self/{kind}_map").read_text(), users) for kind in ("uid", "gid")):
            return users
    return range(NOBODY, NOBODY + 1)


def own_user(users: range) -> int:
    """A user that hardly any other outer sandbox of the host has: at random, as other processes choose, too."""
    return secrets.choice(users)


def _maps(table: str, users: range) -> bool:
    """Whether one line of a table in user_namespaces(7) has all of these."""
    rows = [tuple(map(int, line.split())) for line in table.splitlines()]
    return any(first <= users.start and users.stop <= first + count for first, _, count in rows)
