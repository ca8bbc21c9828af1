"""One run of a repository's tests in a box, from what to run to what became of each test."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from espalier.verifiers.check import PatchCheck
from espalier.verifiers.code.cases import WALL_FACTOR, starved
from espalier.verifiers.code.languages import PYTHON
from espalier.verifiers.code.sandbox import (
    PACKAGES,
    BoxSpec,
    Command,
    CommandOutcome,
    CommandStop,
    Job,
    Sandbox,
    SandboxError,
)
from espalier.verifiers.code.source import source_of
from espalier.verifiers.patch.changes import Change
from espalier.verifiers.patch.repository import Repository
from espalier.verifiers.paths import PROTECTED, file_of, matches

ROOT = "/tmp/repository"  # noqa: S108 (inside the box)
UNPACK_SECONDS = 60.0
TROUBLE = 3
"""Exit status of a collector that could not watch the tests."""
REPORT_BYTES = 16 << 20
KEPT = 4000
"""Characters that are kept of what the process of the tests printed."""


_UNPACK = (*PYTHON, "-c", source_of(__package__, "harness/unpack.py"))
_COLLECT = (*PYTHON, "-c", source_of(__package__, "harness/collect.py"))
_RUN_PYTEST = source_of(__package__, "harness/run_pytest.py")


@dataclass(frozen=True, slots=True)
class CaseOutcome:
    """What became of one test.

    Attributes:
        status: "passed", "failed" or "skipped".
        detail: What pytest says of a failure.
    """

    status: str
    detail: str = ""

    @property
    def passed(self) -> bool:
        return self.status == "passed"


@dataclass(frozen=True, slots=True)
class TestRun:
    """What one run of the tests came to.

    Attributes:
        outcomes: By node id.
        unread: What could not be collected, with the reason.
        fault: Why the run is not complete or not to be believed; empty when it is.
        starved: The clock ended it, twice, while it computed: the machine was too busy.
        tampering: What the code under test did to the tests: functions of pytest that it replaced, modules that plugged
            themselves in, files of the tests that it changed.
        printed: The end of what the process of the tests printed.
        seconds: On the clock.
        cpu_seconds: Of the processor.
    """

    outcomes: Mapping[str, CaseOutcome] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)
    fault: str = ""
    starved: bool = False
    tampering: frozenset[str] = frozenset()
    printed: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0


async def run_tests(
    sandbox: Sandbox,
    check: PatchCheck,
    repository: Repository,
    changes: Mapping[str, Change],
    overlay: Mapping[str, str],
    select: tuple[str, ...] | None,
    packages: str,
) -> TestRun:
    """Run tests of a repository, in a fresh box; once more where the machine was too busy for them.

    Args:
        sandbox: Where.
        check: Command, image and limits.
        repository: What the changes are made to.
        changes: Of the patch.
        overlay: Files that are laid over it, by path; no change touches them.
        select: Names of tests; None: all that the command finds.
        packages: Directory of packages on this machine; empty: none.

    Raises:
        SandboxError: The sandbox failed, not the tests.
    """
    files = {path: None if change.new is None else (change.new, change.executable) for path, change in changes.items()}
    lay_out = {
        "root": ROOT,
        "archive": base64.b64encode(repository.archive).decode(),
        "files": {**files, **{path: (text, False) for path, text in overlay.items()}},
    }
    arguments = [*check.command[1:], *sorted({file_of(name) for name in select or ()})]
    paths = (repository.paths - files.keys()) | overlay.keys()
    guarded = overlay.keys() | {path for path in paths if matches(path, (*PROTECTED, *check.protected_paths))}
    request = {
        "root": ROOT,
        "packages": PACKAGES if packages else "",
        "arguments": arguments,
        "select": select,
        "pytest": _RUN_PYTEST,
        "guarded": sorted(guarded),
        "patterns": [pattern for pattern in PROTECTED if "/" not in pattern and "." in pattern],
    }
    seconds = check.limits.seconds
    wall = WALL_FACTOR * seconds
    commands = (
        Command(_UNPACK, json.dumps(lay_out), UNPACK_SECONDS, WALL_FACTOR * UNPACK_SECONDS),
        Command(_COLLECT, json.dumps(request), seconds, wall, REPORT_BYTES),
    )
    job = Job(_spec(check, repository, packages), commands)
    outcome = await _last(sandbox, job)
    if starved(outcome):
        outcome = await _last(sandbox, job)
    return _read(outcome, check)


def _spec(check: PatchCheck, repository: Repository, packages: str) -> BoxSpec:
    """A box with room for the repository twice, whose files are memory too."""
    room = math.ceil(repository.size / (1 << 20)) + len(repository.paths) // 64
    return BoxSpec(
        check.image,
        check.limits.memory_mib + 4 * room,
        executable_tmp=True,
        tmp_mib=64 + 2 * room,
        packages=packages,
    )


async def _last(sandbox: Sandbox, job: Job) -> CommandOutcome:
    async with aclosing(sandbox.run(job)) as outcomes:
        unpacked = await anext(outcomes)
        if unpacked.exit_code != 0:
            said = unpacked.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise SandboxError(f"the repository cannot be laid out in the box: {said or unpacked.stopped or 'killed'}")
        return await anext(outcomes)


def _read(outcome: CommandOutcome, check: PatchCheck) -> TestRun:
    outcomes: dict[str, CaseOutcome] = {}
    unread: dict[str, str] = {}
    running, fault, tampering, ended = "", "", frozenset[str](), False
    if outcome.exit_code == TROUBLE:
        raise SandboxError(f"the tests cannot be watched: {outcome.stderr.decode(errors='replace')[-200:]}")
    for line in outcome.result.splitlines():
        match _row(line):
            case ["unread", path, detail]:
                unread[path] = detail
            case ["start", test]:
                running = test
            case ["outcome", test, status, detail]:
                running = ""
                if test not in outcomes or outcomes[test].passed:  # of several runs of a test the worst one counts
                    outcomes[test] = CaseOutcome(status, detail)
            case ["end", changed, plugins]:
                tampering, ended = tampering | {*changed, *plugins}, True
            case ["touched", paths]:
                tampering |= {path.removeprefix(f"{ROOT}/") for path in paths}
            case ["fault", reason]:
                fault = reason
    if not ended and not fault:
        fault = _stopped(outcome, check) + (f", in {running}" if running else "")
    printed = outcome.stderr.decode(errors="replace").strip()[-KEPT:]
    times = outcome.seconds, outcome.cpu_seconds
    return TestRun(outcomes, unread, fault, starved(outcome), tampering, printed, *times)


def _row(line: bytes) -> Any:
    """A line of the collector's; nothing where it was cut off."""
    try:
        return json.loads(line)
    except ValueError:
        return None


def _stopped(outcome: CommandOutcome, check: PatchCheck) -> str:
    match outcome.stopped:
        case CommandStop.TIME:
            return f"the tests used up {check.limits.seconds:.3g} s of processor time"
        case CommandStop.WALL:
            return f"the tests took more than {WALL_FACTOR * check.limits.seconds:.3g} s on the clock"
        case _:
            return f"the tests were ended, perhaps at the memory limit of {check.limits.memory_mib} MiB"
