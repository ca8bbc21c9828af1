"""Curves of runs, side by side, as a PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from espalier.training.run.metrics import read_metrics

CURVES = (
    ("reward", "mean reward"),
    ("accuracy", "accuracy of rollouts"),
    ("well_formed", "share of well-formed responses"),
    ("parallel", "share of responses that forked"),
    ("tokens", "new tokens per response"),
    ("critical_path", "tokens on the longest chain"),
    ("entropy", "entropy (nats)"),
    ("mismatch_kl", "KL(engine || trainer) per token"),
    ("grad_norm", "norm of the gradient"),
    ("loss", "loss"),
)
"""What is drawn, where a run has it: the metric's name and what it is called in the picture."""


def plot(runs: Sequence[Path], out: Path) -> None:
    """Draw the metrics of runs over their steps, one panel per metric that any of them has.

    Raises:
        ValueError: A folder holds no run, or the runs have nothing to draw.
        OSError: The picture cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    entries = {run: [entry for entry in read_metrics(run) if "note" not in entry] for run in runs}
    curves = [(name, title) for name, title in CURVES if any(name in one for run in entries.values() for one in run)]
    if not curves:
        raise ValueError("the runs have no curves yet")
    columns = min(3, len(curves))
    lines = -(-len(curves) // columns)
    figure, axes = pyplot.subplots(lines, columns, figsize=(5 * columns, 3.2 * lines), squeeze=False)
    for panel in axes.flat[len(curves) :]:
        panel.set_visible(False)
    for panel, (name, title) in zip(axes.flat, curves, strict=False):
        for run, all_entries in entries.items():
            points = [(one["step"], one[name]) for one in all_entries if name in one]
            if points:
                panel.plot(*zip(*points, strict=True), label=run.name, linewidth=1.4)
        panel.set_title(title, fontsize=10)
        panel.set_xlabel("step")
        panel.grid(alpha=0.3)
    axes.flat[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(out, dpi=120)
    pyplot.close(figure)
