"""The outcome of a curriculum, for people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from espalier.training.rl.measure import KS, Measured
from recipes.seedling.settings import PipelineConfig

Results = Mapping[str, Mapping[str, Measured]]
"""By stage and task."""

STAGES = ("base", "zero", "beta", "papo")

RIVALS = ("beta", "sequential-rl")
"""What PAPO is compared with, where it was measured."""

MEAN = "mean"


class NothingJudgedError(RuntimeError):
    """There is no task that was judged for every model, so nothing can be compared."""


def judged(results: Results) -> list[str]:
    """Names of the tasks that can be compared: those with an accuracy for every model.

    Raises:
        NothingJudgedError: There is none.
    """
    names = dict.fromkeys(name for tasks in results.values() for name in tasks)
    found = [
        name for name in names if all(name in tasks and tasks[name].accuracy is not None for tasks in results.values())
    ]
    if not found:
        raise NothingJudgedError("no task has verdicts for every model: do its verifiers work here? (espalier doctor)")
    return found


def overall(results: Results, stage: str) -> tuple[float, float]:
    """Mean accuracy over the :func:`judged` tasks and its standard error, in percent.

    Raises:
        NothingJudgedError: There are none.
    """
    ones = [results[stage][name] for name in judged(results)]
    error = sum((one.error or 0.0) ** 2 for one in ones) ** 0.5
    return 100 * sum(one.accuracy or 0.0 for one in ones) / len(ones), 100 * error / len(ones)


def table(results: Results, config: PipelineConfig) -> str:
    """A line for every model and task, means, and how PAPO compares.

    Raises:
        NothingJudgedError: No task can be compared.
    """
    numbers = "pass@8 pass@16 well-formed parallel  tokens critical path undecided"
    lines = [f"{'model':15} {'task':24} {'accuracy':>15}  {numbers}"]
    for stage, tasks in results.items():
        lines += [f"{stage:15} {name:24} {_numbers(one)}" for name, one in tasks.items()]
    names = judged(results)
    for stage in results:
        accuracy, error = overall(results, stage)
        lines.append(f"{stage:15} {f'{MEAN} of {len(names)} tasks':24} {accuracy:>7.1f}% ±{error:>5.1f}%")
    after, error_after = overall(results, "papo")
    for rival in RIVALS:
        if rival in results:
            before, error_before = overall(results, rival)
            noise = (error_before**2 + error_after**2) ** 0.5
            lines.append(f"papo is {after - before:+.1f} points from {rival}, standard error {noise:.1f}")
    evaluation = config.evaluation
    lines.append(
        f"{evaluation.problems} held-out problems a task, {evaluation.samples} samples each, temperature 1, seed "
        f"{evaluation.seed}; papo has to be {config.margin:g} points above beta"
    )
    return "\n".join(lines)


def _numbers(one: Measured) -> str:
    accuracy = "-" if one.accuracy is None else f"{one.accuracy:.1%}"
    error = "" if one.error is None else f"±{one.error:>6.1%}"
    at_8, at_16 = (f"{one.pass_at[str(k)]:.1%}" if str(k) in one.pass_at else "-" for k in KS)
    return (
        f"{accuracy:>7} {error:>7}  {at_8:>6} {at_16:>7} {one.well_formed:>11.1%} {one.parallel:>8.1%} "
        f"{one.tokens:>7.1f} {one.critical_path:>13.1f} {one.undecided:>9}"
    )


def last_line(config: Path, results: Results) -> str:
    """The accuracy of the four stages, in percent."""
    return f"{config.stem}: {' '.join(f'{name} {overall(results, name)[0]:.1f}%' for name in STAGES)}"


def meets_margin(results: Results, margin: float) -> bool:
    """Whether PAPO is above Beta by the margin, in percentage points."""
    return overall(results, "papo")[0] - overall(results, "beta")[0] >= margin
