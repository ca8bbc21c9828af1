"""The resident of every box: runs one command after the other under limits and reports raw results.

This file is never imported by the service. Its text is handed to the interpreter inside the box, where it must be process 1: there no
program of the box can kill or stop it, and `kill(-1)` ends every process but itself. It cannot be inspected either (not
dumpable), so its channel to the owner, standard input and output, stays out of the programs' reach.

Frames in both directions: four bytes of length, big-endian, then JSON.
    request   nonce, files {name: text}, command, stdin, seconds, output_bytes
    reply     nonce, stdout, stderr, result (base64), exit_code, signal, stopped ("time" | "output" | null), seconds,
              cpu_seconds, memory_kib; or nonce, unusable: why the command could not be started
It ends when its standard input ends, so a box does not outlive its owner.
"""

import base64
import ctypes
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time

WORK = "/tmp"  # noqa: S108 (the only writable place of a box)
JOB = WORK + "/job"
STDERR_BYTES = 64 << 10
CHUNK = 1 << 16
PR_SET_DUMPABLE = 4
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
    limit(resource.RLIMIT_CORE, 0, 0)
    limit(resource.RLIMIT_NOFILE, 256, 256)
    limit(resource.RLIMIT_FSIZE, 64 << 20, 64 << 20)
    limit(resource.RLIMIT_STACK, 64 << 20, None)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    os.mkdir(JOB)
    send({"ready": True})
    number = 0
    while (request := receive()) is not None:
        for name, text in request["files"].items():
            with open(os.path.join(JOB, name), "w", encoding="utf-8", errors="surrogatepass", newline="") as file:
                file.write(text)
        send({"nonce": request["nonce"], **run(request, number)})
        number += 1


def limit(kind: int, soft: int, hard: "int | None") -> None:
    """Lower a limit, never raise it."""
    old = resource.getrlimit(kind)[1]
    if old != resource.RLIM_INFINITY:
        soft, hard = min(soft, old), old if hard is None else min(hard, old)
    resource.setrlimit(kind, (soft, resource.RLIM_INFINITY if hard is None else hard))


def run(request: dict, number: int) -> dict:
    directory = f"{WORK}/{number}"
    result_read, result_write = os.pipe()
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    started = time.monotonic()
    try:
        os.mkdir(directory)
        process = subprocess.Popen(  # noqa: S603
            request["command"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=directory,
            env={**ENVIRONMENT, "RESULT_FD": str(result_write)},
            pass_fds=(result_write,),
            preexec_fn=prepare_child,
            start_new_session=True,
        )
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        for fd in (result_read, result_write, wake_read, wake_write):
            os.close(fd)
        return {"unusable": f"{request['command'][0]}: {error}"}
    os.close(result_write)
    pipes = {process.stdout.fileno(): "stdout", process.stderr.fileno(): "stderr", result_read: "result"}
    captured = {"stdout": bytearray(), "stderr": bytearray(), "result": bytearray()}
    caps = {"stdout": request["output_bytes"], "stderr": STDERR_BYTES, "result": request["output_bytes"]}
    stopped = None
    status = usage = None
    pending = memoryview(request["stdin"].encode("utf-8", "surrogatepass"))
    stdin = process.stdin.fileno()
    os.set_blocking(stdin, False)

    poll = select.poll()
    for fd in (*pipes, wake_read):
        poll.register(fd, select.POLLIN)
    poll.register(0, 0)  # hang-up only: the owner is gone
    if pending:
        poll.register(stdin, select.POLLOUT)
    else:
        process.stdin.close()

    deadline = started + request["seconds"]
    while status is None or pipes:
        remaining = deadline - time.monotonic()
        if status is None and stopped is None and remaining <= 0:
            stopped = "time"
            kill_all()
        for fd, event in poll.poll(max(remaining, 0) * 1000 + 1 if stopped is None and status is None else None):
            if fd == 0:
                kill_all()
                os._exit(1)
            elif fd == wake_read:
                os.read(wake_read, CHUNK)
            elif fd == stdin:
                try:
                    pending = pending[os.write(stdin, pending[:CHUNK]) :]
                except BlockingIOError:
                    continue
                except OSError:  # it closed its standard input
                    pending = pending[:0]
                if not pending:
                    poll.unregister(stdin)
                    process.stdin.close()
            else:
                name = pipes[fd]
                data = os.read(fd, CHUNK)
                if not data:
                    poll.unregister(fd)
                    del pipes[fd]
                room = caps[name] - len(captured[name])
                captured[name] += data[:room]
                if len(data) > room and name != "stderr" and stopped is None:
                    stopped = "output"
                    kill_all()
        if status is None:
            pid, code, used = os.wait4(process.pid, os.WNOHANG)
            if pid:
                status, usage = code, used
                seconds = time.monotonic() - started
                kill_all()  # what it left behind holds the pipes open
    reap_all()
    signal.set_wakeup_fd(-1)
    for fd in (result_read, wake_read, wake_write):
        os.close(fd)
    for stream in (process.stdin, process.stdout, process.stderr):
        stream.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    return {
        **{name: base64.b64encode(data).decode("ascii") for name, data in captured.items()},
        "exit_code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
        "stopped": stopped,
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "memory_kib": usage.ru_maxrss,
    }


def prepare_child() -> None:
    """Between fork and exec: the programs die before the runner when memory is short, and run after it when time is."""
    libc.prctl(PR_SET_DUMPABLE, 1)
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
    os.nice(5)


def kill_all() -> None:
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        pass


def reap_all() -> None:
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        pass


def read_exactly(size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = os.read(0, min(size - len(data), 1 << 20))
        if not chunk:
            return b""
        data += chunk
    return bytes(data)


def receive() -> "dict | None":
    header = read_exactly(4)
    return json.loads(read_exactly(int.from_bytes(header, "big")) or "null") if header else None


def send(message: dict) -> None:
    body = json.dumps(message).encode()
    view = memoryview(len(body).to_bytes(4, "big") + body)
    while view:
        view = view[os.write(1, view) :]


if __name__ == "__main__":
    main()
