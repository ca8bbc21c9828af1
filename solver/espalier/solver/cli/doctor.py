"""`espalier doctor`."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from espalier.common.cli import Debug, Json, UsageError, errors
from espalier.solver.cli.options import EngineOption

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from espalier.solver.doctor.finding import Finding
    from espalier.solver.doctor.run import DoctorCheck

WELL = 0
ILL = 1

MARKS = {"ok": ("✓", "green"), "note": ("·", "yellow"), "problem": ("✗", "red")}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog="Exit status: 0 nothing is wrong (notes do not count), 1 something is, 2 usage.")
def doctor(
    engine: EngineOption = "local",
    redis: Annotated[
        str, typer.Option(envvar="ESPALIER_REDIS", metavar="URL", help="Where the queue is.")
    ] = "redis://127.0.0.1:6379/0",
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Look at this alone; repeat for several.")
    ] = None,
    need: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A note on this counts as wrong; repeat for several.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Longest time of a check.", min=0.1)] = 60.0,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Look at everything that Espalier rests on, and say what to do about what is missing.

    It really loads the model and decodes, and really runs programs in the sandbox.

    espalier doctor

    espalier doctor --need redis --need sandbox --engine sglang://127.0.0.1:30000
    """
    with errors(debug):
        checks = _checks(engine, redis, seconds)
        for name in (*(only or ()), *(need or ())):
            if name not in checks:
                raise UsageError(f"there is no check {name!r}; there are: {', '.join(checks)}")
        wanted = {*only, *(need or ())} if only else checks  # what is needed is looked at in any case
        chosen = {name: check for name, check in checks.items() if name in wanted}
        status = _report(chosen, seconds, need or (), as_json)
    sys.stdout.flush()
    os._exit(status)  # checks that hang are left behind: the process does not wait for their threads


def _report(checks: Mapping[str, DoctorCheck], seconds: float, needed: Sequence[str], as_json: bool) -> int:
    """Tell every finding as it comes; the exit status."""
    from espalier.solver.doctor.run import examine

    wrong = notes = 0
    for name, finding in examine(checks, seconds):
        is_wrong = finding.state == "problem" or (finding.state == "note" and name in needed)
        wrong += is_wrong
        notes += finding.state == "note" and not is_wrong
        _tell(name, finding, "problem" if is_wrong else finding.state.value, as_json)
    if not as_json:
        well = f"Nothing is wrong; {notes} of {len(checks)} checks have a note." if notes else "All is well."
        typer.echo(f"{wrong} of {len(checks)} checks found something wrong" if wrong else well)
    return ILL if wrong else WELL


def _tell(name: str, finding: Finding, state: str, as_json: bool) -> None:
    if as_json:
        told = {"name": name, "state": state, "detail": finding.detail, "advice": finding.advice}
        typer.echo(json.dumps(told, ensure_ascii=False))
        return
    mark, colour = MARKS[state]
    typer.echo(f"{typer.style(mark, fg=colour)} {name:11} {finding.detail}")
    if finding.advice:
        typer.echo(f"  {'':11} → {finding.advice}")


def _checks(engine: str, redis: str, seconds: float) -> dict[str, DoctorCheck]:
    """Every check by name, in the order of the report."""
    from espalier.solver.doctor import engine as engines
    from espalier.solver.doctor import machine, queue, sandbox

    return {
        "python": machine.python,
        "packages": machine.packages,
        "torch": engines.torch,
        "engine": partial(engines.engine, engine),
        "gpu": engines.gpu,
        "sglang": partial(engines.sglang, seconds - 1),
        "sandbox": sandbox.sandbox,
        "docker": sandbox.docker,
        "bubblewrap": sandbox.bubblewrap,
        "redis": partial(queue.redis, redis),
        "ports": machine.ports,
        "disk": partial(machine.disk, machine.usual_places()),
    }
