"""The resident of every box: runs one command after the other under limits and reports raw results.

The service never runs this file. Its text is handed to the interpreter inside the box, alone or with zygote.py behind
it. The runner must be process 1: there no program of the box can kill or stop it, and `kill(-1)` ends every process but
itself. It cannot be inspected either (not dumpable), so its channel to the owner, standard input and output, stays out
of the programs' reach.

Every box pays for its imports, so it has none but modules written in C and those that every interpreter starts with:
together a tenth of what `json`, `subprocess`, `ctypes` and `signal` would cost.

Frames in both directions: four bytes of length, big-endian, then
    request   a dictionary as `marshal` (version 2) writes it: nonce, files {name: text}, command, stdin, cpu_seconds,
              wall_seconds, output_bytes, private
    reply     one line of JSON, then bytes: nonce, exit_code, signal, stopped ("time" | "wall" | "output" | null),
              seconds, cpu_seconds, memory_kib and the numbers of bytes of stdout, stderr and result; or nonce and the
              number of bytes of unusable: why the command could not be started
It ends when its standard input ends, so a box does not outlive its owner, and at a request of no bytes.
"""

import _ctypes
import _signal  # type: ignore[import-not-found]
import marshal
import os
import resource
import select
import sys
import time

TYPE_CHECKING = False  # typing's own would be an import
if TYPE_CHECKING:
    from typing import Any

WORK = "/tmp"  # noqa: S108 (the only writable place of a box)
JOB = f"{WORK}/job"
STDERR_BYTES = 64 << 10
RESULT_BYTES = 64 << 10
"""What a harness may report, however little a program may print."""
CHUNK = 1 << 16
OWNER = 0
"""Descriptor of the requests; its hang-up means that the owner is gone."""
PR_SET_DUMPABLE = 4
PYTHON = ("/usr/bin/python3", "-P", "-s", "-B", "-X", "utf8", "-X", "int_max_str_digits=0")
"""How commands that are Python begin, and how this interpreter was started."""
MAX_DESCRIPTORS = 256
FRESH_SECONDS = 10.0
"""A sandbox that has only just begun has used less."""
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
    "PYTHONHASHSEED": "0",  # as this interpreter has it (maker.py): copies of it and others order sets of texts alike
}


def main(meter: "int | None", proc: str = "/proc") -> bool:
    """Serve requests; True when the owner wants another box, False when it is gone.

    Args:
        meter: What `find_meter` gave.
        proc: Where this process may write to what /proc has.
    """
    if os.getpid() != 1:
        sys.exit("the runner must be process 1 of its own PID namespace")
    set_dumpable(0)
    lower(resource.RLIMIT_CORE, 0)
    lower(resource.RLIMIT_NOFILE, MAX_DESCRIPTORS)
    lower(resource.RLIMIT_FSIZE, 64 << 20)
    resource.setrlimit(resource.RLIMIT_STACK, (64 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1]))
    _signal.signal(_signal.SIGCHLD, lambda *_: None)
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # what process 1 does not handle cannot reach it from inside
    os.mkdir(JOB)
    send('{"ready": true}')
    number = 0
    clean = True
    while True:
        try:
            body = receive()
        except EOFError:
            return False
        if not body:
            return True
        request = marshal.loads(body)  # noqa: S302 (from our owner)
        for name, text in request["files"].items():
            with open(f"{JOB}/{name}", "w", encoding="utf-8", errors="surrogatepass", newline="") as file:
                file.write(text)
        send(*run(request, f"{WORK}/{number}", clean or request["private"], meter, proc))
        clean = clean and not request["private"]  # a copy of this process would hold what is left of its input
        number += 1


def set_dumpable(value: int) -> None:
    program: Any = None  # as dlopen(3) has it: this process
    prctl = _ctypes.dlsym(_ctypes.dlopen(program, 2), "prctl")
    if _ctypes.call_function(prctl, (PR_SET_DUMPABLE, value, 0, 0, 0)) != 0:
        sys.exit("the runner cannot hide its memory")


def lower(kind: int, limit: int) -> None:
    hard = resource.getrlimit(kind)[1]
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(kind, (limit, limit))


def run(request: "dict[str, Any]", directory: str, copy: bool, meter: "int | None", proc: str) -> "tuple[str, bytes]":
    """Run one command in a new directory, and leave no process of it behind; gives the parts of a reply."""
    nonce = request["nonce"]
    pipes = [os.pipe() for _ in range(4)]
    wake, wake_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    _signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
    (their_stdin, stdin), (stdout, their_stdout), (stderr, their_stderr), (result, their_result) = pipes
    theirs = (their_stdin, their_stdout, their_stderr, their_result)
    ours = {stdin, stdout, stderr, result, wake, wake_end}
    try:
        os.mkdir(directory)
        started, usage_before = time.monotonic(), usage(meter)
        try:
            pid = start(request["command"], directory, copy, proc, *theirs)
        finally:
            for fd in theirs:
                close(fd)
    except OSError as error:
        for fd in ours:
            os.close(fd)
        complaint = f"{request['command'][0]}: {error}".encode("utf-8", "replace")
        return f'{{"nonce": "{nonce}", "unusable": {len(complaint)}}}', complaint
    streams = {
        stdout: Stream("stdout", request["output_bytes"]),
        stderr: Stream("stderr", STDERR_BYTES, truncate=True),
        result: Stream("result", max(request["output_bytes"], RESULT_BYTES)),
    }
    pending = memoryview(request["stdin"].encode("utf-8", "surrogatepass"))
    limits = CommandLimits(request["cpu_seconds"], started + request["wall_seconds"], usage_before, meter)
    report = supervise(pid, stdin, pending, dict(streams), wake, limits)
    _signal.set_wakeup_fd(-1)
    for fd in ours:
        close(fd)  # standard input may be closed already
    report["seconds"] = report.pop("ended") - started
    numbers = ", ".join(f'"{name}": {as_json(value)}' for name, value in report.items())
    lengths = ", ".join(f'"{stream.name}": {len(stream.data)}' for stream in streams.values())
    return f'{{"nonce": "{nonce}", {numbers}, {lengths}}}', b"".join(stream.data for stream in streams.values())


def start(
    command: "tuple[str, ...]", directory: str, copy: bool, proc: str, stdin: int, stdout: int, stderr: int, result: int
) -> int:
    """Start a command in a session of its own; raises what kept it from starting.

    A Python command is not executed but run by a copy of this interpreter, if that is allowed: it has the same options
    and no imports that a new one would not have, and it is there already.
    """
    failure, failure_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            set_dumpable(1)
            with open(f"{proc}/self/oom_score_adj", "w") as file:
                file.write("1000")  # programs die before the runner when memory is short, and wait for it when time is
            os.nice(5)
            os.setsid()
            os.chdir(directory)
            for fd, number in ((stdin, 0), (stdout, 1), (stderr, 2)):
                os.dup2(fd, number)
            _signal.set_wakeup_fd(-1)
            _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
            if not copy or command[: len(PYTHON)] != PYTHON:
                os.set_inheritable(result, True)
                for number in (_signal.SIGPIPE, _signal.SIGXFSZ):
                    _signal.signal(number, _signal.SIG_DFL)
                os.execve(command[0], command, {**ENVIRONMENT, "RESULT_FD": str(result)})  # noqa: S606
        except BaseException as error:
            os.write(failure_end, str(error).encode("utf-8", "replace"))
            os._exit(127)
        os.closerange(3, result)
        os.closerange(result + 1, MAX_DESCRIPTORS)
        os.environ.clear()
        os.environ.update({**ENVIRONMENT, "RESULT_FD": str(result)})
        run_python(command[len(PYTHON) :])
        raise SystemExit
    os.close(failure_end)
    complaint = os.read(failure, CHUNK)
    os.close(failure)
    if complaint:
        os.waitpid(pid, 0)
        raise OSError(complaint.decode())
    return pid


def run_python(arguments: "tuple[str, ...]") -> None:
    """Do what the interpreter does with these arguments: `-c SOURCE …` or `FILE …`."""
    main = type(sys)("__main__")
    vars(main)["__builtins__"] = __builtins__
    if arguments[0] == "-c":
        source: str | bytes = arguments[1]
        name, sys.argv = "<string>", ["-c", *arguments[2:]]
    else:
        with open(arguments[0], "rb") as file:
            source = file.read()
        name, sys.argv = arguments[0], list(arguments)
        main.__file__ = name
    sys.modules["__main__"] = main
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    sys.setrecursionlimit(sys.getrecursionlimit() + frames_below())
    try:
        exec(compile(source, name, "exec", dont_inherit=True), vars(main))  # noqa: S102 (in the box)
    except SystemExit:
        raise
    except BaseException as error:
        trace = error.__traceback__ and error.__traceback__.tb_next  # without the frame of ours
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        raise SystemExit(1) from None


def frames_below() -> int:
    """How many frames a Python command has below it that an interpreter of its own would not have."""
    frame, number = sys._getframe(), 0
    while frame.f_back is not None:
        frame, number = frame.f_back, number + 1
    return number - 1


def close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        return


def as_json(value: "int | float | str | None") -> str:
    return "null" if value is None else f'"{value}"' if isinstance(value, str) else repr(value)


class CommandLimits:
    """Processor time of all processes of the command together, and the time on the clock."""

    def __init__(self, cpu_seconds: float, deadline: float, before: float, meter: "int | None") -> None:
        self.cpu_seconds, self.deadline = cpu_seconds, deadline
        self.before, self.meter = before, meter
        self.look_at = self.next_look(0.0)

    def used(self) -> float:
        """Processor seconds so far."""
        return max(0.0, usage(self.meter) - self.before)

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


def find_meter(arguments: "list[str]") -> "int | None":
    """A descriptor of the file that tells how much processor time our control group has used.

    Args:
        arguments: Its number, where the owner has opened it; otherwise it is looked for in /sys.
    """
    if arguments:
        os.set_inheritable(int(arguments[0]), False)
        return int(arguments[0])
    try:
        with open("/proc/self/cgroup") as file:
            ours = [line.rstrip().split(":", 2)[1:] for line in file]
        with open("/proc/self/mountinfo") as file:
            mounts = [line.split() for line in file]
    except OSError:
        return None
    for kind, controller, name in (("cgroup", "cpuacct", "cpuacct.usage"), ("cgroup2", "", "cpu.stat")):
        paths = [path for names, path in ours if controller in names.split(",")]
        for mount in mounts:
            root, place, end = mount[3], mount[4], mount[mount.index("-") + 1 :]
            if end[0] == kind and [root] == paths and (not controller or controller in end[2].split(",")):
                return open_meter(f"{place}/{name}")
    return None


def open_meter(path: str) -> "int | None":
    """None where it is no meter, or one of more than this sandbox, which has only just begun."""
    try:
        meter = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        if group_seconds(meter) < FRESH_SECONDS:
            return meter
    except (OSError, ValueError):
        pass
    os.close(meter)
    return None


def group_seconds(meter: int) -> float:
    """Processor time of a control group: `cpuacct.usage` of version 1 in nanoseconds, `cpu.stat` of version 2."""
    words = os.pread(meter, CHUNK, 0).split()
    return int(words[0]) / 1e9 if len(words) == 1 else int(words[words.index(b"usage_usec") + 1]) / 1e6


def usage(meter: "int | None") -> float:
    """Processor seconds of all processes but this one, so far. Without a meter those are missing whose parent ignores
    their end."""
    if meter is not None:
        return group_seconds(meter) - time.process_time()
    return reaped_seconds() + sum(map(alive_seconds, filter(str.isdigit, os.listdir("/proc"))))


def reaped_seconds() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


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


def supervise(
    pid: int, stdin: int, pending: memoryview, streams: "dict[int, Stream]", wake: int, limits: CommandLimits
) -> "dict[str, Any]":
    """Feed and drain the command until it has ended, then read what is left in its pipes.

    Their end is not waited for: what holds them open then is no process, but a socket in a message that is never read.
    """
    poll = select.poll()
    poll.register(OWNER, 0)  # hang-up only
    for fd in (wake, *streams):
        os.set_blocking(fd, False)
        poll.register(fd, select.POLLIN)
    os.set_blocking(stdin, False)
    poll.register(stdin, select.POLLOUT)
    stopped: str | None = None

    while True:
        for fd, _ in poll.poll(limits.milliseconds() if stopped is None else None):
            if fd == OWNER:
                kill_all()
                os._exit(1)
            elif fd == wake:
                os.read(wake, CHUNK)
            elif fd == stdin:
                pending = feed(stdin, pending)
                if not pending:
                    poll.unregister(stdin)
                    os.close(stdin)
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
        "cpu_seconds": limits.used(),
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


def kill_all() -> None:
    try:
        os.kill(-1, _signal.SIGKILL)
    except ProcessLookupError:
        return


def end_all() -> None:
    """Kill and wait for every process of the command."""
    try:
        while True:
            kill_all()
            os.waitpid(-1, 0)
    except ChildProcessError:
        return


def receive() -> bytes:
    """The next frame; raises EOFError when the owner is gone."""
    return read_exactly(int.from_bytes(read_exactly(4), "big"))


def read_exactly(size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = os.read(OWNER, min(size - len(data), 1 << 20))
        if not chunk:
            raise EOFError
        data += chunk
    return bytes(data)


def send(line: str, data: bytes = b"") -> None:
    head = line.encode() + b"\n"
    view = memoryview((len(head) + len(data)).to_bytes(4, "big") + head + data)
    while view:
        view = view[os.write(1, view) :]
