"""`espalier trace`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from espalier.solver.commands.options import Debug
from espalier.solver.terminal import errors

app = typer.Typer(help="Read the trace of a solve.", no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def group() -> None:
    """Read the trace of a solve (`espalier solve --trace FILE`)."""


@app.command()
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `espalier solve --trace` wrote.")],
    full: Annotated[bool, typer.Option("--full", help="Whole texts instead of their ends.")] = False,
    debug: Debug = False,
) -> None:
    """Print a trace as a tree: problems, candidates, branches, verdicts, the decision."""
    with errors(debug):
        from rich.console import Console

        from espalier.solver.replay import read_trace, tree

        with file.open(encoding="utf-8") as lines:
            solves = read_trace(lines, str(file))
        console = Console()
        for solve in solves:
            console.print(tree(solve, full=full))
