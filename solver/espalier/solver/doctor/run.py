"""All checks, side by side, each within its time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from queue import Empty, SimpleQueue

from espalier.solver.doctor.finding import Finding, problem

DoctorCheck = Callable[[], Finding]


def examine(checks: Mapping[str, DoctorCheck], seconds: float) -> Iterator[tuple[str, Finding]]:
    """Name and finding of every check, in the order in which they are given.

    A check that raises, or takes longer, is a problem of its own; it never keeps the others from being told. Its thread
    is left behind then, and ends with the process.

    Args:
        checks: By name.
        seconds: Longest time of one.
    """
    running = {name: _begin(check) for name, check in checks.items()}
    deadline = time.monotonic() + seconds
    for name, answers in running.items():
        try:
            yield name, answers.get(timeout=max(0.001, deadline - time.monotonic()))
        except Empty:
            yield name, problem(f"no answer within {seconds:g} s", "try again with more --seconds, and --only " + name)


def _begin(check: DoctorCheck) -> SimpleQueue[Finding]:
    answers: SimpleQueue[Finding] = SimpleQueue()

    def run() -> None:
        try:
            answers.put(check())
        except Exception as error:  # one check that fails must not hide the others
            answers.put(
                problem(f"{type(error).__name__}: {error}", "this is a defect of espalier doctor; please report it")
            )

    threading.Thread(target=run, daemon=True).start()
    return answers
