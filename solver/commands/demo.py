"""`espalier demo`: what `make demo` shows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import typer

from espalier.solver.commands.options import Debug, EngineOption, Seed, chosen_seed
from espalier.solver.terminal import SOLVED, UNSOLVED, errors

if TYPE_CHECKING:
    from espalier.solver.problem import Problem

TASKS = (
    "countdown",
    "gcd",
    "simple_equations",
    "puzzle24",
    "fraction_simplification",
    "chain_sum",
    "polynomial_equations",
    "lcm",
    "number_sequence",
    "programming",
)
"""One problem of each."""

K = 8
ENOUGH = 8
"""Problems that have to be solved."""

app = typer.Typer(pretty_exceptions_enable=False)


@app.command(epilog=f"Exit status: 0 when at least {ENOUGH} of {len(TASKS)} are solved and verified, otherwise 1.")
def demo(
    seed: Seed = None,
    engine: EngineOption = "local",
    debug: Debug = False,
) -> None:
    """Make ten fresh problems of mixed tasks and solve them with eight candidates each, live."""
    with errors(debug):
        from espalier.solver.policy import seed_of
        from espalier.solver.sources import fresh_problems

        first = chosen_seed(seed)
        problems = [fresh_problems(task, seed_of(first, number), 1)[0] for number, task in enumerate(TASKS)]
        typer.echo(f"seed {first} (SEED={first} make demo repeats this run)")
        solved = asyncio.run(_solve_all(problems, engine, first))
        typer.echo(f"demo: {solved} of {len(problems)} solved and verified")
        raise typer.Exit(SOLVED if solved >= ENOUGH else UNSOLVED)


async def _solve_all(problems: list[Problem], engine: str, seed: int) -> int:
    from rich.console import Console
    from rich.text import Text

    from espalier.solver.commands.solve import solving_with
    from espalier.solver.live import view
    from espalier.solver.policies import BestOfK
    from espalier.solver.policy import Budget, seed_of
    from espalier.solver.report import usage_line, verdict_line

    console = Console()
    solved = 0
    async with solving_with(engine, None, 4096, console) as solver:
        for number, problem in enumerate(problems):
            console.print(Text(f"\n{number + 1}. {TASKS[number]}", style="bold"))
            console.print(Text(problem.text), soft_wrap=True)
            with view(console) as watch:
                result = await solver.solve(problem, BestOfK(), Budget(K), seed=seed_of(seed, number), watch=watch)
            solved += result.selection.verified
            answer = result.selection.answer
            console.print(Text(f"→ {answer if answer is not None else 'UNSOLVED'}", style="bold"), soft_wrap=True)
            style = "green" if result.selection.verified else "yellow"
            console.print(Text(verdict_line(result), style=style), soft_wrap=True)
            console.print(Text(usage_line(result), style="dim"), soft_wrap=True)
    return solved
