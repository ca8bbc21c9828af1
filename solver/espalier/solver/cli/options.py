"""Options that several commands share."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from espalier.common.cli import UsageError
from espalier.runtime.open import SETTINGS

if TYPE_CHECKING:
    from espalier.solver.core.selection import Trust
    from espalier.verifiers.check import Check

EngineOption = Annotated[str, typer.Option("--engine", help=f"Which engine: {SETTINGS}.")]
Instruction = Annotated[
    list[str] | None,
    typer.Option(
        "--model-instruction",
        metavar="[WAY=]FILE",
        help="Instruction text with {question} in it, instead of the model's own; repeat it with program=FILE for "
        "answers by a program (--ways).",
    ),
]
Temperatures = Annotated[
    list[float] | None,
    typer.Option("--temperature", min=0.0, help="Sampling temperature; repeat for a ladder that candidates climb."),
]
Hints = Annotated[
    list[str] | None, typer.Option("--hint", help="A strategy to suggest; repeat for several, handed out in turn.")
]
Seed = Annotated[int | None, typer.Option(help="Repeats a run; a new one is drawn and printed otherwise.", min=0)]
MaxTokens = Annotated[int, typer.Option("--max-tokens", min=1, help="New tokens of one response, all its branches.")]
Verifiers = Annotated[
    list[str] | None,
    typer.Option(metavar="HOST:PORT", help="Verify on this server instead of in this process; repeat for several."),
]
OnlyVerifiers = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="NAME", help="Use this verifier; repeat for several. Default: all."),
]
VerifiersTokenFile = Annotated[
    Path | None, typer.Option(help="File with the bearer token of the verifier servers.", dir_okay=False)
]
VerifiersAuthority = Annotated[
    Path | None,
    typer.Option("--verifiers-tls-ca", help="PEM root of the verifier servers' certificates.", dir_okay=False),
]
CalibrationFile = Annotated[
    Path | None,
    typer.Option(
        "--calibration", metavar="FILE", help="Say how sure answers by votes are: made by calibrate.", dir_okay=False
    ),
]
MinConfidence = Annotated[
    float, typer.Option("--min-confidence", min=0.0, max=1.0, help="Give no answer that is less sure than this.")
]
GeneratedTests = Annotated[
    int | None,
    typer.Option(
        "--generated-tests",
        min=0,
        metavar="N",
        help="Where a problem has no check, judge Python programs by N tests that the model writes: no proof.",
    ),
]
Comparisons = Annotated[
    int,
    typer.Option(
        "--comparisons",
        min=0,
        metavar="N",
        help="Where votes leave it open, the model compares answers, up to N times.",
    ),
]
Certainty = Annotated[
    float | None,
    typer.Option(
        "--certainty",
        help="adaptive and refine: probability of the leading answer that ends a vote, 0.95 by default; at 0.85 two "
        "equal answers do.",
    ),
]
Ways = Annotated[
    str | None,
    typer.Option(
        "--ways",
        metavar="NAMES",
        help="Ways of solving, handed out in turn: words,program. Of a program the answer is what it prints.",
    ),
]
AllowEvicting = Annotated[
    bool, typer.Option("--allow-evicting", help="Use a Redis that evicts keys when full, and may lose jobs that way.")
]
Rejoins = Annotated[
    int,
    typer.Option(
        "--rejoins", min=0, help="Further conclusions from the branches of each candidate, before another is paid for."
    ),
]


def diversity(temperatures: list[float] | None, hints: list[str] | None) -> dict[str, object]:
    """Settings of a policy: the ladder and the strategies that its candidates differ by, where they are given."""
    chosen = {"temperatures": temperatures, "hints": hints}
    return {name: tuple(values) for name, values in chosen.items() if values}


def names_of(text: str | None) -> tuple[str, ...]:
    """The names in an option that lists them with commas."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def parsed_check(text: str) -> Check:
    """The check that `--check` describes. `patch:FILE` is read here alone: no request may name a file.

    Raises:
        UsageError: It describes none.
        OSError: A file cannot be read, or the store of repositories cannot be written.
    """
    from espalier.verifiers.check_files import read_patch_check
    from espalier.verifiers.check_text import CheckError, parse_check

    kind, _, rest = text.partition(":")
    try:
        return read_patch_check(Path(rest.strip())) if kind.strip() == "patch" else parse_check(text)
    except CheckError as error:
        raise UsageError(f"--check: {error}") from None


def trust(calibration: Path | None, min_confidence: float) -> Trust:
    """How far answers by votes are trusted.

    Raises:
        UsageError: A smallest confidence without a calibration.
        ValueError: The file holds no calibration.
        OSError: The file cannot be read.
    """
    from espalier.solver.core.confidence import Calibration
    from espalier.solver.core.selection import Trust

    if min_confidence and calibration is None:
        raise UsageError("--min-confidence needs --calibration: without one nothing says how sure an answer is")
    return Trust(Calibration.load(calibration) if calibration else None, min_confidence)


def chosen_seed(seed: int | None) -> int:
    """The seed that was asked for, or a new one."""
    return secrets.randbelow(1 << 31) if seed is None else seed
