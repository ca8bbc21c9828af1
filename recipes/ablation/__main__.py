"""Does credit for the set pay? {outcome, set} x {parallel, sequential}, several seeds, equal sampled tokens.

    python -m recipes.ablation train --out runs/ablation      # goes on where it was stopped
    python -m recipes.ablation train --out runs/ablation --arms set-sequential set-parallel-balanced --seeds 1
    python -m recipes.ablation report --out runs/ablation --plot docs/images/set-credit-ablation.png

The two starts are made by supervised training of the same network on the same problems, in the form that each way of
decoding needs (`start.toml`; plain chains of thought for sequential decoding), for as many steps as bring the passing
share near that of the other (`START_STEPS`). A sequential response has about a third of the tokens of a parallel one,
so sequential arms draw three times as many samples of each prompt: as many tokens, and about as many verdicts, since
parallel arms have their branches judged (all of them, for the metrics). Re-joins cost half as many tokens again, so
their arms take fewer steps.
Each arm trains `ablation.toml` and is measured on the same held-out problems. `report` says what was finished.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from espalier.runtime.engine import Limits, Mode
from espalier.solver.core.evaluate import pass_at_k
from espalier.training.config import CreditConfig, CreditKind, Form, RlConfig, load_as
from espalier.training.loop import RunLength
from espalier.training.model.network import load_network
from espalier.training.rl import papo, train
from espalier.training.rl.branches import set_counts, set_metrics
from espalier.training.rl.reward import OUTCOMES, RolloutStatus
from espalier.training.rl.rollout_engine import collector_for
from espalier.training.run.distributed import TrainingGroup
from espalier.training.tasks import Split, task
from recipes.seedling import base as from_nothing
from recipes.seedling.settings import BaseConfig

HERE = Path(__file__).parent
TOKENIZER = HERE.parents[1] / "runtime/espalier/runtime/seedling"
SEEDS = (1, 2, 3)
SEQUENTIAL_SAMPLES = 3
"""Samples of a sequential arm for each of a parallel one: the ratio of the tokens of their responses."""
START_STEPS = {Mode.PARALLEL: 800, Mode.SEQUENTIAL: 450}
PROBLEMS, SAMPLES, EVALUATION_SEED = 48, 16, 7
COLUMNS = (
    *("arm", "seeds", "pass@1", "pass@16", "branch pass@1", "set pass@k", "join pass@1", "join gain"),
    *("right sets lost", "wrong sets rescued", "tokens", "tokens sampled", "verdicts"),
)
PAIRS = (
    ("set-parallel", "outcome-sequential"),
    ("set-parallel", "outcome-parallel"),
    ("outcome-parallel", "outcome-sequential"),
    ("set-parallel", "set-sequential"),
    ("set-sequential", "outcome-sequential"),
    ("set-parallel-balanced", "set-parallel"),
    ("set-parallel-balanced", "outcome-sequential"),
    ("set-parallel-rejoins", "set-parallel"),
    ("set-parallel-balanced-rejoins", "set-parallel-balanced"),
)
SMOOTHED = 6
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Arm:
    """One way of training.

    Attributes:
        mode: How it decodes.
        credit: What is made of verdicts.
        rejoins: Conclusions that are sampled again from the branches of each response.
        steps: Share of the file's optimiser steps that it takes, for as many sampled tokens as the others.
    """

    name: str
    mode: Mode
    credit: CreditConfig
    rejoins: int = 0
    steps: float = 1.0

    def config(self, base: RlConfig, seed: int) -> RlConfig:
        """Its settings: those of the file, but for what tells the arms apart."""
        samples = base.rollout.samples * (SEQUENTIAL_SAMPLES if self.mode is Mode.SEQUENTIAL else 1)
        rollout = replace(base.rollout, mode=self.mode, samples=samples, rejoins=self.rejoins)
        problems = replace(base.problems, seed=base.problems.seed + 1000 * seed)
        steps = max(1, round(base.steps * self.steps))
        return replace(base, seed=seed, steps=steps, credit=self.credit, rollout=rollout, problems=problems)


SET = CreditConfig(CreditKind.SET)
BALANCED = replace(SET, balance_kinds=True)
"""Guidelines, steps, takeaways and answers each normalised by their own number of tokens."""
SET_SIZE = 4
"""Samples in a set of sequential set credit, which is pass@k training: as many as a parallel response has branches."""
WITH_REJOINS = 2 / 3
"""Two conclusions more have half the tokens of a whole response."""
ARMS = (
    Arm("outcome-parallel", Mode.PARALLEL, CreditConfig()),
    Arm("set-parallel", Mode.PARALLEL, SET),
    Arm("set-parallel-balanced", Mode.PARALLEL, BALANCED),
    Arm("set-parallel-rejoins", Mode.PARALLEL, SET, rejoins=2, steps=WITH_REJOINS),
    Arm("set-parallel-balanced-rejoins", Mode.PARALLEL, BALANCED, rejoins=2, steps=WITH_REJOINS),
    Arm("outcome-sequential", Mode.SEQUENTIAL, CreditConfig()),
    Arm("set-sequential", Mode.SEQUENTIAL, replace(SET, k=SET_SIZE)),
)


def note(entry: dict[str, Any]) -> None:
    """Show an entry of the metrics."""
    shown = (
        "step",
        "note",
        "accuracy",
        "tokens",
        "branch_pass",
        "set_pass",
        "join_lost",
        "entropy",
        "loss",
        "seconds_generate",
        "seconds_train",
    )
    print({name: entry[name] for name in shown if name in entry}, flush=True)


def start(out: Path, mode: Mode) -> Path:
    """Where the arms of a way of decoding begin; made once."""
    folder = out / f"start-{mode}"
    if not (folder / "model").exists():
        settings = load_as(BaseConfig, HERE / "start.toml")
        form = Form.PARALLEL if mode is Mode.PARALLEL else Form.SEQUENTIAL
        settings = replace(settings, data=replace(settings.data, form=form))
        from_nothing.train(settings, TOKENIZER, folder, RunLength(START_STEPS[mode]), note)
    return folder / "model"


def run(out: Path, base: RlConfig, arm: Arm, seed: int) -> None:
    """Train and measure one arm with one seed, unless that is done."""
    folder = out / f"{arm.name}-{seed}"
    if (folder / "measured.json").exists():
        return
    print(f"== {folder.name}", flush=True)
    config = arm.config(base, seed)
    initial = start(out, arm.mode)
    begun = out / f"start-{arm.mode}-1"
    if not (begun / "measured.json").exists():
        measured(begun, arm.config(base, 1), initial, 1)
    if not (folder / "model").exists():
        train.train(
            config, papo.method(config), initial, folder, note, resume=folder.exists(), group=TrainingGroup(device=CPU)
        )
    measured(folder, config, folder / "model", seed)


def measured(folder: Path, config: RlConfig, model: Path, seed: int) -> None:
    """Measure a model on the held-out problems, all arms on the same ones: how many samples of each pass."""
    found = asyncio.run(_measured(config, model, seed))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "measured.json").write_text(json.dumps(found) + "\n", encoding="utf-8")


async def _measured(config: RlConfig, model: Path, seed: int) -> dict[str, Any]:
    ((name, settings),) = config.problems.settings.items()
    problems = list(task(name, settings).problems(Split.HELD_OUT, EVALUATION_SEED, PROBLEMS))
    tokenizer = PreTrainedTokenizerFast.from_pretrained(model)
    limits = Limits(max_tokens=config.rollout.max_tokens)
    network = load_network(model, CPU)
    async with collector_for(config.service, network, tokenizer, model, config.rollout.mode, limits, print) as plain:
        groups = await replace(plain, judge_branches=True).collect(problems, SAMPLES, f"measure/{seed}")
    every = [one for group in groups for one in group]
    return {
        "passed": [sum(one.status is RolloutStatus.PASSED for one in group) for group in groups],
        "decided": [
            sum(one.status in OUTCOMES or one.status is RolloutStatus.UNKNOWN for one in group) for group in groups
        ],
        "tokens": fmean(one.finished.usage.new_tokens for one in every),
        "critical_path": fmean(one.finished.usage.critical_path_tokens for one in every),
        **set_metrics(set_counts(every)),
    }


def rates(results: Sequence[dict[str, Any]], k: int) -> list[list[float]]:
    """[seed][problem] pass@k."""
    return [
        [pass_at_k(n, c, min(k, n)) if n else 0.0 for c, n in zip(one["passed"], one["decided"], strict=True)]
        for one in results
    ]


def summary(table: list[list[float]]) -> str:
    """Mean in percent, with its standard errors over problems and over seeds."""
    of_problems = [fmean(column) for column in zip(*table, strict=True)]
    of_seeds = [fmean(row) for row in table]
    over_problems = stdev(of_problems) / math.sqrt(len(of_problems))
    over_seeds = f"{100 * stdev(of_seeds) / math.sqrt(len(of_seeds)):.1f}" if len(of_seeds) > 1 else "-"
    return f"{100 * fmean(of_seeds):.1f} ± {100 * over_problems:.1f} / {over_seeds}"


def load(out: Path, name: str) -> list[dict[str, Any]]:
    """What was measured of an arm, by seed."""
    paths = [out / f"{name}-{seed}" / "measured.json" for seed in SEEDS]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]


def entries(out: Path, name: str) -> list[list[dict[str, Any]]]:
    """The metrics of an arm's steps, by seed; of seeds that were measured."""
    folders = [out / f"{name}-{seed}" for seed in SEEDS]
    paths = [folder / "metrics.jsonl" for folder in folders if (folder / "measured.json").exists()]
    texts = [path.read_text(encoding="utf-8").splitlines() for path in paths if path.exists()]
    return [[entry for line in text if "note" not in (entry := json.loads(line))] for text in texts]


def sampled_tokens(entry: dict[str, Any]) -> float:
    """New tokens of a step, those of re-joins included."""
    return float(entry["tokens"] * entry["responses"] + entry.get("rejoin_tokens", 0))


def report(out: Path, plot: Path | None) -> None:
    """Print the table of what is finished, and draw the curves of training."""
    names = ["start-parallel", "start-sequential", *[arm.name for arm in ARMS]]
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    results = {name: found for name in names if (found := load(out, name))}
    for name, found in results.items():
        steps = entries(out, name)
        sampled = fmean(sum(sampled_tokens(e) for e in own) for own in steps) if steps else 0.0
        verdicts = fmean(sum(e["verdicts"] for e in own) for own in steps) if steps else 0.0

        def mean(key: str, found: list[dict[str, Any]] = found) -> str:
            values = [one[key] for one in found if key in one]
            return f"{100 * fmean(values):.1f}" if values else "-"

        gains = [one["join_pass"] - one["branch_pass"] for one in found if "join_pass" in one]
        gain = f"{100 * fmean(gains):+.1f}" if gains else "-"
        cells = [name, str(len(found)), summary(rates(found, 1)), summary(rates(found, 16))]
        cells += [mean(key) for key in ("branch_pass", "set_pass", "join_pass")] + [gain]
        cells += [mean(key) for key in ("join_lost", "join_rescued")]
        cells += [f"{fmean(one['tokens'] for one in found):.0f}", f"{sampled:.0f}", f"{verdicts:.0f}"]
        print("| " + " | ".join(cells) + " |")
    for first, second in PAIRS:
        if first not in results or second not in results:
            continue
        seeds = min(len(results[first]), len(results[second]))
        tables = [rates(results[name][:seeds], 1) for name in (first, second)]
        differences = [[a - b for a, b in zip(*rows, strict=True)] for rows in zip(*tables, strict=True)]
        print(f"\n{first} minus {second}, pass@1, {seeds} seeds: {summary(differences)}")
    if plot is not None:
        draw(out, plot)


def draw(out: Path, plot: Path) -> None:
    """Curves over sampled tokens: means over seeds and over the last `SMOOTHED` steps."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    curves = ("accuracy", "branch_pass", "set_pass", "join_lost", "entropy")
    figure, axes = plt.subplots(1, len(curves), figsize=(4 * len(curves), 3.4), constrained_layout=True)
    for arm in ARMS:
        runs = [own for own in entries(out, arm.name) if own]
        if not runs:
            continue
        length = min(map(len, runs))
        for axis, key in zip(axes, curves, strict=True):
            if not all(key in entry for own in runs for entry in own[:length]):
                continue
            tokens = [fmean(sum(sampled_tokens(e) for e in own[: i + 1]) for own in runs) for i in range(length)]
            values = [fmean(own[i][key] for own in runs) for i in range(length)]
            smooth = [fmean(values[max(0, i + 1 - SMOOTHED) : i + 1]) for i in range(length)]
            axis.plot(tokens, smooth, label=arm.name)
            axis.set(title=key, xlabel="sampled tokens")
    axes[0].legend(fontsize=7)
    figure.savefig(plot, dpi=110)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("train", "report"))
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    names = [arm.name for arm in ARMS]
    parser.add_argument("--arms", nargs="+", default=names, choices=names, metavar="ARM", help=f"only these of {names}")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS, choices=SEEDS, help="only these")
    parser.add_argument("--plot", type=Path, help="picture to write (PNG)")
    options = parser.parse_args()
    if options.action == "report":
        report(options.out, options.plot)
        return
    torch.set_num_threads(1)
    base = load_as(RlConfig, HERE / "ablation.toml")
    arms = [arm for arm in ARMS if arm.name in options.arms]
    for mode in Mode:  # all seeds of one way of decoding first
        for seed in options.seeds:
            for arm in arms:
                if arm.mode is mode:
                    run(options.out, base, arm, seed)


if __name__ == "__main__":
    main()
