"""The outcome of a curriculum, for people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from espalier.training.curriculum import CurriculumConfig, overall
from espalier.training.measure import KS, Measured

Results = Mapping[str, Mapping[str, Measured]]

STAGES = ("base", "zero", "beta", "papo")


def table(results: Results, config: CurriculumConfig) -> str:
    """A line for every model and task."""
    numbers = "pass@8 pass@16 well-formed parallel  tokens critical path"
    lines = [f"{'model':15} {'task':20} {'accuracy':>15}  {numbers}"]
    for leg, tasks in results.items():
        for name, one in tasks.items():
            at_8, at_16 = (f"{one.pass_at[str(k)]:.1%}" if str(k) in one.pass_at else "-" for k in KS)
            lines.append(
                f"{leg:15} {name:20} {one.accuracy:>7.1%} ±{one.error:>6.1%}  {at_8:>6} {at_16:>7} "
                f"{one.well_formed:>11.1%} {one.parallel:>8.1%} {one.tokens:>7.1f} {one.critical_path:>13.1f}"
            )
    before, error_before = overall(list(results["beta"].values()))
    after, error_after = overall(list(results["papo"].values()))
    noise = (error_before**2 + error_after**2) ** 0.5
    evaluation = config.evaluation
    lines.append(
        f"papo is {after - before:+.1f} points from beta, standard error {noise:.1f} "
        f"({evaluation.problems} held-out problems a task, {evaluation.samples} samples each, temperature 1, "
        f"seed {evaluation.seed}); the margin is {config.margin:g}"
    )
    return "\n".join(lines)


def last_line(config: Path, results: Results) -> str:
    """The accuracy of the four stages, in percent."""
    stages = (f"{name} {overall(list(results[name].values()))[0]:.1f}%" for name in STAGES)
    return f"{config.stem}: {' '.join(stages)}"


def holds(results: Results, margin: float) -> bool:
    """Whether PAPO is above Beta by the margin, in percentage points."""
    beta, papo = (overall(list(results[name].values()))[0] for name in ("beta", "papo"))
    return papo - beta >= margin
