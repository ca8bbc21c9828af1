"""The outcome of a curriculum, for people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from espalier.training.curriculum import CurriculumConfig, overall
from espalier.training.measure import Measured

Results = Mapping[str, Mapping[str, Measured]]

STAGES = ("base", "zero", "beta", "papo")


def table(results: Results, config: CurriculumConfig) -> str:
    """A line for every model and task."""
    lines = ["model           task                        accuracy  well-formed  parallel   tokens  critical path"]
    for leg, tasks in results.items():
        for name, one in tasks.items():
            accuracy = f"{one.accuracy:6.1%} ±{one.error:5.1%}"
            shares = f"{one.well_formed:11.1%}  {one.parallel:8.1%}  {one.tokens:7.1f}  {one.critical_path:13.1f}"
            lines.append(f"{leg:15} {name:20} {accuracy:>15}  {shares}")
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
