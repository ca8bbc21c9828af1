"""Curves of runs, side by side, as a PNG."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from itertools import accumulate
from pathlib import Path

from espalier.common.files import told_apart
from espalier.training.run.metrics import MetricsEntry, read_metrics, sampled_tokens

CURVES = (
    ("reward", "mean reward"),
    ("accuracy", "accuracy of rollouts"),
    ("well_formed", "share of well-formed responses"),
    ("parallel", "share of responses that forked"),
    ("tokens", "new tokens per response"),
    ("critical_path", "tokens on the longest chain"),
    ("branch_pass", "share of right branches"),
    ("set_pass", "share of sets with a right branch"),
    ("join_lost", "share of those sets that the join loses"),
    ("entropy", "entropy (nats)"),
    ("mismatch_kl", "KL(engine || trainer) per token"),
    ("grad_norm", "norm of the gradient"),
    ("loss", "loss"),
)
"""What is drawn, where a run has it: the metric's name and what it is called in the picture."""


class Over(StrEnum):
    """What curves are drawn over."""

    STEP = "step"
    TOKENS = "tokens"
    """New tokens sampled so far: what runs with responses of different lengths have cost alike."""


def positions(entries: Sequence[MetricsEntry], over: Over) -> list[float]:
    """Where each entry of a run is drawn.

    Raises:
        ValueError: A run that samples nothing is to be drawn over its tokens.
    """
    if over is Over.STEP:
        return [entry["step"] for entry in entries]
    if any("responses" not in entry for entry in entries):
        raise ValueError("only runs of reinforcement learning sample tokens; draw over steps")
    return list(accumulate(map(sampled_tokens, entries)))


def plot(runs: Sequence[Path], out: Path, over: Over = Over.STEP) -> None:
    """Draw the metrics of runs, one panel per metric that any of them has.

    Raises:
        ValueError: A folder holds no run, or the runs have nothing to draw.
        OSError: The picture cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    entries = {run: [entry for entry in read_metrics(run) if "note" not in entry] for run in runs}
    if over is Over.TOKENS:  # held-out problems are measured in entries of their own
        entries = {run: [entry for entry in own if "reward" in entry] for run, own in entries.items()}
    curves = [(name, title) for name, title in CURVES if any(name in one for run in entries.values() for one in run)]
    if not curves:
        raise ValueError("the runs have no curves yet")
    labels = told_apart(list(entries), [run.name for run in entries])
    columns = min(3, len(curves))
    lines = -(-len(curves) // columns)
    figure, axes = pyplot.subplots(lines, columns, figsize=(5 * columns, 3.2 * lines), squeeze=False)
    for panel in axes.flat[len(curves) :]:
        panel.set_visible(False)
    for panel, (name, title) in zip(axes.flat, curves, strict=False):
        for label, all_entries in zip(labels, entries.values(), strict=True):
            points = [
                (at, one[name])
                for at, one in zip(positions(all_entries, over), all_entries, strict=True)
                if name in one
            ]
            if points:
                panel.plot(*zip(*points, strict=True), label=label, linewidth=1.4)
        panel.set_title(title, fontsize=10)
        panel.set_xlabel("step" if over is Over.STEP else "sampled tokens")
        panel.grid(alpha=0.3)
    axes.flat[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(out, dpi=120)
    pyplot.close(figure)
