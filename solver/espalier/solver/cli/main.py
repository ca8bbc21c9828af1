"""The command line: one program, whose commands live in the rooms that they are about and load when they are used."""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from espalier.common.cli import EXIT_STATUS, TROUBLE


@dataclass(frozen=True, slots=True)
class Mount:
    """A command of the program.

    Attributes:
        module: Where it lives.
        app: Name of its Typer app there.
        summary: Its line in `espalier --help`, written here so that helping imports nothing.
    """

    module: str
    app: str
    summary: str


MOUNTS = {
    "solve": Mount("espalier.solver.cli.solve", "app", "Solve a problem, or a file of problems."),
    "eval": Mount("espalier.solver.cli.evaluate", "app", "Measure accuracy, pass@k and parallelism on tasks."),
    "calibrate": Mount("espalier.solver.cli.calibrate", "app", "Learn how far votes can be trusted."),
    "demo": Mount("espalier.solver.cli.demo", "app", "Solve ten fresh problems with the bundled model."),
    "serve": Mount("espalier.solver.cli.serve", "app", "Serve the solver: gRPC, OpenAI's protocol, jobs."),
    "mcp": Mount("espalier.solver.cli.mcp", "app", "Offer verifiers and solver to agents (MCP)."),
    "batch": Mount("espalier.solver.cli.batch", "app", "Solve many problems over a queue."),
    "worker": Mount("espalier.solver.cli.batch", "worker_app", "Solve the jobs of a queue."),
    "doctor": Mount("espalier.solver.cli.doctor", "app", "Say what is missing on this machine, and what to do."),
    "trace": Mount("espalier.solver.cli.trace", "app", "Read the trace of a solve."),
    "verify": Mount("espalier.verifiers.cli", "verify_app", "Judge an answer or a program."),
    "verifiers": Mount("espalier.verifiers.cli", "verifiers_app", "Serve the verifiers, or ask what they can do."),
    "engine": Mount("espalier.runtime.sglang.cli", "app", "Serve a model on GPUs with SGLang."),
    "data": Mount("espalier.training.data.cli", "app", "Convert data sets, sample a model, assemble a cold start."),
    "model": Mount("espalier.training.model.cli", "app", "Prepare pretrained models for parallel reasoning."),
    "train": Mount("espalier.training.cli", "app", "Train models."),
}


class _Mounted(TyperCommand):
    """Stands for a command until it is used."""

    def __init__(self, name: str, mount: Mount) -> None:
        super().__init__(name, help=mount.summary, short_help=mount.summary)
        self._mount = mount

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        app = getattr(importlib.import_module(self._mount.module), self._mount.app)
        return typer.main.get_command(app).make_context(info_name, args, parent, **extra)


class _Program(TyperGroup):
    """The mounts, in their order."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(MOUNTS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        mount = MOUNTS.get(cmd_name)
        return _Mounted(cmd_name, mount) if mount else None


app = typer.Typer(
    cls=_Program,
    help="Agentic best-of-k solving with parallel-reasoning models and verifiers.",
    epilog=EXIT_STATUS,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        from espalier.common.distribution import version

        typer.echo(f"espalier {version()}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")] = False,
) -> None:
    """Agentic best-of-k solving with parallel-reasoning models and verifiers."""


def main() -> None:
    """Entry point of `espalier`."""
    try:
        sys.exit(app())
    except OSError as error:  # what --version and --help print, onto a full disk
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"espalier: {error.strerror or error}", file=sys.stderr)
        sys.exit(TROUBLE)


if __name__ == "__main__":
    main()
