"""Runs in a box, in an interpreter of its own: looks at what a program sees and may do there, and prints it as JSON.

Standard input: "numbers" of system calls by name, "calls" to try with their arguments, and "paths" and the "hostname"
of the host.
"""

import ctypes
import errno
import json
import os
import resource
import socket
import sys
import time

GIVEN = json.load(sys.stdin)
LIBC = ctypes.CDLL(None, use_errno=True)


def outcome(call):
    """What an action ends with: the name of its error, or "done"."""
    try:
        call()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"


def system_call(name, arguments):
    def call():
        converted = [argument.encode() if isinstance(argument, str) else argument for argument in arguments]
        result = LIBC.syscall(GIVEN["numbers"][name], *converted)
        if result == -1:
            raise OSError(ctypes.get_errno(), name)
        if result == 0 and name == "clone":
            os._exit(0)

    return outcome(call)


def status(name, pid="self"):
    with open(f"/proc/{pid}/status") as file:
        return next(line.split()[1:] for line in file if line.startswith(f"{name}:"))


def text(path):
    with open(path) as file:
        return file.read().split()


def look(path):
    """Whether a program learns anything from a file or directory."""
    try:
        if os.path.isdir(path):
            return bool(os.listdir(path))
        with open(path, "rb") as file:
            return bool(file.read(1))
    except OSError:
        return False


def writable_directories():
    found = []
    for directory, below, _ in os.walk("/"):
        if directory == "/":
            below.remove("proc")
        try:
            os.close(os.open(f"{directory}/probe", os.O_CREAT | os.O_WRONLY))
            os.unlink(f"{directory}/probe")
        except OSError:
            continue
        found.append(directory)
        below.clear()
    return sorted(found)


def writable_settings():
    tops = [
        top for top in ("/proc/sys", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/sysrq-trigger") if os.path.exists(top)
    ]
    files = [f"{at}/{name}" for top in tops for at, _, names in os.walk(top) for name in names] + [
        "/proc/sysrq-trigger"
    ]
    return sorted(path for path in files if outcome(lambda path=path: os.close(os.open(path, os.O_WRONLY))) == "done")


def set_id_files():
    found = []
    for at, _, names in os.walk("/usr"):
        found += [name for name in names if os.lstat(f"{at}/{name}").st_mode & 0o6000]
    return found


def mounted(path):
    """Options of what lies on top at a path."""
    with open("/proc/self/mountinfo") as file:
        lines = [line.split() for line in file]
    return next(line[5].split(",") for line in reversed(lines) if line[4] == path)


def executes(path):
    with open("/usr/bin/python3", "rb") as source, open(path, "wb") as copy:
        copy.write(source.read())
    os.chmod(path, 0o755)
    pid = os.fork()
    if pid == 0:
        try:
            os.execv(path, [path, "-I", "-S", "-c", ""])
        except OSError:
            os._exit(9)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def families():
    return [
        family
        for family in range(46)
        if outcome(lambda family=family: socket.socket(family, socket.SOCK_STREAM)) == "done"
    ]


NAMESPACES = ("mnt", "pid", "net", "ipc", "uts", "cgroup", "user")

# fmt: off
KERNEL = [
    "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/proc/acpi", "/proc/asound", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/kmsg", "/sys/firmware", "/sys/fs", "/sys/kernel", "/sys/block",
]
# fmt: on

FACTS = {
    "descriptors": lambda: len(os.listdir("/proc/self/fd")),  # 0, 1, 2, the result, and the list itself
    "processes": lambda: [int(pid) == os.getpid() or pid for pid in os.listdir("/proc") if pid.isdigit()],
    "parent": os.getppid,
    "user": lambda: [status("Uid"), status("Gid")],
    "groups": lambda: [group for group in status("Groups") if group not in ("65534", str(os.getgid()))],
    "capabilities": lambda: [int(status(name)[0], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
    "capabilities of process 1": lambda: [int(status(name, 1)[0], 16) for name in ("CapPrm", "CapEff", "CapBnd")],
    "no new privileges": lambda: status("NoNewPrivs"),
    "seccomp": lambda: [status("Seccomp"), status("Seccomp", 1)],
    "uid map": lambda: text("/proc/self/uid_map"),
    "gid map": lambda: text("/proc/self/gid_map"),
    "what of process 1 can be opened": lambda: [
        name
        for name in (
            "environ",
            "mem",
            "maps",
            "fd",
            "map_files",
            "cwd/",
            "root/",
            "exe",
            "auxv",
            "stack",
            "syscall",
            "ns/mnt",
        )
        if outcome(lambda: os.close(os.open(f"/proc/1/{name}", os.O_RDONLY))) == "done"
    ],
    "signals to process 1": lambda: [os.kill(1, number) for number in (9, 15, 19)],
    "system calls": lambda: {label: system_call(name, arguments) for label, name, arguments in GIVEN["calls"]},
    "socket families": families,
    "network interfaces": lambda: [line.split(":")[0].strip() for line in open("/proc/net/dev").readlines()[2:]],
    "paths of the host": lambda: [path for path in GIVEN["paths"] if os.path.exists(path)],
    "hostname of the host": lambda: socket.gethostname() == GIVEN["hostname"],
    "writable directories": writable_directories,
    "writable settings of the kernel": writable_settings,
    "files with set-id bits": set_id_files,
    "what of the kernel can be read": lambda: [path for path in KERNEL if look(path)],
    "devices": lambda: sorted(
        name
        for name in os.listdir("/dev")
        if outcome(lambda: os.close(os.open(f"/dev/{name}", os.O_RDWR | os.O_NOCTTY))) == "done"
    ),
    "options of /tmp": lambda: sorted({"nosuid", "nodev", "noexec"} & set(mounted("/tmp"))),
    "options of /dev/shm": lambda: sorted({"nosuid", "nodev", "noexec"} & set(mounted("/dev/shm"))),
    "execution in /tmp": lambda: executes("/tmp/python3"),
    "bytes of /tmp and /dev/shm": lambda: [
        os.statvfs(at).f_blocks * os.statvfs(at).f_bsize for at in ("/tmp", "/dev/shm")
    ],
    "files of /tmp and /dev/shm": lambda: [os.statvfs(at).f_files for at in ("/tmp", "/dev/shm")],
    "limits": lambda: [
        resource.getrlimit(kind) for kind in (resource.RLIMIT_CORE, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE)
    ],
    "out of memory": lambda: [
        text("/proc/self/oom_score_adj"),
        outcome(lambda: os.write(os.open("/proc/self/oom_score_adj", os.O_WRONLY), b"0")),
    ],
    "instances of inotify": lambda: sum(LIBC.inotify_init() >= 0 for _ in range(16)),
    "environment": lambda: sorted(os.environ),
    "time zone": lambda: time.tzname,
    "namespaces": lambda: {name: os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES},
}

print(json.dumps({name: fact() for name, fact in FACTS.items()}))
