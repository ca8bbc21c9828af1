"""Does credit for the set pay? {outcome, set} x {parallel, sequential}, several seeds, equal sampled tokens.

    python -m recipes.ablation train --out runs/ablation --processes 4      # goes on where it was stopped
    python -m recipes.ablation train --out runs/ablation --arms set-sequential set-parallel --seeds 1 --tokens 200000
    python -m recipes.ablation report --out runs/ablation --plot docs/images/set-credit-ablation.png

The two starts are made by supervised training of the same network on the same problems, in the form that each way of
decoding needs (`start.toml`; plain chains of thought for sequential decoding), for as many steps as bring the passing
share near that of the other. A sequential response has about a third of the tokens of a parallel one, so sequential
arms draw three times as many samples of each prompt.
Each run trains with `ablation.toml` until it has sampled as many tokens as the others, those of re-joins included, and
is measured on the same held-out problems at each number of `--tokens`. `report` says what was finished, with the tokens
and the verdicts that it took: on conclusions, re-joins and each different answer of a prompt's branches, which are
judged in all parallel arms, for the metrics. Exit code 1: a run failed; the others are finished.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from espalier.training.run.deadline import Deadline
from recipes.ablation.arms import ARMS
from recipes.ablation.report import report
from recipes.ablation.runs import Ablation, train_all

SEEDS = (1, 2, 3)
TOKENS = (200_000, 400_000, 800_000, 1_200_000)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("train", "report"))
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    names = [arm.name for arm in ARMS]
    parser.add_argument("--arms", nargs="+", default=names, choices=names, metavar="ARM", help=f"only these of {names}")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS, help="of the runs; %(default)s unless given")
    parser.add_argument("--tokens", nargs="+", type=int, default=TOKENS, help="sampled tokens to measure at, rising")
    parser.add_argument("--processes", type=int, default=1, help="runs at a time, each on one core")
    parser.add_argument("--minutes", type=float, help="stop then, resumable; measuring that has begun is finished")
    parser.add_argument("--plot", type=Path, help="picture to write (PNG)")
    options = parser.parse_args()
    ablation = Ablation(options.out)
    if options.action == "report":
        report(ablation, options.seeds, options.tokens, options.plot)
        return
    arms = [arm for arm in ARMS if arm.name in options.arms]
    deadline = Deadline.after(options.minutes)
    failed = train_all(ablation, arms, options.seeds, sorted(options.tokens), options.processes, deadline)
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
