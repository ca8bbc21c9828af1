"""What the runs of an ablation came to: tables with standard errors, and curves."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from espalier.runtime.engine import Mode
from espalier.solver.core.evaluate import pass_at_k
from espalier.training.run.metrics import sampled_tokens
from recipes.ablation.arms import ARMS, PAIRS, Arm
from recipes.ablation.runs import Ablation, entries, measured_name

COLUMNS = (
    *(
        "arm",
        "seeds",
        "pass@1",
        "pass@1 - start",
        "pass@16",
        "pass@16 - start",
        "branch pass@1",
        "set pass@k",
        "join pass@1",
    ),
    *("join gain", "right sets lost", "wrong sets rescued", "tokens", "tokens sampled", "verdicts"),
)
KINDS = ("guideline", "step", "takeaway", "answer")
CURVES = ("accuracy", "branch_pass", "set_pass", "join_lost", "entropy")
SMOOTHED = 6
"""Steps that a point of a curve is the mean of."""

Counts = Sequence[Sequence[float]]
"""[seed][problem]"""


@dataclass(frozen=True)
class Estimate:
    """A share, or a difference of shares, over problems and seeds.

    Attributes:
        value: Over all seeds and problems.
        influences: By problem, how far the value moves with it, to first order; they sum to 0. The problems are the
            same for all arms, so those of a difference are the differences.
        by_seed: The value with each seed alone.
    """

    value: float
    influences: tuple[float, ...]
    by_seed: tuple[float, ...]

    def __sub__(self, other: Estimate) -> Estimate:
        """The difference, over the same problems and seeds; what was measured once is subtracted from every seed."""
        theirs = other.by_seed * len(self.by_seed) if len(other.by_seed) == 1 else other.by_seed
        return Estimate(
            self.value - other.value,
            tuple(a - b for a, b in zip(self.influences, other.influences, strict=True)),
            tuple(a - b for a, b in zip(self.by_seed, theirs, strict=True)),
        )

    @property
    def over_problems(self) -> float:
        """Standard error for other problems."""
        count = len(self.influences)
        return math.sqrt(count / (count - 1) * math.fsum(one * one for one in self.influences))

    @property
    def over_seeds(self) -> float | None:
        """Standard error for other seeds; None for a single seed."""
        return stdev(self.by_seed) / math.sqrt(len(self.by_seed)) if len(self.by_seed) > 1 else None

    def __str__(self) -> str:
        """In percent, ± the standard errors over problems and over seeds."""
        seeds = "-" if self.over_seeds is None else f"{100 * self.over_seeds:.1f}"
        return f"{100 * self.value:.1f} ± {100 * self.over_problems:.1f} / {seeds}"


def ratio(numerators: Counts, denominators: Counts) -> Estimate | None:
    """Sum over sum, with the error of a ratio estimator; None where any seed has nothing to divide by."""
    sums = [(math.fsum(own), math.fsum(of)) for own, of in zip(numerators, denominators, strict=True)]
    if not all(of for _, of in sums):
        return None
    whole = math.fsum(of for _, of in sums)
    value = math.fsum(own for own, _ in sums) / whole
    over, under = (map(math.fsum, zip(*counts, strict=True)) for counts in (numerators, denominators))
    influences = tuple((own - value * of) / whole for own, of in zip(over, under, strict=True))
    return Estimate(value, influences, tuple(own / of for own, of in sums))


Measured = Mapping[int, Mapping[str, Any]]
"""What was measured of an arm, by seed."""


def passed(measured: Measured, k: int) -> Estimate:
    """pass@k, the mean over problems with a decided response."""
    found = [
        [pass_at_k(n, c, min(k, n)) if n else 0.0 for c, n in zip(one["passed"], one["decided"], strict=True)]
        for one in measured.values()
    ]
    estimate = ratio(found, [[float(n > 0) for n in one["decided"]] for one in measured.values()])
    if estimate is None:
        raise ValueError("a run has no decided response")
    return estimate


def of_sets(measured: Measured) -> dict[str, Estimate]:
    """What the branches come to and what the join makes of them, by column; empty where nothing was judged."""

    def counts(count: Callable[[Mapping[str, float]], float]) -> Counts:
        return [[count(own) for own in one["sets"]] for one in measured.values()]

    sets = counts(lambda own: own["sets"])
    shares = {
        "branch pass@1": ratio(counts(lambda own: own["branches_right"]), counts(lambda own: own["branches"])),
        "set pass@k": ratio(counts(lambda own: own["sets_right"]), sets),
        "join pass@1": ratio(counts(lambda own: own["sets_passed"]), sets),
        "right sets lost": ratio(counts(lambda own: own["joins_lost"]), counts(lambda own: own["sets_right"])),
        "wrong sets rescued": ratio(
            counts(lambda own: own["joins_rescued"]), counts(lambda own: own["sets"] - own["sets_right"])
        ),
    }
    found = {name: share for name, share in shares.items() if share is not None}
    if "join pass@1" in found and "branch pass@1" in found:
        found["join gain"] = found["join pass@1"] - found["branch pass@1"]
    return found


def load(ablation: Ablation, arm: str, seeds: Sequence[int], tokens: int) -> Measured:
    """What was measured of an arm after so many tokens."""
    paths = {seed: ablation.folder(arm, seed) / measured_name(tokens) for seed in seeds}
    return {seed: json.loads(path.read_text(encoding="utf-8")) for seed, path in paths.items() if path.exists()}


def load_start(ablation: Ablation, mode: Mode) -> Measured:
    """What was measured of a start."""
    path = ablation.start_folder(mode) / measured_name(0)
    return {0: json.loads(path.read_text(encoding="utf-8"))} if path.exists() else {}


def report(ablation: Ablation, seeds: Sequence[int], tokens: Sequence[int], plot: Path | None) -> None:
    """Print tables of what is finished after each number of tokens, and draw the curves of training."""
    for count in tokens:
        found = {arm: one for arm in ARMS if (one := load(ablation, arm.name, seeds, count))}
        if not found:
            print(f"\nNothing has been measured after {count} sampled tokens.")
            continue
        print(f"\nAfter {count} sampled tokens; percent ± standard error over problems / over seeds:\n")
        _table(ablation, {arm.name: one for arm, one in found.items()}, {arm.name: arm.mode for arm in found})
        _pairs(ablation, found)
    _kinds(ablation, seeds)
    if plot is not None:
        draw(ablation, seeds, tokens, plot)


def _table(ablation: Ablation, found: Mapping[str, Measured], modes: Mapping[str, Mode]) -> None:
    starts = {mode: own for mode in Mode if (own := load_start(ablation, mode))}
    rows: dict[str, tuple[Measured, float, float, Measured | None]] = {
        f"start-{mode}": (own, 0.0, 0.0, None) for mode, own in starts.items()
    }
    for name, own in found.items():
        steps = [entries(ablation.folder(name, seed))[: one["steps"]] for seed, one in own.items()]
        sampled, verdicts = (
            fmean(math.fsum(count(entry) for entry in of) for of in steps)
            for count in (sampled_tokens, lambda entry: entry["verdicts"])
        )
        rows[name] = own, sampled, verdicts, starts.get(modes[name])
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    for name, (own, sampled, verdicts, begun) in rows.items():
        cells = {
            "arm": name,
            "seeds": str(len(own)),
            "pass@1": str(passed(own, 1)),
            "pass@16": str(passed(own, 16)),
            "tokens": f"{fmean(one['tokens'] for one in own.values()):.0f}",
            "tokens sampled": f"{sampled:.0f}",
            "verdicts": f"{verdicts:.0f}",
            **{column: str(share) for column, share in of_sets(own).items()},
        }
        if begun is not None:
            for k in (1, 16):
                cells[f"pass@{k} - start"] = str(passed(own, k) - passed(begun, k))
        print("| " + " | ".join(cells.get(column, "-") for column in COLUMNS) + " |")


def _pairs(ablation: Ablation, found: Mapping[Arm, Measured]) -> None:
    """Print differences of arms; where their starts differ, also of what they gained from them."""
    measured = {arm.name: own for arm, own in found.items()}
    starts = {arm.name: load_start(ablation, arm.mode) for arm in found}
    for first, second in PAIRS:
        both = sorted(measured.get(first, {}).keys() & measured.get(second, {}).keys())
        if not both:
            continue
        mine, theirs = ({seed: measured[name][seed] for seed in both} for name in (first, second))
        ones, sixteens = (passed(mine, k) - passed(theirs, k) for k in (1, 16))
        print(f"\n- {first} minus {second}, {len(both)} seeds: pass@1 {ones}, pass@16 {sixteens}", end="")
        if starts[first] and starts[second] and starts[first] != starts[second]:
            print(
                f"; gains from their starts, pass@1 {ones - (passed(starts[first], 1) - passed(starts[second], 1))}",
                end="",
            )
        print()


def _kinds(ablation: Ablation, seeds: Sequence[int]) -> None:
    """Print, over all steps of all runs, the share of kinds of tokens in the absolute advantages and their entropy."""
    print("\nShare of the absolute advantages, percent, and entropy, nats, by kind of token; means over steps:\n")
    print(f"| arm | steps | {' | '.join(KINDS)} | {' | '.join(f'entropy of {kind}' for kind in KINDS)} |")
    print("|---" * (2 + 2 * len(KINDS)) + "|")
    for arm in ARMS:
        runs = [own for seed in seeds if (own := entries(ablation.folder(arm.name, seed)))]
        if not runs:
            continue
        every = [entry for own in runs for entry in own]
        cells = [arm.name, "/".join(str(len(own)) for own in runs)]
        for key, scale, digits in (("credit_by_kind", 100, 1), ("entropy_by_kind", 1, 3)):
            for kind in KINDS:
                values = [entry[key][kind] for entry in every if kind in entry[key]]
                cells.append(f"{scale * fmean(values):.{digits}f}" if values else "-")
        print("| " + " | ".join(cells) + " |")


def draw(ablation: Ablation, seeds: Sequence[int], tokens: Sequence[int], plot: Path) -> None:
    """Held-out pass@1 and metrics of training over sampled tokens, means over seeds."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(14, 7.5), constrained_layout=True)
    held_out, *others = axes.flat
    for number, arm in enumerate(ARMS):
        points = {0: load_start(ablation, arm.mode)}
        points |= {count: load(ablation, arm.name, seeds, count) for count in tokens}
        estimates = {count: passed(own, 1) for count, own in points.items() if own}
        if estimates.keys() <= {0}:
            continue
        color = f"C{number}"
        held_out.errorbar(
            list(estimates),
            [100 * one.value for one in estimates.values()],
            [100 * (one.over_seeds or 0.0) for one in estimates.values()],
            label=arm.name,
            color=color,
            linestyle="--" if arm.mode is Mode.SEQUENTIAL else "-",
            capsize=3,
        )
        runs = [own for seed in seeds if (own := entries(ablation.folder(arm.name, seed)))]
        length = min(map(len, runs))
        at = [fmean(math.fsum(map(sampled_tokens, own[: step + 1])) for own in runs) for step in range(length)]
        for axis, key in zip(others, CURVES, strict=True):
            if all(key in entry for own in runs for entry in own[:length]):
                values = [fmean(own[step][key] for own in runs) for step in range(length)]
                smooth = [fmean(values[max(0, step + 1 - SMOOTHED) : step + 1]) for step in range(length)]
                style = "--" if arm.mode is Mode.SEQUENTIAL else "-"
                axis.plot(at, smooth, color=color, linestyle=style)
    held_out.set(title="held-out pass@1, percent ± over seeds")
    figure.legend(loc="outside lower center", ncols=4)
    for axis, key in zip(others, CURVES, strict=True):
        axis.set(title=f"rollouts: {key}")
    for axis in axes.flat:
        axis.set(xlabel="sampled tokens")
    figure.savefig(plot, dpi=100)
    plt.close(figure)
