"""`python -m recipes.seedling`: traces, tokenizer, base, and the curriculum with its table."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from espalier.common.cli import NEGATIVE, Debug, errors
from espalier.training.cli import (
    INTERRUPTED,
    Config,
    Device,
    Minutes,
    Out,
    Resume,
    conclude,
    device_of,
    print_settings,
)
from espalier.training.run.torchrun import leave

app = typer.Typer(
    help="Make the bundled model: traces, tokenizer, a base from nothing, and the whole curriculum.",
    epilog="Exit status: 0 done, 1 the result misses its margin, 2 usage, 3 engine, verifier or training failed, "
    "4 the time is up: run it again to go on.",
    no_args_is_help=True,
    add_completion=False,
)


@app.command()
def traces(
    task: Annotated[str, typer.Argument(help="Name of a task, for example countdown.")],
    count: Annotated[int, typer.Option("--n", min=1, help="How many.")] = 1,
    seed: Annotated[int, typer.Option(help="Same seed, same problems and traces.")] = 0,
    debug: Debug = False,
) -> None:
    """Show problems of a task with the traces that the search programs write for them."""
    from random import Random

    from espalier.training.tasks import Split
    from espalier.training.tasks import task as named
    from recipes.seedling.encoding import response_text
    from recipes.seedling.traces import write

    with errors(debug, interrupted=INTERRUPTED):
        for problem in named(task).problems(Split.TRAIN, seed, count):
            trace = write(problem, Random(seed))
            typer.echo(f"{problem.text}\n\n{response_text(trace) if trace else '(no trace found)'}\n")


@app.command()
def tokenizer(
    out: Annotated[Path, typer.Option(help="Folder for the tokenizer's files.")],
    vocabulary: Annotated[int, typer.Option(min=300, help="Number of tokens.")] = 1024,
    samples: Annotated[int, typer.Option(min=1, help="Problems with traces, per task, to train on.")] = 400,
    context: Annotated[int, typer.Option(min=1, help="Context length to store.")] = 4096,
    seed: Annotated[int, typer.Option(help="Of the samples.")] = 0,
) -> None:
    """Train the tokenizer on problems and traces."""
    from espalier.training.export import save_tokenizer
    from recipes.seedling.stream import tokenizer_texts
    from recipes.seedling.tokenizer import train

    trained = train(tokenizer_texts(samples, seed), vocabulary, context)
    save_tokenizer(trained, out)
    typer.echo(f"{len(trained)} tokens written to {out}")


@app.command()
def base(
    config: Config,
    tokenizer: Annotated[Path, typer.Option(help="Folder of the tokenizer.")],
    out: Out,
    minutes: Annotated[float | None, typer.Option(min=0, help="Length of the schedule in minutes.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Length of the schedule in optimiser steps.")] = None,
    stop_after: Annotated[
        float | None, typer.Option(min=0, help="Stop this part after so many minutes; go on with --resume.")
    ] = None,
    resume: Resume = False,
    initial: Annotated[
        Path | None, typer.Option("--from", help="Folder of exported weights to begin from, with a fresh optimiser.")
    ] = None,
    device: Device = "auto",
    debug: Debug = False,
) -> None:
    """Train a small model from nothing on generated traces.

    python -m recipes.seedling base --config recipes/tiny/supervised.toml --tokenizer DIR --out runs/sft --steps 500
    """
    with errors(debug, interrupted=INTERRUPTED):
        from espalier.training.config import load_as
        from espalier.training.loop import RunLength
        from espalier.training.run.deadline import Deadline
        from espalier.training.run.distributed import training_group
        from espalier.training.run.progress import reporter
        from recipes.seedling.base import train
        from recipes.seedling.settings import BaseConfig

        length = RunLength(steps, minutes)
        run = load_as(BaseConfig, config)
        with training_group(device_of(device)) as group, reporter() as report:
            if group.is_main:
                print_settings(run)
            deadline = Deadline.after(stop_after)
            done = train(
                run, tokenizer, out, length, report, group=group, deadline=deadline, resume=resume, initial=initial
            )
            if done and not group.is_main:
                return
        conclude(done, out)


@app.command()
def curriculum(
    config: Config,
    out: Out,
    minutes: Minutes = None,
    stages: Annotated[
        str,
        typer.Option(
            help="Only these, with commas between them (base, zero, beta, papo, sequential-sft, sequential-rl), and no "
            "table: on a large machine several may run side by side, once what they begin from is trained."
        ),
    ] = "",
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
    debug: Debug = False,
) -> None:
    """Base, zero, beta and papo (and the baselines), each measured on the same held-out problems.

    What is finished in --out is not done again: start it again after --minutes, or after whatever stopped it. The last
    line is the accuracy of the four; the exit status is 1 if PAPO is not above Beta by the margin in the settings.
    """
    names = tuple(name.strip() for name in stages.split(",") if name.strip())
    with errors(debug, interrupted=INTERRUPTED):
        import torch

        from espalier.training.config import load_as
        from espalier.training.run.deadline import Deadline
        from espalier.training.run.progress import reporter
        from recipes.seedling.pipeline import Pipeline
        from recipes.seedling.settings import PipelineConfig
        from recipes.seedling.table import last_line, meets_margin, table

        run = load_as(PipelineConfig, config)
        print_settings(run)
        with reporter() as report:
            place, deadline = torch.device(device_of(device)), Deadline.after(minutes)
            results = Pipeline(run, config.parent, out, place, deadline, report).run(names)
        if results is None:
            conclude(False, out)
            return
        if names:
            typer.echo(f"finished: {', '.join(results)}")
            return
        if as_json:
            named = {stage: {task: asdict(one) for task, one in tasks.items()} for stage, tasks in results.items()}
            typer.echo(json.dumps(named))
        else:
            typer.echo(table(results, run))
            typer.echo(last_line(config, results))
        if not meets_margin(results, run.margin):
            raise typer.Exit(NEGATIVE)


def main() -> None:
    """What `python -m recipes.seedling` runs, under `torchrun` in every process."""
    try:
        app()
    except SystemExit as end:
        leave(int(end.code or 0))
        raise
