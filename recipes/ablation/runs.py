"""Runs of the arms: each trains until it has sampled so many tokens, is measured, and can go on to more.

A folder of the ablation holds `start-MODE/`, where the arms of a mode begin, and `ARM-SEED/` for each run, with its
`metrics.jsonl` and, for each number of tokens that it has come to, `measured-TOKENS.json` and `responses-TOKENS.jsonl`.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from espalier.runtime.engine import Mode
from espalier.training.config import Form, RlConfig, load_as
from espalier.training.loop import RunLength
from espalier.training.model.network import load_network
from espalier.training.rl import papo, train
from espalier.training.rl.branches import set_counts
from espalier.training.rl.judged import JudgedRollout
from espalier.training.rl.reward import OUTCOMES, RolloutStatus
from espalier.training.rl.rollout_engine import collector_for
from espalier.training.run.deadline import Deadline
from espalier.training.run.directory import write
from espalier.training.run.distributed import TrainingGroup
from espalier.training.run.metrics import FILE, sampled_tokens
from espalier.training.tasks import Split, task
from recipes.ablation.arms import Arm
from recipes.seedling import base as from_nothing
from recipes.seedling.settings import BaseConfig

HERE = Path(__file__).parent
TOKENIZER = HERE.parents[1] / "runtime/espalier/runtime/seedling"
EVALUATION_SEED = 7
CPU = torch.device("cpu")
SHOWN = ("step", "note", "accuracy", "tokens", "branch_pass", "set_pass", "join_lost", "loss")


@dataclass(frozen=True)
class Ablation:
    """What all runs of an ablation have in common.

    Attributes:
        out: Folder of the runs.
        base: Settings that the arms share. Its `steps` are the first part of a run; how many more fill its number of
            tokens is reckoned from the tokens of the steps so far.
        supervised: Settings of the starts.
        start_steps: Steps of supervised training of the start of each mode: so many that both starts pass alike.
        problems: Held-out problems that are measured on.
        samples: Of each.
    """

    out: Path
    base: RlConfig = field(default_factory=lambda: load_as(RlConfig, HERE / "ablation.toml"))
    supervised: BaseConfig = field(default_factory=lambda: load_as(BaseConfig, HERE / "start.toml"))
    start_steps: dict[Mode, int] = field(default_factory=lambda: {Mode.PARALLEL: 800, Mode.SEQUENTIAL: 450})
    problems: int = 144
    samples: int = 16

    def folder(self, arm: str, seed: int) -> Path:
        """Of a run."""
        return self.out / f"{arm}-{seed}"

    def start_folder(self, mode: Mode) -> Path:
        """Of the start of a mode."""
        return self.out / f"start-{mode}"


def train_all(
    ablation: Ablation,
    arms: Sequence[Arm],
    seeds: Sequence[int],
    tokens: Sequence[int],
    processes: int,
    deadline: Deadline = Deadline(),
) -> list[str]:
    """Train and measure arms with seeds, each run in one process; what is done already is not done again.

    All runs come to the first number of tokens before any goes on to the next, as far as processes are free, so that
    what is finished when the time is up can be compared.

    Args:
        ablation: What the runs have in common.
        arms: Arms to run.
        seeds: Seeds of each.
        tokens: Numbers of sampled tokens, rising, at which a run is measured.
        processes: Runs at a time.
        deadline: When runs stop, with a checkpoint; measuring that has begun is finished.

    Returns:
        One line for each run that failed.
    """
    failed: list[str] = []
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        modes = sorted({arm.mode for arm in arms})
        starts = [pool.submit(start, ablation, mode) for mode in modes]
        for made in starts:
            made.result()
        todo: dict[Future[None], tuple[str, list[Callable[[], None]]]] = {}

        def submit(name: str, parts: Sequence[Callable[[], None]]) -> None:
            if parts:
                todo[pool.submit(parts[0])] = name, list(parts[1:])

        for mode in modes:
            submit(f"start-{mode}", [partial(measure_start, ablation, mode)])
        for seed in seeds:
            for arm in arms:
                submit(f"{arm.name}-{seed}", [partial(run, ablation, arm, seed, count, deadline) for count in tokens])
        while todo:
            for future in wait(todo, return_when=FIRST_COMPLETED).done:
                name, parts = todo.pop(future)
                if (error := future.exception()) is None:
                    submit(name, parts)
                else:
                    failed.append(f"{name}: {type(error).__name__}: {error}")
    return failed


def start(ablation: Ablation, mode: Mode) -> Path:
    """The model where the arms of a mode begin; made once."""
    folder = ablation.start_folder(mode)
    if not (folder / "model").exists():
        form = Form.PARALLEL if mode is Mode.PARALLEL else Form.SEQUENTIAL
        settings = replace(ablation.supervised, data=replace(ablation.supervised.data, form=form))
        length = RunLength(ablation.start_steps[mode])
        from_nothing.train(settings, TOKENIZER, folder, length, partial(_show, folder.name))
    return folder / "model"


def measure_start(ablation: Ablation, mode: Mode) -> None:
    """Measure where the arms of a mode begin, unless that is done."""
    folder = ablation.start_folder(mode)
    if not (folder / measured_name(0)).exists():
        config = replace(ablation.base, rollout=replace(ablation.base.rollout, mode=mode))
        measure(ablation, config, start(ablation, mode), folder, 0)


def run(ablation: Ablation, arm: Arm, seed: int, tokens: int, deadline: Deadline = Deadline()) -> None:
    """Train one arm with one seed until it has sampled so many tokens, and measure it, unless that is done.

    The run ends where less than half a step is missing.

    Raises:
        ValueError: The run has been measured after more tokens already, so it is past this number.
    """
    folder = ablation.folder(arm.name, seed)
    counts = {int(path.stem.removeprefix("measured-")) for path in folder.glob(measured_name("*"))}
    if tokens in counts:
        return
    if max(counts, default=0) > tokens:
        raise ValueError(f"{folder} is past {tokens} tokens: it was measured after {max(counts)}")
    config, initial = arm.config(ablation.base, seed), start(ablation, arm.mode)
    missing: int | None = None
    while missing != 0:
        # A part without steps exports the model: the one before may have been killed before it did.
        part = replace(config, steps=len(entries(folder)) + _steps_missing(folder, tokens, config.steps))
        own = TrainingGroup(device=CPU)
        show = partial(_show, folder.name)
        if deadline.passed() or not train.train(
            part, papo.method(config), initial, folder, show, resume=True, deadline=deadline, group=own
        ):
            return
        missing = _steps_missing(folder, tokens, config.steps)
    measure(ablation, config, folder / "model", folder, tokens)


def _steps_missing(folder: Path, tokens: int, first: int) -> int:
    """Steps that the run of a folder takes next on its way to a number of tokens."""
    steps = entries(folder)
    if not steps:
        return first
    sampled = sum(map(sampled_tokens, steps))
    return max(0, round((tokens - sampled) * len(steps) / sampled))


def entries(folder: Path) -> list[dict[str, Any]]:
    """The metrics of a run's steps."""
    path = folder / FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [entry for line in lines if "note" not in (entry := json.loads(line))]


def measured_name(tokens: int | str) -> str:
    """File with what was measured after so many sampled tokens."""
    return f"measured-{tokens}.json"


def measure(ablation: Ablation, config: RlConfig, model: Path, folder: Path, tokens: int) -> None:
    """Measure a model on the held-out problems, all arms on the same ones, and keep counts and responses.

    The samples of runs with different seeds differ.
    """
    groups = asyncio.run(_responses(ablation, config, model))
    every = [one for group in groups for one in group]
    found = {
        "steps": len(entries(folder)) if tokens else 0,
        "passed": [sum(one.status is RolloutStatus.PASSED for one in group) for group in groups],
        "decided": [
            sum(one.status in OUTCOMES or one.status is RolloutStatus.UNKNOWN for one in group) for group in groups
        ],
        "sets": [set_counts(group) for group in groups],
        "tokens": fmean(one.finished.usage.new_tokens for one in every),
        "critical_path": fmean(one.finished.usage.critical_path_tokens for one in every),
    }
    tokenizer = PreTrainedTokenizerFast.from_pretrained(model)
    lines = (json.dumps(_response(one, tokenizer)) + "\n" for one in every)
    write(folder / f"responses-{tokens}.jsonl", "".join(lines))
    write(folder / measured_name(tokens), json.dumps(found) + "\n")


async def _responses(ablation: Ablation, config: RlConfig, model: Path) -> list[list[JudgedRollout]]:
    ((name, settings),) = config.problems.settings.items()
    problems = list(task(name, settings).problems(Split.HELD_OUT, EVALUATION_SEED, ablation.problems))
    tokenizer = PreTrainedTokenizerFast.from_pretrained(model)
    rollout = config.rollout
    network = load_network(model, CPU)
    decoded = (rollout.mode, rollout.limits, print, rollout.constrained)
    async with collector_for(config.service, network, tokenizer, model, *decoded) as plain:
        judging = replace(plain, judge_branches=rollout.mode is Mode.PARALLEL)
        return await judging.collect(problems, ablation.samples, f"measure/{config.seed}")


def _response(one: JudgedRollout, tokenizer: Any) -> dict[str, Any]:
    return {
        "problem": one.problem.id,
        "response": str(tokenizer.decode(list(one.rollout.tokens), skip_special_tokens=False)),
        "status": one.status.value,
        "branches": [branch.verdict.status.value for branch in one.branches],
        "tokens": one.finished.usage.new_tokens,
    }


def _show(name: str, entry: dict[str, Any]) -> None:
    """Show an entry of the metrics of a run."""
    print(name, *(f"{key} {entry[key]}" for key in SHOWN if key in entry), flush=True)
