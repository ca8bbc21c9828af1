"""The whole curriculum: base, zero, beta, papo and the two baselines, each measured on the same held-out problems.

Everything lies in one folder, a sub-folder per stage. What is finished is not done again, so a run that was stopped, by
a deadline or by force, goes on where it was.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from espalier.runtime.defaults import DecodingDefaults
from espalier.runtime.engine import FinishReason, Mode
from espalier.solver.core.problem import Problem, check_of
from espalier.training import rejection_sampling as beta
from espalier.training.config import BetaConfig, ConfigError, Form, RlConfig, load_as
from espalier.training.loop import RunLength, resumable
from espalier.training.model.network import load_network, load_tokenizer
from espalier.training.rl import papo, zero
from espalier.training.rl import train as rl
from espalier.training.rl.measure import Measured, MeasuredResponse, measure, summarise
from espalier.training.rl.reward import RolloutStatus, status_of
from espalier.training.rl.rollout_engine import collector_for, judging
from espalier.training.rl.sampler import Algorithm
from espalier.training.rl.verifiers import RetryingVerifiers
from espalier.training.run.deadline import Deadline
from espalier.training.run.directory import prepare, write
from espalier.training.run.distributed import TrainingGroup
from espalier.training.run.metrics import Report
from espalier.training.tasks import Split, task
from espalier.verifiers.check import Claim
from recipes.seedling import base
from recipes.seedling.settings import BaseConfig, PipelineConfig

TOGETHER = 3
"""Tasks that are measured at once: while the last responses of one end, those of others fill the passes. What is
measured at once is lost when the run is killed."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One model of the curriculum.

    Attributes:
        name: Of its folder, and in the table.
        mode: How it decodes.
        train: Trains it into a folder; whether it is finished.
    """

    name: str
    mode: Mode
    train: Callable[[Path], bool]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A curriculum on its way.

    Attributes:
        config: Its settings.
        home: Folder that the config's paths are relative to.
        out: Folder of the run.
        device: Where to compute.
        deadline: When this part has to stop.
        report: Shows entries of metrics and notes.
    """

    config: PipelineConfig
    home: Path
    out: Path
    device: torch.device
    deadline: Deadline
    report: Report

    def run(self, names: Collection[str] = ()) -> dict[str, dict[str, Measured]] | None:
        """Train and measure what is not done yet; by stage and task what was measured, or None if the time was up.

        Args:
            names: Only these stages; none: all. Several runs of different stages may share the folder, when what their
                stages begin from is trained.

        Raises:
            ConfigError: The settings differ from those that the curriculum in the folder was begun with, or a name is
                not that of a stage.
        """
        prepare(self.config, self.out, resume=True, free=("baselines", "margin", "service"))
        results: dict[str, dict[str, Measured]] = {}
        for stage in self._chosen(names):
            folder = self.out / stage.name
            if not (folder / "done").exists():
                self.report({"note": f"{stage.name}: training"})
                if not stage.train(folder):
                    return None
                (folder / "done").touch()
            measured = asyncio.run(self._measured(stage))
            if measured is None:
                return None
            results[stage.name] = measured
        return results

    def stages(self) -> Iterator[Stage]:
        """All models, each after the one it begins from."""
        config = self.config
        zero_config = self._read(RlConfig, config.zero)
        beta_config = self._read(BetaConfig, config.beta)
        papo_config = self._read(RlConfig, config.papo)
        yield Stage("base", Mode.SEQUENTIAL, self._base)
        yield Stage("zero", Mode.SEQUENTIAL, self._rl(zero_config, zero.method(zero_config), "base"))
        yield Stage("beta", Mode.PARALLEL, self._beta(beta_config, "beta"))
        yield Stage("papo", Mode.PARALLEL, self._rl(papo_config, papo.method(papo_config), "beta"))
        if config.baselines:
            plain_sft = replace(beta_config, form=Form.SEQUENTIAL)
            plain_rl = replace(papo_config, rollout=replace(papo_config.rollout, mode=Mode.SEQUENTIAL))
            yield Stage("sequential-sft", Mode.SEQUENTIAL, self._beta(plain_sft, "sequential-sft"))
            yield Stage("sequential-rl", Mode.SEQUENTIAL, self._rl(plain_rl, papo.method(plain_rl), "beta"))

    def _chosen(self, names: Collection[str]) -> list[Stage]:
        stages = list(self.stages())
        known = [stage.name for stage in stages]
        if strange := sorted(set(names) - set(known)):
            raise ConfigError(f"there is no stage {strange[0]!r}; there are: {', '.join(known)}")
        return [stage for stage in stages if not names or stage.name in names]

    def _model(self, stage: str) -> Path:
        if stage == "base" and self.config.base_model:
            return self.home / self.config.base_model
        if not (self.out / stage / "done").exists():
            raise ConfigError(f"{stage} is not trained in {self.out}; run the curriculum with --stages {stage} first")
        return self.out / stage / "model"

    def _read(self, kind: type[Any], name: str) -> Any:
        return load_as(kind, self.home / name)

    def _base(self, folder: Path) -> bool:
        if self.config.base_model:
            folder.mkdir(parents=True, exist_ok=True)
            return True
        config = self._read(BaseConfig, self.config.base)
        return base.train(
            config,
            self.home / self.config.tokenizer,
            folder,
            RunLength(steps=self.config.base_steps),
            self.report,
            group=TrainingGroup(device=self.device),
            deadline=self.deadline,
            resume=resumable(folder),
        )

    def _rl(self, config: RlConfig, method: Algorithm, start: str) -> Callable[[Path], bool]:
        def train(folder: Path) -> bool:
            group = TrainingGroup(device=self.device)
            initial = self._model(start)
            deadline = self.deadline
            return rl.train(config, method, initial, folder, self.report, resume=True, deadline=deadline, group=group)

        return train

    def _beta(self, config: BetaConfig, name: str) -> Callable[[Path], bool]:
        def train(folder: Path) -> bool:
            if name != "beta":  # the baseline is trained on the same samples
                self._model("beta")
                folder.mkdir(parents=True, exist_ok=True)
                write(folder / beta.SAMPLES, (self.out / "beta" / beta.SAMPLES).read_text(encoding="utf-8"))
            group = TrainingGroup(device=self.device)
            return beta.train(config, self._model("zero"), folder, self.deadline, self.report, group)

        return train

    async def _measured(self, stage: Stage) -> dict[str, Measured] | None:
        path = self.out / stage.name / "measured.json"
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        results = {name: Measured(**values) for name, values in known.items()}
        evaluation = self.config.evaluation
        together = [evaluation.tasks[at : at + TOGETHER] for at in range(0, len(evaluation.tasks), TOGETHER)]
        if all(name in results for name in evaluation.tasks):
            return await self._judged(stage, path, results)
        folder = self._model(stage.name)
        tokenizer = load_tokenizer(folder)
        network = load_network(folder, self.device)
        decoding = DecodingDefaults.load(folder)
        limits = decoding.limits(evaluation.max_tokens)
        decoded = (stage.mode, limits, self._tell, decoding.constrained)
        opened = collector_for(self.config.service, network, tokenizer, folder, *decoded)
        async with opened as collector:
            for number, names in enumerate(together):
                if all(name in results for name in names):
                    continue
                if self.deadline.passed():
                    return None
                problems = {name: self._held_out(name) for name in names}
                first = number * TOGETHER * evaluation.problems
                groups = await measure(collector, problems, evaluation.samples, evaluation.seed, first)
                for name, own in groups.items():
                    results[name] = self._kept(stage, name, own)
                _store(path, results)
                for name in names:
                    self._tell(f"{stage.name}: {name} measured, accuracy {results[name].accuracy}")
        return results

    def _kept(self, stage: Stage, name: str, groups: list[list[MeasuredResponse]]) -> Measured:
        """What a task says; its responses are kept while a verdict is missing."""
        measured = summarise(groups)
        path = self._undecided(stage, name)
        if any(one.status is RolloutStatus.VERIFIER_ERROR for group in groups for one in group):
            write(path, json.dumps([[asdict(one) for one in group] for group in groups]) + "\n")
        else:
            path.unlink(missing_ok=True)
        return measured

    async def _judged(self, stage: Stage, path: Path, results: dict[str, Measured]) -> dict[str, Measured]:
        """Of tasks whose verifier could not work where they were measured: what it says here."""
        lacking = [name for name in results if self._undecided(stage, name).exists()]
        if not lacking:
            return results
        async with judging(self.config.service, self._tell) as verifiers:
            for name in lacking:
                stored = json.loads(self._undecided(stage, name).read_text(encoding="utf-8"))
                groups = [[_outcome(one) for one in group] for group in stored]
                results[name] = self._kept(stage, name, await judge(verifiers, self._held_out(name), groups))
                self._tell(f"{stage.name}: {name} judged, accuracy {results[name].accuracy}")
        _store(path, results)
        return results

    def _undecided(self, stage: Stage, name: str) -> Path:
        return self.out / stage.name / f"undecided-{name}.json"

    def _held_out(self, name: str) -> list[Problem]:
        evaluation = self.config.evaluation
        source = task(name, evaluation.settings.get(name))
        return list(source.problems(Split.HELD_OUT, evaluation.seed, evaluation.problems))

    def _tell(self, text: str) -> None:
        self.report({"note": text})


def _outcome(stored: dict[str, Any]) -> MeasuredResponse:
    return MeasuredResponse(**{**stored, "status": RolloutStatus(stored["status"])})


def _store(path: Path, results: dict[str, Measured]) -> None:
    write(path, json.dumps({name: asdict(one) for name, one in results.items()}, indent=2) + "\n")


async def judge(
    verifiers: RetryingVerifiers, problems: Sequence[Problem], groups: Sequence[Sequence[MeasuredResponse]]
) -> list[list[MeasuredResponse]]:
    """Ask for the verdicts that the verifier could not give before, on another machine perhaps."""

    async def judged(problem: Problem, one: MeasuredResponse) -> MeasuredResponse:
        if one.status is not RolloutStatus.VERIFIER_ERROR:
            return one
        verdict = await verifiers.verify(Claim(one.answer, problem=problem.text), check_of(problem))
        return replace(one, status=status_of(FinishReason.STOP, verdict.status))

    pairs = zip(problems, groups, strict=True)
    waiting = [asyncio.gather(*(judged(problem, one) for one in group)) for problem, group in pairs]
    return [list(group) for group in await asyncio.gather(*waiting)]
