"""`espalier train`: make models better by responses and by verdicts."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from espalier.common.cli import Debug, errors, one_of
from espalier.training.run.torchrun import leave

if TYPE_CHECKING:
    from collections.abc import Callable

    from espalier.training.config import RlConfig
    from espalier.training.rl.sampler import Algorithm

UNFINISHED = 4
INTERRUPTED = "interrupted; --resume goes on"

app = typer.Typer(
    help="Train models: supervised fine-tuning, and the stages zero, beta and papo.",
    epilog="Exit status: 0 done, 2 usage, 3 engine, verifier or training failed, "
    "4 the time is up: run it again to go on.",
    no_args_is_help=True,
    add_completion=False,
)

Config = Annotated[Path, typer.Option(help="Settings of the run (TOML).")]
From = Annotated[Path, typer.Option("--from", help="Directory of the model to begin from.")]
Out = Annotated[Path, typer.Option(help="Folder for checkpoints, weights and metrics.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")]
Minutes = Annotated[float | None, typer.Option("--minutes", min=0, help="Stop this part after so many minutes.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto.")]


def device_of(name: str) -> str:
    """The device that a name of :data:`Device` stands for."""
    import torch

    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def print_settings(config: Any) -> None:
    """Print the settings of a run on standard error, so that a log says what was run."""
    typer.echo(json.dumps(asdict(config)), err=True)


@app.command()
def sft(
    initial: From,
    data: Annotated[Path, typer.Option(help="Responses to train on (JSON lines: prompt and response, or messages).")],
    out: Out,
    config: Annotated[Path | None, typer.Option(help="Settings of the run (TOML); without it the usual ones.")] = None,
    resume: Resume = False,
    minutes: Minutes = None,
    device: Device = "auto",
    debug: Debug = False,
) -> None:
    """Supervised fine-tuning of a pretrained model on your own responses.

    espalier train sft --from DIR --data responses.jsonl --out runs/sft
    """
    with errors(debug, interrupted=INTERRUPTED):
        from espalier.training.config import SftConfig, load_as

        run = load_as(SftConfig, config) if config else SftConfig()  # before torch is imported, which takes seconds

        from espalier.training.run.deadline import Deadline
        from espalier.training.run.distributed import training_group
        from espalier.training.run.progress import reporter
        from espalier.training.sft import fine_tune

        with training_group(device_of(device)) as group, reporter() as report:
            if group.is_main:
                print_settings(run)
            deadline = Deadline.after(minutes)
            done = fine_tune(run, initial, data, out, report, deadline=deadline, group=group, resume=resume)
            if done and not group.is_main:
                return
        conclude(done, out)


@app.command()
def zero(
    config: Config,
    initial: From,
    out: Out,
    resume: Resume = False,
    minutes: Minutes = None,
    device: Device = "auto",
    debug: Debug = False,
) -> None:
    """Stage 1: find the format by reinforcement learning (DAPO; verdict plus format score; sequential decoding).

    espalier train zero --config recipes/tiny/zero.toml --from runs/base/model --out runs/zero
    """
    with errors(debug, interrupted=INTERRUPTED):
        run = _settings(config)

        from espalier.training.rl.zero import method

        _reinforce(method, run, initial, out, resume, minutes, device)


@app.command()
def papo(
    config: Config,
    initial: From,
    out: Out,
    resume: Resume = False,
    credit: Annotated[
        Literal["outcome", "set"] | None,
        typer.Option(
            help="Instead of credit.kind in the settings. outcome: a verdict counts for its whole response; set: "
            "branches earn what they add to pass@k of their set, plans what their best branch gets, the join its own."
        ),
    ] = None,
    minutes: Minutes = None,
    device: Device = "auto",
    debug: Debug = False,
) -> None:
    """Stage 3: reinforcement learning with fork and join (PAPO; verdicts; one optimiser step a batch).

    With rollout.mode = "sequential" in the settings it is the baseline: sequential reinforcement learning. On several
    GPUs: torchrun --nproc-per-node 8 -m espalier.training.cli papo ...
    """
    with errors(debug, interrupted=INTERRUPTED):
        run = _settings(config, credit)

        from espalier.training.rl.papo import method

        _reinforce(method, run, initial, out, resume, minutes, device)


def _settings(config: Path, credit: str | None = None) -> RlConfig:
    """Read before torch is imported, which takes seconds: what is wrong with settings is said at once."""
    from espalier.training.config import CreditKind, RlConfig, load_as

    run = load_as(RlConfig, config)
    return run if credit is None else replace(run, credit=replace(run.credit, kind=CreditKind(credit)))


def _reinforce(
    method: Callable[[RlConfig], Algorithm],
    run: RlConfig,
    initial: Path,
    out: Path,
    resume: bool,
    minutes: float | None,
    device: str,
) -> None:
    from espalier.training.rl.train import train
    from espalier.training.run.deadline import Deadline
    from espalier.training.run.distributed import training_group
    from espalier.training.run.progress import reporter

    with training_group(device_of(device)) as group, reporter() as report:
        if group.is_main:
            print_settings(run)
        deadline = Deadline.after(minutes)
        done = train(run, method(run), initial, out, report, resume=resume, deadline=deadline, group=group)
        if done and not group.is_main:
            return
    conclude(done, out)


def conclude(done: bool, out: Path) -> None:
    """Say where the weights lie, or end with :data:`UNFINISHED` because the time was up."""
    if not done:
        typer.echo("the time is up; run it again with --resume to go on", err=True)
        raise typer.Exit(UNFINISHED)
    typer.echo(f"weights: {out / 'model'}")


@app.command()
def beta(
    config: Config, initial: From, out: Out, minutes: Minutes = None, device: Device = "auto", debug: Debug = False
) -> None:
    """Stage 2: rejection sampling from the model of stage 1, then fine-tuning with the parallel mask and positions.

    What is sampled is kept in OUT/samples.jsonl. An interrupted run goes on when it is started again.
    With form = "sequential" in the settings it is the baseline: sequential fine-tuning.
    """
    with errors(debug, interrupted=INTERRUPTED):
        from espalier.training.config import BetaConfig, load_as

        run = load_as(BetaConfig, config)  # before torch is imported, which takes seconds

        from espalier.training.rejection_sampling import train
        from espalier.training.run.deadline import Deadline
        from espalier.training.run.distributed import training_group
        from espalier.training.run.progress import reporter

        with training_group(device_of(device)) as group, reporter() as report:
            if group.is_main:
                print_settings(run)
            done = train(run, initial, out, Deadline.after(minutes), report, group)
            if done and not group.is_main:
                return
        conclude(done, out)


@app.command()
def plot(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs; several are drawn side by side.")],
    out: Annotated[Path, typer.Option(help="Picture to write (PNG).")] = Path("curves.png"),
    over: Annotated[str, typer.Option(help="step, or tokens: those that were sampled so far.")] = "step",
    debug: Debug = False,
) -> None:
    """Draw the curves of runs.

    espalier train plot runs/papo runs/sequential-rl --over tokens --out curves.png
    """
    with errors(debug, interrupted=INTERRUPTED):
        from espalier.training.run.plot import Over
        from espalier.training.run.plot import plot as draw

        draw(runs, out, one_of(Over, over, "--over"))
        typer.echo(str(out))


def main() -> None:
    """What `torchrun -m espalier.training.cli` runs in every process."""
    try:
        app()
    except SystemExit as end:
        leave(int(end.code or 0))
        raise


if __name__ == "__main__":
    main()
