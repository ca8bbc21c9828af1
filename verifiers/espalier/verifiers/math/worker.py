"""One worker process: `python -m espalier.verifiers.math.worker MEMORY_MIB CPU_SECONDS`.

Reads length-prefixed JSON requests on standard input and writes replies of the same form on standard output. It ends at
the end of its input, and the kernel ends it when its parent dies, runs out of memory, or a task out of CPU time.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from typing import BinaryIO

from espalier.verifiers.math.proto import HEADER

_PR_SET_PDEATHSIG = 1


def main(memory_mib: int, cpu_seconds: int) -> None:
    """Serve requests until the end of input."""
    _die_with_parent()
    from espalier.verifiers.math.tasks import handle

    memory = memory_mib << 20
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing but replies reaches the pipe
    while (request := _read(requests)) is not None:
        _allow_cpu(cpu_seconds)
        body = json.dumps(handle(json.loads(request))).encode()
        replies.write(HEADER.pack(len(body)) + body)
        replies.flush()


def _die_with_parent() -> None:
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def _allow_cpu(seconds: int) -> None:
    """Let the next task use `seconds` of CPU time from now on."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(usage.ru_utime + usage.ru_stime) + seconds + 1, hard))


def _read(stream: BinaryIO) -> bytes | None:
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    (length,) = HEADER.unpack(header)
    body = stream.read(length)
    return body if len(body) == length else None


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
