"""What the kernel counts by user is counted for each box alone: one that uses it all up takes nothing from another."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil
import pytest

from espalier.verifiers.code.pool import PooledSandbox
from espalier.verifiers.code.sandbox import Command
from espalier.verifiers.code.users import UNUSED, users_here
from tests.verifiers.code.boxes import once
from tests.verifiers.code.isolation.test_isolation import kind_of

PAIRS = {
    "descriptors in flight": (
        """
import array, socket
one, other = socket.socketpair()
try:
    while True:
        one.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * 50))])
except OSError:
    pass
""",
        "import socket; one, other = socket.socketpair(); socket.send_fds(one, [b'x'], [0])",
    ),
    "pages of pipes": (
        """
import fcntl, os
pipes = []
try:
    while True:
        pipes.append(os.pipe())
        try:
            fcntl.fcntl(pipes[-1][0], fcntl.F_SETPIPE_SZ, 1 << 20)
        except PermissionError:
            pass
except OSError:
    pass
""",
        "import fcntl, os; assert fcntl.fcntl(os.pipe()[0], fcntl.F_GETPIPE_SZ) == 65536",
    ),
    "pending signals": (
        """
timer = ctypes.c_void_p()
while C.timer_create(1, None, ctypes.byref(timer)) == 0:
    pass
""",
        "import ctypes; assert ctypes.CDLL(None).timer_create(1, None, ctypes.byref(ctypes.c_void_p())) == 0",
    ),
    "instances of inotify": (
        """
for _ in range(200):
    C.inotify_init()
""",
        "import ctypes; assert ctypes.CDLL(None).inotify_init() >= 0",
    ),
}
"""By what is counted: a program that uses it up, and one that needs a little of it."""

SAY_SO = "import ctypes, time\nC = ctypes.CDLL(None)\n{}\nC.prctl(15, b{!r})\ntime.sleep(100)"
"""By a name that the host sees."""


def python(source: str) -> Command:
    return Command(("/usr/bin/python3", "-I", "-c", source), seconds=50, wall_seconds=150)


@asynccontextmanager
async def beside(sandbox: PooledSandbox, source: str) -> AsyncIterator[None]:
    """While a program in another box holds all that it could get."""
    mark = f"full-{secrets.token_hex(4)}"
    job = asyncio.create_task(once(sandbox, python(SAY_SO.format(source, mark))))
    try:
        while mark not in {process.info["name"] for process in psutil.process_iter(["name"])}:
            assert not job.done(), job
            await asyncio.sleep(0.1)
        yield
    finally:
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("counted", PAIRS)
async def test_a_box_that_uses_up_what_a_user_may_have_takes_nothing_from_another(
    sandbox: PooledSandbox, counted: str
) -> None:
    if kind_of(sandbox) == "bwrap" and (os.geteuid() != 0 or users_here() != UNUSED):
        pytest.skip("only root can give a bubblewrap a user of its own")
    greedy, modest = PAIRS[counted]
    async with beside(sandbox, greedy):
        [outcome] = await once(sandbox, python(modest))
        assert outcome.exit_code == 0, outcome.stderr
