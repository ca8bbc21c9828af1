"""The allow-list: one for both sandboxes, without the calls that have let programs out."""

from __future__ import annotations

import json

import pytest

from espalier.verifiers.code.seccomp import bpf_program, docker_profile

# fmt: off
REFUSED = [
    "io_uring_setup", "io_uring_enter", "io_uring_register", "ptrace", "process_vm_readv", "process_vm_writev",
    "pidfd_getfd", "kcmp", "personality", "userfaultfd", "keyctl", "add_key", "request_key", "bpf",
    "perf_event_open", "mount", "umount2", "pivot_root", "chroot", "unshare", "setns", "fsopen", "open_tree",
    "move_mount", "mount_setattr", "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load",
    "open_by_handle_at", "name_to_handle_at", "quotactl", "acct", "swapon", "reboot", "syslog", "fanotify_init",
    "iopl", "ioperm", "modify_ldt", "mknod", "mknodat", "settimeofday", "clock_settime", "sethostname",
    "setdomainname", "vmsplice", "process_madvise", "memfd_secret", "socketcall", "seccomp",
]
# fmt: on


def test_what_is_not_listed_is_refused_and_the_dangerous_is_not_listed() -> None:
    profile = json.loads(docker_profile())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    allowed = {name for row in profile["syscalls"] if row["action"] == "SCMP_ACT_ALLOW" for name in row["names"]}
    assert not allowed & set(REFUSED)


@pytest.mark.parametrize("name", ["socket", "socketpair", "clone", "prlimit64", "setpriority"])
def test_calls_with_two_faces_are_allowed_with_restricted_arguments_only(name: str) -> None:
    rows = [row for row in json.loads(docker_profile())["syscalls"] if name in row["names"]]
    assert rows
    assert all(row["args"] for row in rows)


def test_every_call_is_listed_once() -> None:
    names = [name for row in json.loads(docker_profile())["syscalls"] for name in row["names"]]
    assert len(names) == len(set(names))


def test_the_list_compiles_for_this_machine() -> None:
    program = bpf_program()
    assert program
    assert len(program) % 8 == 0  # whole instructions


def test_a_zygote_may_besides_make_one_kind_of_copy_and_one_kind_of_namespace_and_mount() -> None:
    box, zygote = (json.loads(docker_profile(zygote=zygote))["syscalls"] for zygote in (False, True))
    assert zygote[: len(box)] == box
    more = {name: row["args"] for row in zygote[len(box) :] for name in row["names"]}
    assert set(more) == {"clone", "unshare", "mount", "mount_setattr", "sethostname", "capset"}
    assert [argument["op"] for name in ("clone", "unshare") for argument in more[name]] == ["SCMP_CMP_EQ"] * 2
