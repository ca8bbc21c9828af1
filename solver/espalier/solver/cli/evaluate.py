"""`espalier eval`."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from espalier.common.cli import Debug, Json, UsageError, errors
from espalier.runtime.options import Constrained, MaxBranchTokens, MaxDepth, MaxPlans
from espalier.solver.cli.options import EngineOption, Instruction, MaxTokens, Seed, chosen_seed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from espalier.solver.core.evaluate import TaskScores

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command("eval")
def evaluate(
    tasks: Annotated[str, typer.Option(help="Names of tasks, with commas between them: countdown,gcd.")],
    n: Annotated[int, typer.Option("--n", min=1, help="Fresh problems of each task.")] = 200,
    k: Annotated[str, typer.Option("--k", help="Sizes of best-of-k, with commas; the largest is sampled.")] = "1,4,16",
    engine: EngineOption = "local",
    model_instruction: Instruction = None,
    temperature: Annotated[float, typer.Option(min=0.0, help="Sampling temperature.")] = 1.0,
    seed: Seed = None,
    max_tokens: MaxTokens = 4096,
    constrained: Constrained = None,
    max_plans: MaxPlans = None,
    max_depth: MaxDepth = None,
    max_branch_tokens: MaxBranchTokens = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", dir_okay=False, help="Keep samples here; a run that broke off resumes."
        ),
    ] = None,
    responses: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", dir_okay=False, help="Keep the responses here; those that are here are only judged."
        ),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure a model on tasks.

    pass@k: one of k final answers is right (unbiased estimate; pass@1 is the accuracy). best@k: the verifier finds a
    right answer among k responses and their branches. parallel: share of responses whose branches ran side by side.

    espalier eval --tasks countdown,gcd --n 200 --k 1,4,16 --seed 1 -o countdown.jsonl
    """
    with errors(debug):
        from rich.console import Console
        from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

        from espalier.runtime.defaults import DecodingOverrides
        from espalier.solver.cli.solve import solving_with
        from espalier.solver.core.evaluate import EvaluationPlan, ProblemSamples, ResultFile, sizes_of, summarise
        from espalier.solver.core.evaluate import evaluate as measure
        from espalier.solver.core.prompts import instruction_files
        from espalier.solver.core.responses import ResponseFile, Sampling
        from espalier.solver.core.sources import fresh_problems

        names, sizes, first = _names(tasks), sizes_of(k), chosen_seed(seed)
        problems = {name: fresh_problems(name, first, n) for name in names}
        screen = Console(stderr=True)
        instructions = instruction_files(model_instruction)
        decoding = DecodingOverrides(constrained, max_plans, max_depth, max_branch_tokens)

        async def run() -> list[TaskScores]:
            asked = [problem for name in names for problem in problems[name]]
            settings = (engine, instructions, max_tokens, decoding, screen)
            async with solving_with(*settings, problems=asked) as solver:
                sampling = Sampling.of(solver.engine.info.model, solver.generation, first, temperature)
                plan = EvaluationPlan(names, n, max(sizes), **asdict(sampling))
                kept = ResultFile(output, plan) if output else None
                drawn = ResponseFile(responses, sampling) if responses else None
                done = kept.done if kept else {}
                columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
                with Progress(*columns, console=screen, disable=not screen.is_terminal) as progress:
                    bar = progress.add_task("Problems", total=n * len(names), completed=len(done))

                    def store(one: ProblemSamples) -> None:
                        if kept:
                            kept.add(one)
                        progress.advance(bar)

                    measured = await measure(solver, plan, problems, done, store, drawn)
            return [summarise(name, measured[name], sizes) for name in names]

        rows = asyncio.run(run())
        if as_json:
            typer.echo(json.dumps({"seed": first, "rows": [asdict(row) for row in rows]}))
        else:
            console = Console()
            console.print(_accuracy(rows, sizes), _behaviour(rows))
            typer.echo(f"seed {first}, temperature {temperature:g}")


def _accuracy(rows: Sequence[TaskScores], sizes: Sequence[int]) -> Table:
    from rich.table import Table

    table = Table("task", "n")
    for name in (*(f"pass@{size}" for size in sizes), *(f"best@{size}" for size in sizes)):
        table.add_column(name, justify="right")
    for row in rows:
        shares = [values.get(size) for values in (row.pass_at, row.best_of) for size in sizes]
        table.add_row(row.task, str(row.problems), *("-" if share is None else f"{share:.1%}" for share in shares))
    return table


def _behaviour(rows: Sequence[TaskScores]) -> Table:
    from rich.table import Table

    table = Table("task")
    for name in ("parallel", "well-formed", "cut", "tokens", "critical path", "undecided"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            row.task,
            f"{row.forked:.1%}",
            f"{row.well_formed:.1%}",
            f"{row.cut:.1%}",
            f"{row.new_tokens:.0f}",
            f"{row.critical_path_tokens:.0f}",
            str(row.undecided),
        )
    return table


def _names(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise UsageError("--tasks is empty; name at least one task")
    return names
