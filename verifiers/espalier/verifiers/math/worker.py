"""One worker process: `python -m espalier.verifiers.math.worker MEMORY_MIB CPU_SECONDS`.

Reads length-prefixed JSON requests on standard input and writes replies of the same form on standard output. A task
that uses more than its CPU time is broken off and answered `too_costly`; one that cannot be broken off, inside a long
operation of a library, ends the process a second later. It also ends at the end of its input and with its parent.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import resource
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, BinaryIO

from espalier.verifiers.math.proto import HEADER

_PR_SET_PDEATHSIG = 1


class OutOfTime(BaseException):
    """A task has used up its CPU time. No Exception, so that nothing on the way catches it."""


def main(memory_mib: int, cpu_seconds: float) -> None:
    """Serve requests until the end of input."""
    _die_with_parent()
    from espalier.verifiers.math.tasks import handle

    memory = memory_mib << 20
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGPROF, _out_of_time)
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing but replies reaches the pipe
    while (request := _read(requests)) is not None:
        body = json.dumps(_limited(handle, json.loads(request), cpu_seconds)).encode()
        replies.write(HEADER.pack(len(body)) + body)
        replies.flush()


def _die_with_parent() -> None:
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def _limited(handle: Callable[[Any], Any], request: Any, seconds: float) -> Any:
    """The reply to a task, or that it used more than `seconds` of CPU time."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(usage.ru_utime + usage.ru_stime + seconds) + 1, hard))
    try:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            return handle(request)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    except OutOfTime:
        return {"too_costly": f"more than {seconds:g} s of processor time"}


def _out_of_time(signum: int, frame: FrameType | None) -> None:
    raise OutOfTime


def _read(stream: BinaryIO) -> bytes | None:
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    (length,) = HEADER.unpack(header)
    body = stream.read(length)
    return body if len(body) == length else None


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
