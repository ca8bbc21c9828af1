"""The languages that programs may be written in: image, how to compile, how to run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from espalier.verifiers.code.source import source_of

JOB = "/tmp/job"  # noqa: S108 (inside the box)


@dataclass(frozen=True, slots=True)
class Language:
    """One row of the table.

    Attributes:
        image: The box's image.
        source: File name of the program inside /tmp/job.
        run: Command line that runs it.
        compile: Command line that makes it runnable, if any.
        compile_seconds: Limit of its processor time.
        executable_tmp: The compiled program is executed out of /tmp.
        call: Command line that serves CallCase, where the language has a harness.
        asserts: Command line that serves AssertCase, likewise.

    In command lines `{heap_mib}` stands for the memory of the box less what a virtual machine needs beside its heap:
    it sees the memory of the whole machine, and would grow until it is killed before it collects any garbage.
    """

    image: str
    source: str
    run: tuple[str, ...]
    compile: tuple[str, ...] | None = None
    compile_seconds: float = 30.0
    executable_tmp: bool = False
    call: tuple[str, ...] | None = None
    asserts: tuple[str, ...] | None = None

    @property
    def source_path(self) -> str:
        """Where the program's source lies in the box."""
        return f"{JOB}/{self.source}"

    def compile_command(self, memory_mib: int) -> tuple[str, ...]:
        """The command line of the compiler in a box of that memory; empty without one."""
        return _with_heap(self.compile or (), memory_mib)

    def run_command(self, memory_mib: int) -> tuple[str, ...]:
        """The command line of the program in a box of that memory."""
        return _with_heap(self.run, memory_mib)


BESIDE_HEAP_MIB = 96
"""What a virtual machine needs beside its heap: its own code, compiled code, classes, stacks, and the files in /tmp."""


def _with_heap(command: tuple[str, ...], memory_mib: int) -> tuple[str, ...]:
    heap = str(max(memory_mib // 4, memory_mib - BESIDE_HEAP_MIB))
    return tuple(part.replace("{heap_mib}", heap) for part in command)


def _harness(*names: str) -> str:
    return source_of(__package__, *names)


PYTHON = ("/usr/bin/python3", "-P", "-s", "-B", "-X", "utf8", "-X", "int_max_str_digits=0")
"""Isolated from directories that programs can write; numbers of any length may be printed. Not isolated (`-I`) from its
environment, which is the runner's: sets of texts have the order of the seed in it. The runner knows this beginning
(runner.py)."""

PROGRAM_SERVER = _harness("values.py", "harness/load.py", "harness/program.py")
"""What the process of a program runs beside the process of its tests."""

JAVA_OPTIONS = (
    *("-XX:ActiveProcessorCount=1", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-XX:ReservedCodeCacheSize=48m"),
    *("-Xlog:disable", "-Xlog:all=warning:stderr"),
)
"""One processor and few threads, as a box has no more; and no warnings on standard output."""

LANGUAGES: Mapping[str, Language] = MappingProxyType(
    {
        "python": Language(
            image="python",
            source="program.py",
            run=(*PYTHON, f"{JOB}/program.py"),
            call=(*PYTHON, "-c", _harness("values.py", "harness/load.py", "harness/call.py"), f"{JOB}/program.py"),
            asserts=(
                *PYTHON,
                "-c",
                _harness("values.py", "harness/remote.py", "harness/tests.py"),
                f"{JOB}/program.py",
            ),
        ),
        "cpp": Language(
            image="cpp",
            source="program.cpp",
            compile=("/usr/bin/g++", "-std=c++20", "-O2", "-o", f"{JOB}/program", f"{JOB}/program.cpp"),
            run=(f"{JOB}/program",),
            executable_tmp=True,
        ),
        "c": Language(
            image="cpp",
            source="program.c",
            compile=("/usr/bin/gcc-12", "-std=c17", "-O2", "-o", f"{JOB}/program", f"{JOB}/program.c", "-lm"),
            run=(f"{JOB}/program",),
            executable_tmp=True,
        ),
        "go": Language(
            image="go",
            source="program.go",
            compile=("/usr/lib/go-1.19/bin/go", "build", "-o", f"{JOB}/program", f"{JOB}/program.go"),
            run=(f"{JOB}/program",),
            executable_tmp=True,
        ),
        "java": Language(
            image="java",
            source="program.java",
            compile=(
                *PYTHON,
                "-c",
                _harness("harness/compile_java.py"),
                *("/usr/bin/javac", "-J-Xmx{heap_mib}m", *(f"-J{option}" for option in JAVA_OPTIONS)),
                *("-J-XX:TieredStopAtLevel=1", "-encoding", "UTF-8", "-nowarn", "-proc:none", "-d", f"{JOB}/classes"),
            ),
            run=(
                "/usr/bin/java",
                "-Xmx{heap_mib}m",
                *JAVA_OPTIONS,
                "-Xss64m",
                *("-cp", f"{JOB}/classes", f"@{JOB}/main"),
            ),
        ),
        "rust": Language(
            image="rust",
            source="program.rs",
            compile=(
                *("/usr/bin/rustc", "--edition=2021", "-O", "-C", "linker=/usr/bin/gcc-12"),
                *("-o", f"{JOB}/program", f"{JOB}/program.rs"),
            ),
            run=(f"{JOB}/program",),
            executable_tmp=True,
        ),
        "javascript": Language(
            image="javascript",
            source="program.js",
            run=("/usr/bin/node", f"{JOB}/program.js"),
            call=("/usr/bin/node", "-e", _harness("harness/call.js"), f"{JOB}/program.js"),
        ),
    }
)
