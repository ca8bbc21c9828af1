"""The reliability diagram of a calibration, as a PNG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from espalier.solver.core.confidence import BINS, Reliability

SMALLEST, LARGEST = 20.0, 240.0
"""Areas of the points of the smallest and the largest bin, in square points."""


def draw(measured: Mapping[str, Reliability], out: Path) -> None:
    """Draw how often answers were right against how sure the calibration was of them; a point is as large as its bin.

    Args:
        measured: By the name of the set.
        out: Where the picture goes.

    Raises:
        OSError: The picture cannot be written.
        ModuleNotFoundError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(4.8, 4.8))
    axes.plot((0, 1), (0, 1), color="0.6", linestyle="--", linewidth=1, label="as sure as right")
    for name, found in measured.items():
        if not found.bins:
            continue
        confidence, accuracy, counts = zip(*found.bins, strict=True)
        sizes = [SMALLEST + (LARGEST - SMALLEST) * count / max(counts) for count in counts]
        label = f"{name}: calibration error {found.error:.3f}, {sum(counts)} answers"
        (line,) = axes.plot(confidence, accuracy, linewidth=1.4, label=label)
        axes.scatter(confidence, accuracy, s=sizes, color=line.get_color(), alpha=0.7)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="share of answers that are right", aspect="equal")
    axes.set_xticks([number / BINS for number in range(0, BINS + 1, 2)])
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper left")
    figure.tight_layout()
    figure.savefig(out, dpi=120, format="png")
    pyplot.close(figure)
