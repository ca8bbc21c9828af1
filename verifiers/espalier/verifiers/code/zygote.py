"""The zygote of an outer sandbox: makes one single-use box after the other, each out of a copy of itself.

Its text stands behind that of runner.py, whose names it uses. A box is a child in new user, mount, PID, network, IPC,
UTS and cgroup namespaces that confines itself and becomes the runner, process 1 of the box. So no box starts an
interpreter, and none costs what a container or bubblewrap costs to make.

The zygote has no privileges in the outer sandbox, and no byte of a job is ever in its memory: the runner reads the
requests itself. One box is alive at a time; the outer sandbox's limits are the limits of the box, and making and
discarding boxes is paid out of them.

It says {"refused": REASON} and ends when the host does not let it make boxes.
"""

import _ctypes
import _signal  # type: ignore[import-not-found]
import array
import errno
import gc
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from espalier.verifiers.code.runner import WORK, find_meter, main, send, set_dumpable

PACKAGES = f"{WORK}/packages"
NOBODY = 65534
SHM = "/dev/shm"  # noqa: S108 (inside the box)
INOTIFY_INSTANCES = 8
"""The host gives a user few of them (128), and there may be one user for all boxes."""
ANOTHER = 10
"""Exit status of a runner whose owner wants another box."""
PERMANENT = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EINVAL, errno.ENOSPC)
"""Errors by which a host says that it does not allow namespaces or mounts; others may pass."""
SYS_CLONE = {"x86_64": 56, "aarch64": 220}
SYS_MOUNT_SETATTR = 442
CLONE_NEWUSER = 0x10000000
NAMESPACES = CLONE_NEWUSER | 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x20000000 | 0x40000000
"""And mount, cgroup, UTS, IPC, PID, network."""
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID = 1, 2
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
PLAIN = MS_NOSUID | MS_NODEV | MS_NOEXEC
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, PR_CAPBSET_DROP = 38, 22, 24
SECCOMP_MODE_FILTER = 2
CAPABILITY_VERSION_3 = 0x20080522
HIDDEN = (
    *("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/key-users", "/proc/kmsg"),
    *("/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys"),
)
"""What tells of the machine: at least what Docker hides in a container."""


# What ctypes makes of _ctypes; the module itself would be an import that programs find in their interpreter.
class Int(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "i"


class Function(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
    _restype_ = Int


THIS_PROGRAM: "Any" = None  # as dlopen(3) has it
LIBC = _ctypes.dlopen(THIS_PROGRAM, 2)
FUNCTIONS: "dict[str, Any]" = {
    name: Function(_ctypes.dlsym(LIBC, name))
    for name in ("capset", "mount", "prctl", "sethostname", "syscall", "unshare")
}


def call(name: str, *arguments: "int | bytes") -> int:
    """Call a function of the C library; raises the error that it reports."""
    result: int = FUNCTIONS[name](*arguments)
    if result == -1:
        number = _ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def serve(seccomp: bytes, tmp_flags: int, tmp_options: str, shm_options: str, meter: "int | None") -> None:
    """Make boxes until the owner is gone.

    Args:
        seccomp: The filter of a box, as instructions of BPF.
        tmp_flags: How /tmp is mounted.
        tmp_options: Its size and such.
        shm_options: Likewise of /dev/shm.
        meter: What `find_meter` gave.
    """
    set_dumpable(0)
    user, group = os.getuid(), os.getgid()
    hidden = [path for path in HIDDEN if os.path.exists(path)]
    gc.freeze()  # a collection in a copy would write to what it shares with this process
    status, proc = ANOTHER, ""
    while status == ANOTHER:
        try:
            box = copy_in_namespaces()
            if box == 0:
                proc = confine(user, group, hidden, seccomp, tmp_flags, tmp_options, shm_options)
        except OSError as error:
            if error.errno in PERMANENT:
                send(f'{{"refused": "{error.strerror}"}}')
            sys.exit(f"the zygote cannot make a box: {error}")
        if box == 0:
            os._exit(ANOTHER if main(meter, proc) else 0)
        status = os.waitstatus_to_exitcode(os.waitpid(box, 0)[1])  # process 1 ends after all others of its namespace


def copy_in_namespaces() -> int:
    """Fork into new namespaces: 0 in the copy, its process id here."""
    machine = os.uname().machine
    if machine not in SYS_CLONE:
        raise OSError(errno.ENOSYS, f"no number of the system call clone is known for {machine}")
    return call("syscall", SYS_CLONE[machine], NAMESPACES | _signal.SIGCHLD, 0, 0, 0, 0)


def confine(
    user: int, group: int, hidden: "list[str]", seccomp: bytes, tmp_flags: int, tmp_options: str, shm_options: str
) -> str:
    """Turn this process, fresh in its namespaces, into one that can do nothing but run programs.

    Returns:
        Where it may write to what /proc has. Programs may not: they could take the runner's place among those that die
        last when memory is short.
    """
    set_dumpable(1)  # only then may it write its own maps; nothing else is alive here
    map_user(user, group)
    call("sethostname", b"box", 3)
    attributes = array.array("Q", (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, 0, 0, 0)).tobytes()
    call("syscall", SYS_MOUNT_SETATTR, AT_FDCWD, b"/", AT_RECURSIVE, attributes, len(attributes))
    mount("proc", "/proc", PLAIN)
    mount("proc", SHM, PLAIN)  # until it is covered below, this one has a name; from then on it has a descriptor alone
    proc = f"/proc/self/fd/{os.open(SHM, os.O_RDONLY | os.O_DIRECTORY)}"
    for path in hidden:
        if os.path.isdir(path):
            mount("tmpfs", path, PLAIN | MS_RDONLY, "size=4k,nr_inodes=1")
        else:
            mount("/dev/null", path, MS_BIND)
    packages = os.open(PACKAGES, os.O_PATH) if os.path.exists(PACKAGES) else None
    mount("tmpfs", WORK, tmp_flags, tmp_options)
    mount("tmpfs", SHM, PLAIN, shm_options)
    if packages is not None:  # they lie in what is covered now
        os.mkdir(PACKAGES)
        mount(f"/proc/self/fd/{packages}", PACKAGES, MS_BIND)
        os.close(packages)
    # No user namespace can be made inside: one more is allowed, and that is taken here. It owns none of the others, so
    # that no capability in it would be worth anything.
    write("/proc/sys/user/max_user_namespaces", "1")
    write("/proc/sys/user/max_inotify_instances", str(INOTIFY_INSTANCES))
    mount("/proc/sys", "/proc/sys", MS_BIND)
    mount("", "/proc/sys", MS_REMOUNT | MS_BIND | MS_RDONLY | PLAIN)
    mount("", "/proc", MS_REMOUNT | MS_BIND | MS_RDONLY | PLAIN)
    call("unshare", CLONE_NEWUSER)
    map_user(NOBODY, NOBODY, proc)
    os.chdir(WORK)
    drop_capabilities()
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    instructions = array.array("Q", seccomp)
    address, length = instructions.buffer_info()
    program = array.array("Q", (length, address)).tobytes()  # struct sock_fprog, little-endian
    call("prctl", PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0)
    return proc


def map_user(user: int, group: int, proc: str = "/proc") -> None:
    """In a new user namespace: this user and group of the one around it, under the name of nobody, and no others."""
    write(f"{proc}/self/setgroups", "deny")
    write(f"{proc}/self/uid_map", f"{NOBODY} {user} 1")
    write(f"{proc}/self/gid_map", f"{NOBODY} {group} 1")


def write(path: str, text: str) -> None:
    with open(path, "wb", buffering=0) as file:
        file.write(text.encode())


def mount(source: str, target: str, flags: int, options: str = "") -> None:
    """Mount a file system of the kind `source`, or with MS_BIND the file or directory `source`."""
    call("mount", source.encode(), target.encode(), source.encode(), flags, options.encode())


def drop_capabilities() -> None:
    try:
        for capability in range(64):
            call("prctl", PR_CAPBSET_DROP, capability, 0, 0, 0)
    except OSError as error:
        if error.errno != errno.EINVAL:  # past the last that this kernel knows
            raise
    call("capset", array.array("I", (CAPABILITY_VERSION_3, 0)).tobytes(), bytes(24))


serve(
    bytes.fromhex(sys.argv[1]),
    PLAIN if sys.argv[2] == "noexec" else PLAIN & ~MS_NOEXEC,
    sys.argv[3],
    sys.argv[4],
    find_meter(sys.argv[5:]),
)
