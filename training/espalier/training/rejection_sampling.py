"""Stage 2, NPR-Beta: rejection sampling from Zero, then supervised fine-tuning with the parallel mask and positions.

Zero is sampled as it was trained, sequentially, at temperature 1. What is kept is correct *and* well-formed, and is
never turned into text: its token ids are laid out anew as fork and join would have decoded them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from espalier.common.files import whole_lines
from espalier.runtime.engine import Limits, Mode, Rollout
from espalier.runtime.grammar import Vocabulary
from espalier.training.config import BetaConfig
from espalier.training.data.example import response_example
from espalier.training.data.problems import ProblemStream, stream
from espalier.training.data.responses import ExampleSource
from espalier.training.loop import Run, RunLength, resumable
from espalier.training.model.network import load_network, load_tokenizer
from espalier.training.rl.judged import JudgedRollout
from espalier.training.rl.reward import RolloutStatus
from espalier.training.rl.rollout import Collector
from espalier.training.rl.rollout_engine import collector_for
from espalier.training.run.deadline import Deadline
from espalier.training.run.directory import prepare, write
from espalier.training.run.distributed import ALONE, TrainingGroup
from espalier.training.run.metrics import Report
from espalier.training.sft import RECORD_EVERY, fit, passed_on

ROUNDS = 4
"""How often the engine's rows are filled by the problems that are sampled side by side, and stored together."""


SAMPLES = "samples.jsonl"
"""File of the run's folder with what is kept."""


class NothingKeptError(RuntimeError):
    """No sample was good enough to be trained on."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A correct and well-formed response: token ids of prompt and response."""

    problem: str
    prompt: tuple[int, ...]
    tokens: tuple[int, ...]


def keep(rollouts: Sequence[JudgedRollout], most: int) -> list[JudgedRollout]:
    """The first `most` rollouts of a problem that pass, are well-formed, and differ from each other."""
    good: dict[tuple[int, ...], JudgedRollout] = {}
    for one in rollouts:
        if one.status is RolloutStatus.PASSED and one.well_formed:
            good.setdefault(one.rollout.tokens, one)
    return list(good.values())[:most]


async def sample(
    config: BetaConfig, collector: Collector, problems: ProblemStream, path: Path, deadline: Deadline, report: Report
) -> list[Kept] | None:
    """Sample and filter, storing what is kept in `path` as it comes; problems that are in the file are not repeated.

    Returns:
        What is kept, or None if the time was up before.

    Raises:
        NothingKeptError: Not one sample is correct and well-formed.
    """
    kept, done = _stored(path)
    write(path, "".join(f"{line}\n" for line in _whole_lines(path)))
    passed = 0
    at_once = max(1, ROUNDS * config.service.rows // config.tries)
    for start in range(done, config.count, at_once):
        if deadline.passed():
            return None
        numbers = range(start, min(start + at_once, config.count))
        groups = await collector.collect([problems(i) for i in numbers], config.tries, str(config.seed), start)
        fresh = [_kept(one.problem.id, one.rollout) for group in groups for one in keep(group, config.keep)]
        passed += sum(one.status is RolloutStatus.PASSED for group in groups for one in group)
        with path.open("a", encoding="utf-8") as file:
            line = [[one.problem, one.prompt, one.tokens] for one in fresh]
            file.write(json.dumps({"problems": numbers.stop, "kept": line}) + "\n")
        kept += fresh
        report(
            {
                "sampled_problems": numbers.stop,
                "kept": len(kept),
                "accuracy": round(passed / ((numbers.stop - done) * config.tries), 4),
                "done": round(numbers.stop / config.count, 4),
            }
        )
    _require_some(kept, config)
    return kept


def _require_some(kept: Sequence[Kept], config: BetaConfig) -> None:
    if not kept:
        raise NothingKeptError(
            f"of {config.count * config.tries} samples none is correct and well-formed: train zero for longer"
        )


def _stored(path: Path) -> tuple[list[Kept], int]:
    """What has been kept, and of how many problems; a last line that was cut off counts for nothing."""
    kept: list[Kept] = []
    done = 0
    for line in map(json.loads, _whole_lines(path)):
        kept += [Kept(problem, tuple(prompt), tuple(tokens)) for problem, prompt, tokens in line["kept"]]
        done = line["problems"]
    return kept, done


def _whole_lines(path: Path) -> list[str]:
    return whole_lines(path) if path.exists() else []


def _kept(problem: str, rollout: Rollout) -> Kept:
    return Kept(problem, rollout.prompt, rollout.tokens)


def train(
    config: BetaConfig, initial: Path, out: Path, deadline: Deadline, report: Report, group: TrainingGroup = ALONE
) -> bool:
    """Sample from the model in `initial`, keep what is good, and fine-tune the model on it into `out/model`.

    A part that was interrupted, or stopped by the deadline, goes on where it was when it is called again. Of several
    processes the main one samples, with the engine of the settings, and the others wait; all of them fine-tune.

    Returns:
        Whether it is finished.

    Raises:
        ConfigError: The settings differ from those that the part before was begun with.
        NothingKeptError: Not one sample is correct and well-formed.
        EngineError: The engine failed.
    """
    if group.is_main:
        prepare(config, out, resume=True, free=("service", "metrics"))
    torch.manual_seed(config.seed)
    network = load_network(initial, group.device)
    tokenizer = load_tokenizer(initial)
    if group.is_main and _stored(out / SAMPLES)[1] < config.count:
        asyncio.run(_sampled(config, network, tokenizer, initial, out / SAMPLES, deadline, report))
    group.barrier()
    kept, done = _stored(out / SAMPLES)
    if done < config.count:
        return False
    _require_some(kept, config)
    vocabulary = Vocabulary.of(tokenizer)
    examples = [response_example(one.prompt, one.tokens, config.form, vocabulary) for one in kept]
    source = ExampleSource(examples, config.trainer.sequence_length, config.seed)
    steps = max(1, config.epochs * len(source) // config.batch_size)
    run = Run(
        out,
        RunLength(steps=steps),
        config.metrics,
        asdict(config),
        report,
        initial,
        group,
        deadline,
        resume=resumable(out),
        checkpoint_every=config.checkpoint_every,
        record_every=RECORD_EVERY,
        decoding=passed_on(initial, examples),
    )
    return fit(network, tokenizer, source, config.trainer, config.batch_size, run)


async def _sampled(
    config: BetaConfig,
    network: Any,
    tokenizer: Any,
    initial: Path,
    path: Path,
    deadline: Deadline,
    report: Report,
) -> None:
    limits = Limits(max_tokens=config.max_tokens)
    tell = lambda text: report({"note": text})  # noqa: E731
    async with collector_for(config.service, network, tokenizer, initial, Mode.SEQUENTIAL, limits, tell) as collector:
        await sample(config, collector, stream(config.problems), path, deadline, report)
