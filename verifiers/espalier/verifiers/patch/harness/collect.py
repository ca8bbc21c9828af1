# ruff: noqa: S606 (this is the box)
"""Runs inside the box: starts the tests in a process of their own, and collects what becomes of each.

Standard input: {"root": path, "packages": path or "", "arguments": of pytest, "select": names of tests or null for all,
"pytest": source of the process of the tests (run_pytest.py), "guarded": paths that no run may change, "patterns": names
that no run may make beside them}. Written to RESULT_FD, by this process alone, as it
happens, each a line of JSON:
    "unread", path, detail               what could not be collected
    "start", node id
    "outcome", node id, "passed" | "failed" | "skipped", detail
    "end", changed, plugins              all tests have run; functions of pytest that were replaced meanwhile, and
                                         modules that plugged themselves into pytest and are no conftest.py
    "touched", paths                     files of the tests that were changed, moved or made meanwhile
    "fault", reason                      why the run is not complete, or not to be believed

The process of the tests runs code of the patch, so it is believed only as far as it keeps to the order of things: a
test begins when this process has handed out a token for it, and its outcome has to bring that token back. This process
cannot be inspected by it (not dumpable), and holds the only descriptor of the result.
"""

import _ctypes
import json
import os
import secrets
import select
import signal
import socket
import struct
import sys
from collections import Counter
from fnmatch import fnmatchcase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

PR_SET_DUMPABLE = 4
PYTHON = ("/usr/bin/python3", "-P", "-s", "-B", "-X", "utf8")
TROUBLE = 3
"""Exit status when the run could not be watched: nothing is known of the patch."""
IN_WRITTEN = 0x2 | 0x8
"""Modified, or closed after it was open for writing."""
IN_RENAMED = 0x40 | 0x80 | 0x100 | 0x200
"""Moved from or to a directory, created or deleted in it."""
IN_IGNORED = 0x8000
CHUNK = 1 << 16
MAX_UNREAD = 8 << 20
"""Bytes of a message that has no end."""


def main() -> None:
    if call("prctl", PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        fail("the collector cannot hide its memory")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    request = json.load(sys.stdin)
    result = int(os.environ.pop("RESULT_FD"))
    os.set_inheritable(result, False)
    ended, ended_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(ended_end, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    ours, theirs = socket.socketpair()
    guard = Guard(request["root"], request.pop("guarded"), request.pop("patterns"))
    start(request.pop("pytest"), request["root"], theirs)
    theirs.close()
    ours.sendall(json.dumps(request).encode() + b"\n")
    with open(result, "wb", buffering=0) as file:
        collector = OutcomeCollector(ours, guard, file)
        collector.follow(ended)
        guard.look()
        collector.write("touched", sorted(guard.touched)[:20])
    os._exit(0)


def call(function: str, *arguments: "int | bytes") -> int:
    """A function of the C library."""
    program: Any = None  # as dlopen(3) has it: this process
    address = _ctypes.dlsym(_ctypes.dlopen(program, 2), function)
    result: int = _ctypes.call_function(address, arguments)
    return result


def fail(reason: str) -> "NoReturn":
    """End for a reason that is not the patch's."""
    os.write(2, reason.encode())
    os._exit(TROUBLE)


def start(source: str, root: str, channel: socket.socket) -> None:
    """Start the process of the tests at the other end of the channel."""
    if os.fork() == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(2, 1)  # what it prints is for people, and too much of it ends nothing
            channel.set_inheritable(True)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.chdir(root)
            os.execve(PYTHON[0], (*PYTHON, "-c", source, str(channel.fileno())), dict(os.environ))
        except BaseException as error:
            os.write(2, str(error).encode())
            os._exit(127)


class Guard:
    """Watches the files of the tests through inotify: who changes them, and by which name, makes no difference.

    Every guarded file is watched itself, and every directory above one for what is moved, made or removed in it.
    """

    def __init__(self, root: str, guarded: "list[str]", patterns: "list[str]") -> None:
        self.touched: set[str] = set()
        self._patterns = patterns
        self._names: dict[int, tuple[str, set[str]]] = {}
        self.fd = call("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)
        known: dict[str, set[str]] = {}
        for path in (f"{root}/{path}" for path in guarded):
            self._watch(path, IN_WRITTEN)
            parts = path.split("/")
            for depth in range(1, len(parts)):
                known.setdefault("/".join(parts[:depth]) or "/", set()).add(parts[depth])
        for directory, names in known.items():
            self._names[self._watch(directory, IN_WRITTEN | IN_RENAMED)] = directory, names

    def _watch(self, path: str, mask: int) -> int:
        number = call("inotify_add_watch", self.fd, os.fsencode(path), mask)
        if number < 0:
            fail(f"{path} cannot be watched")
        self._names.setdefault(number, (path, set()))
        return number

    def look(self) -> None:
        """Note what has happened."""
        while events := self._events():
            at = 0
            while at < len(events):
                number, mask, _, length = struct.unpack_from("iIII", events, at)
                name = os.fsdecode(events[at + 16 : at + 16 + length].rstrip(b"\0"))
                at += 16 + length
                path, names = self._names.get(number, ("", set()))
                if mask & IN_IGNORED:
                    continue
                if not name or name in names or any(fnmatchcase(name, pattern) for pattern in self._patterns):
                    self.touched.add(f"{path}/{name}".rstrip("/") or "more than could be followed")

    def _events(self) -> bytes:
        try:
            return os.read(self.fd, CHUNK)
        except BlockingIOError:
            return b""


class OutcomeCollector:
    """One run of the tests, seen from outside of their process."""

    def __init__(self, channel: socket.socket, guard: Guard, file: "Any") -> None:
        self._channel, self._guard, self._file = channel, guard, file
        self._waiting: Counter[str] | None = None
        self._test = self._token = ""
        self._ended = False

    def follow(self, ended: int) -> None:
        """Follow the process of the tests until it has ended; `ended` can be read when it has."""
        unread = b""
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        poll.register(ended, select.POLLIN)
        poll.register(self._guard.fd, select.POLLIN)
        status = None
        try:
            while status is None:
                poll.poll()
                self._guard.look()
                done, left = os.waitpid(-1, os.WNOHANG)
                status = left if done else None
                while chunk := self._read():
                    *lines, unread = (unread + chunk).split(b"\n")
                    for line in lines:
                        self._take(json.loads(line))
                    if len(unread) > MAX_UNREAD:
                        raise ValueError("a message without an end")
        except (ValueError, KeyError, TypeError, OSError, RecursionError) as error:
            self.write("fault", f"the process of the tests reports out of order: {error}")
            return
        if not self._ended:
            how = f"exit status {os.WEXITSTATUS(status)}" if os.WIFEXITED(status) else f"signal {os.WTERMSIG(status)}"
            during = f" during {self._test}" if self._test else ""
            self.write("fault", f"the process of the tests ended before the tests did{during} ({how})")

    def _read(self) -> bytes:
        try:
            return self._channel.recv(CHUNK, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return b""

    def _take(self, message: "dict[str, Any]") -> None:
        kind = message["kind"]
        if self._ended:
            raise ValueError(f"{kind} behind the end")
        if kind == "unread" and self._waiting is None:
            self.write(kind, str(message["path"]), str(message["detail"]))
        elif kind == "collected" and self._waiting is None:
            self._waiting = Counter(map(str, message["tests"]))
        elif kind == "start" and self._waiting is not None and not self._test:
            if not self._waiting[message["test"]]:
                raise ValueError("a test that was not collected")
            self._waiting[message["test"]] -= 1
            self._test, self._token = message["test"], secrets.token_hex(8)
            self.write(kind, self._test)
            self._channel.sendall(self._token.encode() + b"\n")
        elif kind == "outcome" and self._test and secrets.compare_digest(str(message["token"]), self._token):
            self.write(kind, self._test, str(message["outcome"]), str(message["detail"]))
            self._test = ""
        elif kind == "end" and not self._test:
            self.write(kind, list(map(str, message["changed"])), list(map(str, message["plugins"])))
            self._ended = True
        else:
            raise ValueError(f"{kind} where it does not belong")

    def write(self, *row: "Any") -> None:
        """One line of the result."""
        line = memoryview(json.dumps(row).encode() + b"\n")
        while line:
            line = line[self._file.write(line) :]


if __name__ == "__main__":
    main()
