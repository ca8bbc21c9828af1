"""`espalier demo`: what `make demo` shows."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import typer

from espalier.common.cli import NEGATIVE, OK, Debug, errors
from espalier.solver.cli.options import EngineOption, Seed, chosen_seed

if TYPE_CHECKING:
    from rich.console import Console

    from espalier.solver.core.loop import Solver
    from espalier.solver.core.problem import Problem

MATH = (
    "countdown",
    "gcd",
    "simple_equations",
    "puzzle24",
    "fraction_simplification",
    "chain_sum",
    "polynomial_equations",
    "lcm",
    "number_sequence",
)
PROGRAMMING = "programming"
WITHOUT_SANDBOX = "products"
"""Instead of a programming problem where programs cannot be run."""

SETTINGS = "-easier"
"""Numbers of the size that people type; the tasks' own settings are hard on purpose, to leave room for learning."""

PROBLEMS = len(MATH) + 1
K = 8
ENOUGH = 8
"""Problems that have to be solved."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog=f"Exit status: 0 when at least {ENOUGH} of {PROBLEMS} are solved and verified, otherwise 1.")
def demo(
    seed: Seed = None,
    engine: EngineOption = "local",
    debug: Debug = False,
) -> None:
    """Make ten fresh problems of everyday size and solve them with eight candidates each, live."""
    with errors(debug):
        first = chosen_seed(seed)
        typer.echo(f"seed {first} (SEED={first} make demo repeats this run)")
        solved = asyncio.run(_solve_all(engine, first))
        typer.echo(f"demo: {solved} of {PROBLEMS} solved and verified")
        raise typer.Exit(OK if solved >= ENOUGH else NEGATIVE)


async def _solve_all(engine: str, seed: int) -> int:
    """Solve one problem after the other; how many were verified."""
    from rich.console import Console
    from rich.text import Text

    from espalier.common.seeds import derive_seed
    from espalier.runtime.open import open_engine
    from espalier.solver.core.loop import Solver
    from espalier.solver.core.prompts import templates_of
    from espalier.solver.core.sources import fresh_problems
    from espalier.verifiers.open import open_verifiers

    console = Console()
    async with AsyncExitStack() as stack:
        with console.status("Loading the model and starting the verifiers"):
            opened = await stack.enter_async_context(open_engine(engine))
            verifiers = await stack.enter_async_context(open_verifiers())
            programs = next(info for info in await verifiers.check() if info.name == "code")
        if not programs.healthy:
            typer.echo(f"Math problems only, because programs cannot be run here: {programs.reason}")
        solver = Solver(opened, verifiers, templates_of(opened))
        solved = 0
        for number, task in enumerate((*MATH, PROGRAMMING if programs.healthy else WITHOUT_SANDBOX)):
            (problem,) = fresh_problems(f"{task}{SETTINGS}", derive_seed(seed, number), 1)
            console.print(Text(f"\n{number + 1}. {task}", style="bold"))
            solved += await _solve(solver, problem, derive_seed(seed, number), console)
    return solved


async def _solve(solver: Solver, problem: Problem, seed: int, console: Console) -> bool:
    """Solve a problem while someone watches; whether it was verified."""
    from rich.text import Text

    from espalier.solver.cli.live import view
    from espalier.solver.core.policies import Adaptive
    from espalier.solver.core.policy import Budget
    from espalier.solver.core.report import usage_line, verdict_line

    console.print(Text(problem.text), soft_wrap=True)
    with view(console) as watch:
        result = await solver.solve(problem, Adaptive(), Budget(K), seed=seed, observer=watch)
    verified = result.selection.verified
    answer = "UNSOLVED" if result.selection.answer is None else result.selection.answer
    console.print(Text(answer, style="bold"), soft_wrap=True)
    console.print(Text(verdict_line(result), style="green" if verified else "yellow"), soft_wrap=True)
    console.print(Text(usage_line(result), style="dim"), soft_wrap=True)
    return verified
