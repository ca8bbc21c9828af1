"""Options of commands that say how responses are decoded, each instead of what the model's directory says."""

from __future__ import annotations

from typing import Annotated

import typer

Constrained = Annotated[
    bool | None,
    typer.Option(
        "--constrained/--no-constrained",
        help="Keep responses to the grammar of parallel reasoning: none is malformed.",
        show_default="as the model was trained",
    ),
]
MaxPlans = Annotated[
    int | None,
    typer.Option("--max-plans", min=1, help="Plans of a block.", show_default="as the model was trained"),
]
MaxDepth = Annotated[
    int | None,
    typer.Option(
        "--max-depth",
        min=1,
        help="Blocks inside one another; 1: steps hold no blocks.",
        show_default="as the model was trained",
    ),
]
MaxBranchTokens = Annotated[
    int | None,
    typer.Option(
        "--max-branch-tokens",
        min=0,
        help="Tokens of a step, after which it is closed; 0: no such limit.",
        show_default="as the model was trained",
    ),
]
