"""`espalier model`: pretrained models become models that can learn to reason in parallel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from espalier.common.cli import Debug, errors

if TYPE_CHECKING:
    from espalier.training.model.prepare import Prepared

app = typer.Typer(
    help="Prepare pretrained models.",
    epilog="Exit status: 0 done, 2 usage, 3 the model is not supported, or failed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Out = Annotated[Path, typer.Option(help="Folder for the model; created.")]


@app.callback()
def model() -> None:
    """Prepare pretrained models."""


def _tell(text: str) -> None:
    typer.echo(text, err=True)


@app.command()
def prepare(
    source: Annotated[str, typer.Argument(help="Name on the Hugging Face hub, model directory, or GGUF file.")],
    out: Out,
    instruction: Annotated[
        Path | None, typer.Option(help="File with the instruction text, with one {question}.", dir_okay=False)
    ] = None,
    debug: Debug = False,
) -> None:
    """Add the eight tags, an instruction text and a check to a pretrained model.

    espalier model prepare Qwen/Qwen2.5-Coder-0.5B-Instruct --out models/coder
    """
    with errors(debug):
        from espalier.training.model.prepare import prepare as made
        from espalier.training.model.prepare import with_instruction

        _conclude(made(source, out, with_instruction(None, instruction), _tell))


@app.command()
def apply(
    adapters: Annotated[
        list[Path],
        typer.Argument(help="Directories of adapters of peft, in their order.", file_okay=False),
    ],
    base: Annotated[str, typer.Option(help="The model it was trained on: hub name, model directory, or GGUF file.")],
    out: Out,
    debug: Debug = False,
) -> None:
    """Make the whole model from its base and its adapters.

    espalier model apply adapters/beta adapters/papo --base Qwen/Qwen2.5-Coder-0.5B-Instruct --out models/papo
    """
    with errors(debug):
        from espalier.training.model.prepare import apply as applied

        _conclude(applied(adapters, base, out, _tell))


def _conclude(made: Prepared) -> None:
    rows = "unused rows of the embedding" if made.unused_rows else "rows that were appended to the embedding"
    typer.echo(f"{made.out}: {made.parameters:,} weights, tags {made.tags[0]} to {made.tags[-1]} in {rows}")
    typer.echo(f"log-probabilities as transformers computes them, to {made.max_logprob_diff:.1g}")
    typer.echo("next:")
    typer.echo(f"  espalier solve 'What is 12 * 34?' --engine local:{made.out}")
    typer.echo(f"  espalier train sft --from {made.out} --data FILE --out runs/beta   (docs/howto/train.md)")
