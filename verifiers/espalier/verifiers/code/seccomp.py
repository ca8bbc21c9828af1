"""The system calls that a box may make: one allow-list, in Docker's format, for both sandboxes.

A zygote may make a few more, by which it makes boxes; each box has the list without them.
"""

from __future__ import annotations

import json
import os
from typing import Any

from espalier.verifiers.code.source import source_of


def docker_profile(*, zygote: bool = False) -> str:
    """The profile as the JSON text that Docker takes in `security_opt`."""
    box = source_of(__package__, "seccomp.json")
    if not zygote:
        return box
    profile = json.loads(box)
    return json.dumps(
        {**profile, "syscalls": profile["syscalls"] + json.loads(source_of(__package__, "seccomp_zygote.json"))}
    )


def bpf_program(*, zygote: bool = False) -> bytes:
    """The same list compiled for this machine's architecture, as bubblewrap takes it on a file descriptor.

    Calls of a foreign architecture (32-bit, x32) kill the process.

    Raises:
        OSError: libseccomp is not installed.
    """
    try:
        import pyseccomp  # type: ignore[import-untyped]  # loads libseccomp at import
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        raise OSError("libseccomp is missing; install the package libseccomp2 (Debian) or libseccomp") from error

    profile = json.loads(docker_profile(zygote=zygote))
    operators = {"SCMP_CMP_EQ": pyseccomp.EQ, "SCMP_CMP_MASKED_EQ": pyseccomp.MASKED_EQ}

    def action(rule: dict[str, Any]) -> int:
        if rule["action"] == "SCMP_ACT_ALLOW":
            return int(pyseccomp.ALLOW)
        return int(pyseccomp.ERRNO(rule["errnoRet"]))

    program = pyseccomp.SyscallFilter(pyseccomp.ERRNO(profile["defaultErrnoRet"]))
    for rule in profile["syscalls"]:
        arguments = [pyseccomp.Arg(a["index"], operators[a["op"]], a["value"], a["valueTwo"]) for a in rule["args"]]
        for name in rule["names"]:
            try:
                number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
            except (OSError, ValueError):
                continue  # not a call of this architecture, or newer than the library
            if number >= 0:
                program.add_rule(action(rule), number, *arguments)
    # A memory file, not a pipe: the program may be larger than a pipe's buffer.
    fd = os.memfd_create("seccomp")
    with os.fdopen(fd, "w+b") as file:
        program.export_bpf(file)
        file.seek(0)
        return file.read()
