"""Processes such as `torchrun` starts, forked from one that has imported what they need: imports take seconds each.

`test_distributed.py` starts the real `torchrun`.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import traceback
from pathlib import Path

from espalier.common.ports import free_port

ROOT = Path(__file__).parents[2]
SIZE = 2
IMPORTED = ("tests.training.test_processes", "torch.distributed.fsdp")


class Ranks:
    """Runs programs, each in two processes that are one group."""

    def __init__(self) -> None:
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        self._launcher = subprocess.Popen(
            [sys.executable, "-m", "tests.training.ranks"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
            start_new_session=True,
        )

    def run(self, program: str, initial: Path, out: Path, *words: str) -> None:
        """Run a program with the two paths and the words as its arguments; it has to end well in both processes."""
        script, log = out.with_suffix(".py"), out.with_suffix(".log")
        script.write_text(program)
        assert self._launcher.stdin is not None
        assert self._launcher.stdout is not None
        self._launcher.stdin.write(json.dumps([str(log), str(script), str(initial), str(out), *words]) + "\n")
        self._launcher.stdin.flush()
        statuses = self._launcher.stdout.readline()
        assert statuses == f"{[0] * SIZE}\n", log.read_text() if log.exists() else "the launcher died"

    def close(self) -> None:
        """End the launcher and what it still runs."""
        os.killpg(self._launcher.pid, signal.SIGKILL)
        self._launcher.communicate()


def main() -> None:
    """Read a line [log, script, argument, …] for each run, and answer with the exit statuses."""
    for name in IMPORTED:
        importlib.import_module(name)
    for line in sys.stdin:
        log, *arguments = json.loads(line)
        port = free_port()
        print(_ends([_fork(rank, port, log, arguments) for rank in range(SIZE)]), flush=True)


def _fork(rank: int, port: int, log: str, arguments: list[str]) -> int:
    if child := os.fork():
        return child
    status = 1
    try:
        to = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(to, 1)
        os.dup2(to, 2)
        os.environ |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(SIZE),
            "LOCAL_WORLD_SIZE": str(SIZE),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "TORCHELASTIC_RUN_ID": "ranks",
        }
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")
        status = 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _ends(children: list[int]) -> list[int]:
    """Exit statuses of the children; when one fails, the others are ended."""
    statuses: dict[int, int] = {}
    while len(statuses) < len(children):
        child, status = os.wait()
        statuses[child] = os.waitstatus_to_exitcode(status)
        if statuses[child]:
            for other in set(children) - statuses.keys():
                os.kill(other, signal.SIGKILL)
    return [statuses[child] for child in children]


if __name__ == "__main__":
    main()
