"""Mixed verifications whose right verdict is known, and whose replies cannot be taken for one another."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from espalier.verifiers.check import (
    CallCase,
    Check,
    Claim,
    ConstraintCheck,
    Domain,
    NumberUse,
    ProgramCheck,
    ReferenceCheck,
    Relation,
    StdioCase,
)
from espalier.verifiers.remote import RemoteVerifiers
from espalier.verifiers.verdict import Status, Verdict


@dataclass(frozen=True, slots=True)
class Task:
    """One verification, the status it must get, and text that only its own verdict can contain."""

    claim: Claim
    check: Check
    status: Status
    mark: str


@dataclass(slots=True)
class Report:
    """What came of a workload."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[Status] = field(default_factory=Counter)
    wrong: list[tuple[Task, Verdict]] = field(default_factory=list)


def task(number: int, *, program: bool = False) -> Task:
    """The verification of a number: every kind in turn, half of them wrong answers, no two alike."""
    wrong = number % 2
    status = Status.FAIL if wrong else Status.PASS
    n = number + 2
    if program:
        source = f"def f(x):\n    return x + {n} + {wrong}\n\nif __name__ == '__main__':\n    print(f(int(input())))\n"
        cases = (CallCase("f", "[1]", str(n + 1)), StdioCase("1\n", f"{n + 1}\n"))
        return Task(Claim(source, bare=True), ProgramCheck(cases[number // 2 % 2 :]), status, str(n + 1))
    match number // 2 % 6:
        case 0:
            text, check = f"{n + wrong}/7", ReferenceCheck(rf"\frac{{{n}}}{{7}}")
        case 1:
            text, check = f"{n + wrong}", ReferenceCheck(f"{n}.0")
        case 2:
            text, check = rf"\sqrt{{{n * n + wrong}}} + 1", ReferenceCheck(str(n + 1))
        case 3:
            text, check = f"(x + {n})(x - {n + wrong})", ReferenceCheck(f"x^2 - {n * n}")
        case 4:
            constraints = (Relation(f"3*x + {n} = {4 * n}"), Domain("integer"))
            return Task(Claim(str(n + wrong), bare=True), ConstraintCheck(constraints), status, repr(str(n + wrong)))
        case _:
            use = NumberUse((str(n), "3", "2"), str(n * 3 - 2))
            text = f"{n}*3 {'+' if wrong else '-'} 2"
            return Task(Claim(text, bare=True), ConstraintCheck((use,)), status, repr(text))
    response = Claim(rf"After some thought, \boxed{{{text}}}.")
    return Task(response, check, status, repr(text))


def tasks(client: int, count: int, *, programs: int = 0, first: int = 0) -> Iterator[Task]:
    """The tasks of one client, numbered from `first`; every `programs`-th runs a program, none if 0."""
    for i in range(count):
        yield task(first + client * count + i, program=bool(programs) and i % programs == programs - 1)


async def run_client(addresses: Sequence[str], work: Iterator[Task], report: Report) -> None:
    """One client with a connection of its own: one call after the other, each reply held against its request."""
    async with RemoteVerifiers(addresses) as client:
        for item in work:
            start = perf_counter()
            verdict = await client.verify(item.claim, item.check, timeout=120)
            report.seconds.append(perf_counter() - start)
            report.statuses[verdict.status] += 1
            if verdict.status is not item.status or not _is_about(item, verdict):
                report.wrong.append((item, verdict))


async def run_clients(
    addresses: Sequence[str],
    clients: int,
    count: int,
    *,
    programs: int = 0,
    first: int = 0,
    meanwhile: Callable[[Report], Coroutine[None, None, None]] | None = None,
) -> Report:
    """All clients at once, and something else meanwhile."""
    report = Report()
    async with asyncio.TaskGroup() as group:
        for client in range(clients):
            work = tasks(client, count, programs=programs, first=first)
            group.create_task(run_client(addresses, work, report))
        if meanwhile is not None:
            group.create_task(meanwhile(report))
    return report


def _is_about(item: Task, verdict: Verdict) -> bool:
    said = verdict.feedback + "".join(evidence.detail for evidence in verdict.evidence)
    return isinstance(item.check, ProgramCheck) or item.mark.strip("'") in said
