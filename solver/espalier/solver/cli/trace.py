"""`espalier trace`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from espalier.common.cli import Debug, UsageError, errors

app = typer.Typer(
    help="Read the trace of a solve.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)


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

        from espalier.solver.trace.reader import read_trace, tree

        with file.open(encoding="utf-8") as lines:
            solves = read_trace(lines, str(file))
        console = Console()
        for solve in solves:
            console.print(tree(solve, full=full))


@app.command()
def view(
    files: Annotated[list[Path], typer.Argument(metavar="TRACE...", help="What `espalier solve --trace` wrote.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write the page.", dir_okay=False)
    ] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Show the page on this machine instead.")] = False,
    port: Annotated[int, typer.Option(help="With --serve; 0 takes any free port.", min=0, max=65535)] = 0,
    debug: Debug = False,
) -> None:
    """Make a page of one or more traces: one HTML file with pictures of all their solves, which needs no network.

    espalier trace view solve.jsonl                  # writes solve.html

    espalier trace view monday.jsonl tuesday.jsonl -o week.html
    """
    with errors(debug):
        from espalier.solver.viewer.page import traces_page

        if serve and output is not None:
            raise UsageError("--serve writes no file; leave --output out")
        page = traces_page(files)
        if serve:
            _serve(files, port)
            return
        target = output or files[0].with_suffix(".html")
        if target.resolve() in {file.resolve() for file in files}:
            raise UsageError(f"--output {target} is one of the traces; name another file")
        target.write_text(page, encoding="utf-8")
        typer.echo(f"{target} ({len(page) / 1e6:.1f} MB)", err=True)


def _serve(files: list[Path], port: int) -> None:
    from espalier.solver.viewer.page import traces_page
    from espalier.solver.viewer.serving import LOOPBACK, page_server

    with page_server(lambda: traces_page(files), port) as server:
        typer.echo(f"http://{LOOPBACK}:{server.server_port}/ (Ctrl-C ends)")
        with suppress(KeyboardInterrupt):
            server.serve_forever()
