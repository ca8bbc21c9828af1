"""Rewards from the same completions: this project's beside math-verify's.

    python benchmarks/rewards.py COMPLETIONS [--sets gsm8k-greedy,math500-greedy] [--completions 1000] [--shown 5]

COMPLETIONS are JSON lines of `gold`, `responses` (a list of texts) and, if you like, `set`; the file may be packed
(.gz). Ours are those of `math_reward`, as TRL asks for them: batches of 64. Theirs are `verify(parse(gold),
parse(response))` with math-verify's own defaults, which need the main thread of one process.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path

from math_verify import parse, verify
from rich.console import Console
from rich.table import Table

from espalier.training.data.datasets import rows
from espalier.verifiers.integrations.blocking import BlockingVerifiers
from espalier.verifiers.integrations.rewards import math_reward

BATCH = 64
WARM_UP = 20
WORDS = {1.0: "right", 0.0: "wrong", None: "no verdict"}


def read(path: Path, sets: set[str]) -> list[tuple[str, str]]:
    """Pairs of a reference and a completion."""
    chosen = [row for row in rows(path) if not sets or row.get("set") in sets]
    return [(str(row["gold"]), response) for row in chosen for response in row["responses"]]


def ours(pairs: list[tuple[str, str]], verifiers: BlockingVerifiers) -> list[float | None]:
    reward = math_reward("gold", lambda: verifiers)
    rewards: list[float | None] = []
    for start in range(0, len(pairs), BATCH):
        golds, responses = zip(*pairs[start : start + BATCH], strict=True)
        rewards += reward(prompts=[""] * len(golds), completions=list(responses), gold=list(golds))
    return rewards


def theirs(pairs: list[tuple[str, str]]) -> list[float | None]:
    return [float(verify(parse(f"${gold}$"), parse(response))) for gold, response in pairs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("completions_file", type=Path, metavar="COMPLETIONS")
    parser.add_argument("--sets", default="")
    parser.add_argument("--completions", type=int, default=1000)
    parser.add_argument("--shown", type=int, default=5)
    arguments = parser.parse_args()
    pairs = read(arguments.completions_file, {name for name in arguments.sets.split(",") if name})
    random.Random(0).shuffle(pairs)
    pairs = pairs[: arguments.completions]
    with BlockingVerifiers() as verifiers:
        ours(pairs[:WARM_UP], verifiers)
        start = time.perf_counter()
        mine = ours(pairs, verifiers)
        our_seconds = time.perf_counter() - start
    theirs(pairs[:WARM_UP])
    start = time.perf_counter()
    other = theirs(pairs)
    their_seconds = time.perf_counter() - start

    console = Console(width=120)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    console.print(f"{platform.machine()}, {os.cpu_count()} cores, load {load}, Python {platform.python_version()}, "
                  f"math-verify {version('math-verify')}, {len(pairs)} completions")  # fmt: skip
    both = Counter(zip(mine, other, strict=True))
    table = Table(title="verdicts on the same completions", show_lines=False)
    for column in ("espalier", "math-verify: right", "math-verify: wrong"):
        table.add_column(column, justify="right")
    for reward, word in WORDS.items():
        table.add_row(word, str(both[reward, 1.0]), str(both[reward, 0.0]))
    console.print(table)
    table = Table(title="throughput")
    for column in ("rewards of", "completions / s"):
        table.add_column(column, justify="right")
    table.add_row("espalier, batches of 64", f"{len(pairs) / our_seconds:,.0f}")
    table.add_row("math-verify, one process", f"{len(pairs) / their_seconds:,.0f}")
    console.print(table)
    differing = [(pair, a, b) for pair, a, b in zip(pairs, mine, other, strict=True) if a != b]
    for (gold, response), a, b in differing[: arguments.shown]:
        console.print(f"{WORDS[a]} here, {WORDS[b]} there: gold {gold!r}, response ends {response[-160:]!r}",
                      markup=False, highlight=False)  # fmt: skip


if __name__ == "__main__":
    main()
