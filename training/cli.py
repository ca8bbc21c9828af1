"""`espalier train`: make the bundled model from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Train models: tokenizer, traces, supervised fine-tuning.", no_args_is_help=True)


def _fail(error: Exception) -> typer.Exit:
    typer.echo(f"error: {error}", err=True)
    return typer.Exit(2)


@app.command()
def traces(
    task: Annotated[str, typer.Argument(help="Name of a task, for example countdown.")],
    count: Annotated[int, typer.Option("--n", min=1, help="How many.")] = 1,
    seed: Annotated[int, typer.Option(help="Same seed, same problems and traces.")] = 0,
) -> None:
    """Show problems of a task with the traces that the search programs write for them."""
    from random import Random

    from espalier.training.example import response_text
    from espalier.training.tasks import Split
    from espalier.training.tasks import task as named
    from espalier.training.traces import write

    try:
        found = named(task).problems(Split.TRAIN, seed, count)
    except ValueError as error:
        raise _fail(error) from error
    for problem in found:
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
    from espalier.training.data import tokenizer_texts
    from espalier.training.tokenizer import save, train

    trained = train(tokenizer_texts(samples, seed), vocabulary, context)
    save(trained, out)
    typer.echo(f"{len(trained)} tokens written to {out}")


@app.command()
def sft(
    config: Annotated[Path, typer.Option(help="Settings of the run (TOML).")],
    tokenizer: Annotated[Path, typer.Option(help="Folder of the tokenizer.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoint, weights and metrics.")],
    minutes: Annotated[float | None, typer.Option(min=0, help="Length of the schedule in minutes.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Length of the schedule in optimiser steps.")] = None,
    stop_after: Annotated[
        float | None, typer.Option(min=0, help="Stop this part after so many minutes; go on with --resume.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")] = False,
    initial: Annotated[
        Path | None, typer.Option("--from", help="Folder of exported weights to begin from, with a fresh optimiser.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
) -> None:
    """Supervised fine-tuning on generated traces."""
    import torch

    from espalier.training.checkpoint import CheckpointError
    from espalier.training.config import ConfigError, load
    from espalier.training.progress import reporter
    from espalier.training.sft import Budget, train

    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        budget = Budget(steps, minutes, stop_after)
        with reporter() as report:
            run = load(config)
            train(run, tokenizer, out, budget, torch.device(chosen), report, resume=resume, initial=initial)
    except (ConfigError, CheckpointError, ValueError) as error:
        raise _fail(error) from error
    typer.echo(f"weights: {out / 'model'}")
