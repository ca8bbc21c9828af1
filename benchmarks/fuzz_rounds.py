"""What the fuzzers share: rounds of random inputs until the time is over."""

from __future__ import annotations

import argparse
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection

from hypothesis import HealthCheck, Phase, settings


def quietly(examples: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Settings of a property that is tried on so many inputs, without a limit of time or a memory."""
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )


def rounds_parser(description: str, *, minutes: float = 10.0, examples: int = 500) -> argparse.ArgumentParser:
    """A command line with what `run_rounds` reads, and its defaults."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--minutes", type=float, default=minutes)
    parser.add_argument("--seed", type=int, default=None, help="seed of the first round (default: the time)")
    parser.add_argument("--examples", type=int, default=examples, help="inputs per target and round")
    return parser


def parse_arguments(description: str, targets: Collection[str]) -> tuple[argparse.Namespace, list[str]]:
    """The command line, and which of the targets it names."""
    parser = rounds_parser(description)
    parser.add_argument("--targets", default=",".join(targets), help="what to fuzz (default: all)")
    arguments = parser.parse_args()
    chosen = arguments.targets.split(",")
    if unknown := set(chosen) - set(targets):
        parser.error(f"--targets: there is no {', '.join(sorted(unknown))}; choose of {', '.join(targets)}")
    return arguments, chosen


def run_rounds(
    arguments: argparse.Namespace, targets: list[str], fuzz: Callable[[str, int, int, Counter[str]], None]
) -> int:
    """Fuzz every target in turn until the time is over; the exit status, 1 if anything was found.

    Args:
        arguments: Of the command line.
        targets: Names of what is fuzzed.
        fuzz: Is told the target, the number of inputs, the seed, and where to count.
    """
    number = int(time.time()) if arguments.seed is None else arguments.seed
    end = time.monotonic() + 60 * arguments.minutes
    seen: Counter[str] = Counter()
    found = 0
    while time.monotonic() < end:
        print(f"seed {number}: {dict(seen)}", flush=True)
        for target in targets:
            try:
                fuzz(target, arguments.examples, number, seen)
            except Exception:
                found += 1
                traceback.print_exc()
        number += 1
    print(f"{found or 'nothing'} found in {sum(seen.values())} inputs: {dict(seen)}")
    return 1 if found else 0
