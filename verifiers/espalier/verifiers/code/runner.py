# ruff: noqa: PTH102, PTH123, PTH208 (pathlib would cost every box its import)
"""The resident of every box: runs one command after the other under limits and reports raw results.

The service never runs this file. Its text is handed to the interpreter inside the box, where it must be process 1:
there no program of the box can kill or stop it, and `kill(-1)` ends every process but itself. It cannot be inspected
either (not dumpable), so its channel to the owner, standard input and output, stays out of the programs' reach.

Frames in both directions: four bytes of length, big-endian, then JSON.
    request   nonce, files {name: text}, command, stdin, cpu_seconds, wall_seconds, output_bytes
    reply     nonce, stdout, stderr, result (base64), exit_code, signal, stopped ("time" | "wall" | "output" | null),
              seconds, cpu_seconds, memory_kib; or nonce, unusable: why the command could not be started
It ends when its standard input ends, so a box does not outlive its owner.
"""

import base64
import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from typing import IO, Any

WORK = "/tmp"  # noqa: S108 (the only writable place of a box)
JOB = f"{WORK}/job"
STDERR_BYTES = 64 << 10
CHUNK = 1 << 16
OWNER = 0
"""Descriptor of the requests; its hang-up means that the owner is gone."""
PR_SET_DUMPABLE = 4
TICKS = os.sysconf("SC_CLK_TCK")
PROCESSORS = os.sysconf("SC_NPROCESSORS_ONLN")
CLOCK_SECONDS = 0.02
"""How exactly a limit of processor time is kept."""
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": WORK,
    "TMPDIR": WORK,
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
}

libc = ctypes.CDLL(None)


def main() -> None:
    if os.getpid() != 1:
        sys.exit("the runner must be process 1 of its own PID namespace")
    libc.prctl(PR_SET_DUMPABLE, 0)
    lower(resource.RLIMIT_CORE, 0)
    lower(resource.RLIMIT_NOFILE, 256)
    lower(resource.RLIMIT_FSIZE, 64 << 20)
    resource.setrlimit(resource.RLIMIT_STACK, (64 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1]))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # what process 1 does not handle cannot reach it from inside
    os.mkdir(JOB)
    send({"ready": True})
    number = 0
    while (request := receive()) is not None:
        for name, text in request["files"].items():
            with open(f"{JOB}/{name}", "w", encoding="utf-8", errors="surrogatepass", newline="") as file:
                file.write(text)
        send({"nonce": request["nonce"], **run(request, f"{WORK}/{number}")})
        number += 1


def lower(kind: int, limit: int) -> None:
    hard = resource.getrlimit(kind)[1]
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(kind, (limit, limit))


def run(request: "dict[str, Any]", directory: str) -> "dict[str, Any]":
    """Run one command in a new directory, and leave no process of it behind."""
    result, result_end = os.pipe()
    wake, wake_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
    try:
        os.mkdir(directory)
        started = time.monotonic()
        process = subprocess.Popen(  # noqa: S603
            request["command"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=directory,
            env={**ENVIRONMENT, "RESULT_FD": str(result_end)},
            pass_fds=(result_end,),
            preexec_fn=prepare_child,  # noqa: PLW1509 (there are no threads here)
            start_new_session=True,
        )
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        for fd in (result, result_end, wake, wake_end):
            os.close(fd)
        return {"unusable": f"{request['command'][0]}: {error}"}
    os.close(result_end)
    assert process.stdin and process.stdout and process.stderr  # noqa: S101 (pipes)
    streams = {
        process.stdout.fileno(): Stream("stdout", request["output_bytes"]),
        process.stderr.fileno(): Stream("stderr", STDERR_BYTES, truncate=True),
        result: Stream("result", request["output_bytes"]),
    }
    stdin = memoryview(request["stdin"].encode("utf-8", "surrogatepass"))
    limits = Limits(request["cpu_seconds"], started + request["wall_seconds"])
    report = supervise(process.pid, process.stdin, stdin, dict(streams), wake, limits)
    report["seconds"] = report.pop("ended") - started
    signal.set_wakeup_fd(-1)
    for fd in (result, wake, wake_end):
        os.close(fd)
    for pipe in (process.stdin, process.stdout, process.stderr):
        pipe.close()
    process.returncode = 0  # it has been waited for
    return {**report, **{stream.name: stream.encoded() for stream in streams.values()}}


class Limits:
    """Processor time of all processes of the command together, and the time on the clock."""

    def __init__(self, cpu_seconds: float, deadline: float) -> None:
        self.cpu_seconds, self.deadline = cpu_seconds, deadline
        self.before = reaped_seconds()
        self.look_at = self.next_look(0.0)

    def used(self) -> float:
        """Processor seconds so far: of what has ended and what is alive."""
        return reaped_seconds() - self.before + sum(map(alive_seconds, filter(str.isdigit, os.listdir("/proc"))))

    def exceeded(self) -> "str | None":
        """The limit that is exceeded, if any; reads /proc no more often than the limit can be near."""
        now = time.monotonic()
        if now >= self.look_at:
            used = self.used()
            if used >= self.cpu_seconds:
                return "time"
            self.look_at = self.next_look(used)
        return "wall" if now >= self.deadline else None

    def next_look(self, used: float) -> float:
        return time.monotonic() + max(CLOCK_SECONDS, (self.cpu_seconds - used) / PROCESSORS)

    def milliseconds(self) -> float:
        return max(0.0, min(self.look_at, self.deadline) - time.monotonic()) * 1000 + 1


def reaped_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def alive_seconds(pid: str) -> float:
    """Processor time of a process and the children that it has waited for; 0 for ourselves."""
    if pid == "1":
        return 0.0
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return sum(map(int, file.read().rpartition(")")[2].split()[11:15])) / TICKS
    except OSError:
        return 0.0


class Stream:
    """What one pipe brought, up to a cap; past it the rest is dropped, or the command is to be ended."""

    def __init__(self, name: str, cap: int, truncate: bool = False) -> None:
        self.name, self.cap, self.truncate = name, cap, truncate
        self.data = bytearray()

    def read(self, fd: int) -> str:
        """Keep what fits of what is there: there may be "more", it is "over" the cap, the pipe is "empty" or at its
        "end"."""
        try:
            chunk = os.read(fd, CHUNK)
        except BlockingIOError:
            return "empty"
        if not chunk:
            return "end"
        room = self.cap - len(self.data)
        self.data += chunk[:room]
        return "more" if self.truncate or len(chunk) <= room else "over"

    def encoded(self) -> str:
        return base64.b64encode(self.data).decode("ascii")


def supervise(
    pid: int, stdin: "IO[bytes]", pending: memoryview, streams: "dict[int, Stream]", wake: int, limits: Limits
) -> "dict[str, Any]":
    """Feed and drain the command until it has ended, then read what is left in its pipes.

    Their end is not waited for: what holds them open then is no process, but a socket in a message that nobody reads.
    """
    poll = select.poll()
    poll.register(OWNER, 0)  # hang-up only
    for fd in (wake, *streams):
        os.set_blocking(fd, False)
        poll.register(fd, select.POLLIN)
    os.set_blocking(stdin.fileno(), False)
    input_fd = stdin.fileno()
    poll.register(input_fd, select.POLLOUT)
    stopped: str | None = None

    while True:
        for fd, _ in poll.poll(limits.milliseconds() if stopped is None else None):
            if fd == OWNER:
                kill_all()
                os._exit(1)
            elif fd == wake:
                os.read(wake, CHUNK)
            elif fd == input_fd:
                pending = feed(input_fd, pending)
                if not pending:
                    poll.unregister(input_fd)
                    stdin.close()
            elif (found := streams[fd].read(fd)) == "end":
                poll.unregister(fd)
                del streams[fd]
            elif found == "over" and stopped is None:
                stopped = "output"
                kill_all()
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            break
        if stopped is None and (stopped := limits.exceeded()):
            kill_all()
    ended_at = time.monotonic()
    end_all()
    for fd, stream in streams.items():
        while (found := stream.read(fd)) == "more":
            pass
        if found == "over":
            stopped = stopped or "output"
    return {
        "exit_code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
        "cpu_seconds": reaped_seconds() - limits.before,
        "memory_kib": usage.ru_maxrss,
        "ended": ended_at,
        "stopped": stopped,
    }


def feed(fd: int, pending: memoryview) -> memoryview:
    """Write what the pipe takes; what is left, nothing when the reader closed it."""
    try:
        return pending[os.write(fd, pending[:CHUNK]) :]
    except BlockingIOError:
        return pending
    except OSError:
        return pending[:0]


def prepare_child() -> None:
    """Between fork and exec: programs die before the runner when memory is short, and wait for it when time is."""
    libc.prctl(PR_SET_DUMPABLE, 1)
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
    os.nice(5)


def kill_all() -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)


def end_all() -> None:
    """Kill and wait for every process of the command."""
    with contextlib.suppress(ChildProcessError):
        while True:
            kill_all()
            os.waitpid(-1, 0)


def read_exactly(size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = os.read(OWNER, min(size - len(data), 1 << 20))
        if not chunk:
            return b""
        data += chunk
    return bytes(data)


def receive() -> "dict[str, Any] | None":
    header = read_exactly(4)
    return json.loads(read_exactly(int.from_bytes(header, "big")) or "null") if header else None


def send(message: "dict[str, Any]") -> None:
    body = json.dumps(message).encode()
    view = memoryview(len(body).to_bytes(4, "big") + body)
    while view:
        view = view[os.write(1, view) :]


if __name__ == "__main__":
    main()
