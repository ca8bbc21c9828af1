from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from espalier.runtime.defaults import DecodingDefaults
from espalier.runtime.engine import Mode
from espalier.training.config import ConfigError, load_as
from espalier.training.rl.judged import JudgedRollout
from espalier.training.rl.measure import Measured
from espalier.training.run.deadline import Deadline
from espalier.verifiers.verdict import Status, Verdict
from recipes.seedling import pipeline as curriculum
from recipes.seedling.pipeline import Pipeline, Stage
from recipes.seedling.settings import PipelineConfig
from recipes.seedling.stream import Codec
from recipes.seedling.table import NothingJudgedError, last_line, meets_margin, table
from tests.training.conftest import RECIPES
from tests.training.test_beta import _attempt

TINY = RECIPES / "tiny"


def _measured(accuracy: float | None) -> Measured:
    error = None if accuracy is None else 0.03
    return Measured(100, accuracy, error, 1.0, 0.5, 90.0, 40.0, 0 if accuracy is not None else 800)


RESULTS = {
    name: {"gcd": _measured(accuracy), "lcm": _measured(accuracy)}
    for name, accuracy in (("base", 0.3), ("zero", 0.314), ("beta", 0.4), ("papo", 0.5))
}


@pytest.fixture
def config() -> PipelineConfig:
    return load_as(PipelineConfig, TINY / "train-tiny.toml")


def test_the_last_line_has_the_accuracy_of_the_four_stages() -> None:
    line = last_line(Path("tiny/train-tiny.toml"), RESULTS)
    assert line == "train-tiny: base 30.0% zero 31.4% beta 40.0% papo 50.0%"


@pytest.mark.parametrize(("margin", "held"), [(5.0, True), (9.99, True), (10.01, False)])
def test_papo_has_to_be_above_beta_by_the_margin(margin: float, held: bool) -> None:
    assert meets_margin(RESULTS, margin) is held


def test_the_table_states_the_noise(config: PipelineConfig) -> None:
    # Two tasks with a standard error of 3 points each: 2.1 for their mean, 3.0 for a difference of two means.
    assert "papo is +10.0 points from beta, standard error 3.0" in table(RESULTS, config)


def test_papo_is_compared_with_sequential_reinforcement_learning_where_that_was_measured(
    config: PipelineConfig,
) -> None:
    whole = {**RESULTS, "sequential-rl": {"gcd": _measured(0.6), "lcm": _measured(0.45)}}
    assert "papo is -2.5 points from sequential-rl, standard error 3.0" in table(whole, config)
    assert "sequential-rl" not in table(RESULTS, config)


def test_a_task_without_verdicts_counts_in_no_mean(config: PipelineConfig) -> None:
    """A machine without a sandbox judges no programs, which says nothing of the model."""
    unjudged = {stage: {**tasks, "programming": _measured(None)} for stage, tasks in RESULTS.items()}
    assert last_line(Path("train-tiny.toml"), unjudged) == last_line(Path("train-tiny.toml"), RESULTS)
    assert meets_margin(unjudged, 9.9)
    text = table(unjudged, config)
    assert "mean of 2 tasks" in text
    (line, *_) = (line for line in text.splitlines() if "programming" in line)
    assert line.split()[2] == "-"
    assert line.endswith(" 800")
    partly = {**RESULTS, "beta": {**RESULTS["beta"], "gcd": _measured(None)}}
    assert "mean of 1 tasks" in table(partly, config)
    with pytest.raises(NothingJudgedError, match="no task has verdicts for every model"):
        table({stage: {"programming": _measured(None)} for stage in RESULTS}, config)


def test_a_stopped_curriculum_goes_on_where_it_was(config: PipelineConfig, tmp_path: Path) -> None:
    trained: list[str] = []
    stop_at = {"zero"}

    class Short(Pipeline):
        """Stages that train nothing; what is tested is which of them are begun."""

        def stages(self) -> Iterator[Stage]:
            for name in ("base", "zero", "beta"):
                yield Stage(name, Mode.SEQUENTIAL, self._fake)

        def _fake(self, folder: Path) -> bool:
            folder.mkdir(parents=True, exist_ok=True)
            trained.append(folder.name)
            return folder.name not in stop_at

        async def _measured(self, stage: Stage) -> dict[str, Measured] | None:
            return {"gcd": _measured(0.5)}

    run = Short(config, TINY, tmp_path, torch.device("cpu"), Deadline(), lambda entry: None)
    assert run.run() is None
    stop_at.clear()
    assert run.run() == {name: {"gcd": _measured(0.5)} for name in ("base", "zero", "beta")}
    assert trained == ["base", "zero", "zero", "beta"]


def test_some_legs_alone_can_be_run(config: PipelineConfig, tmp_path: Path) -> None:
    begun: list[str] = []

    class Short(Pipeline):
        def stages(self) -> Iterator[Stage]:
            for name in ("base", "zero", "beta"):
                yield Stage(name, Mode.SEQUENTIAL, lambda folder: begun.append(folder.name) is None)

        async def _measured(self, stage: Stage) -> dict[str, Measured] | None:
            return {}

    run = Short(config, TINY, tmp_path, torch.device("cpu"), Deadline(), lambda entry: None)
    for name in ("base", "zero", "beta"):
        (tmp_path / name).mkdir()
    assert run.run(("zero",)) == {"zero": {}}
    assert begun == ["zero"]
    assert list(run.run() or {}) == ["base", "zero", "beta"]
    assert begun == ["zero", "base", "beta"]
    with pytest.raises(ConfigError, match=r"no stage 'gamma'; there are: base, zero, beta"):
        run.run(("zero", "gamma"))


@pytest.mark.parametrize(
    ("stage", "lacks"), [("zero", "base"), ("beta", "zero"), ("papo", "beta"), ("sequential-sft", "beta")]
)
def test_a_leg_says_what_has_to_be_trained_before_it(
    config: PipelineConfig, tmp_path: Path, stage: str, lacks: str
) -> None:
    whole = replace(config, baselines=True)
    run = Pipeline(whole, TINY, tmp_path, torch.device("cpu"), Deadline(), lambda entry: None)
    with pytest.raises(
        ConfigError, match=rf"{lacks} is not trained in .*; run the curriculum with --stages {lacks} first"
    ):
        run.run((stage,))


def test_the_baselines_differ_from_the_stages_in_their_mode_alone(config: PipelineConfig, tmp_path: Path) -> None:
    whole = replace(config, baselines=True)
    run = Pipeline(whole, TINY, tmp_path, torch.device("cpu"), Deadline(), lambda entry: None)
    assert [(stage.name, stage.mode.value) for stage in run.stages()] == [
        ("base", "sequential"),
        ("zero", "sequential"),
        ("beta", "parallel"),
        ("papo", "parallel"),
        ("sequential-sft", "sequential"),
        ("sequential-rl", "sequential"),
    ]


def test_a_curriculum_begins_from_a_recipe_or_from_a_model(config: PipelineConfig) -> None:
    with pytest.raises(ConfigError, match="either base and base_steps, or base_model"):
        replace(config, base_model="somewhere")
    with pytest.raises(ConfigError, match="either base and base_steps, or base_model"):
        replace(config, base_steps=0)


class FakeCollector:
    """Stands in for engine and verifiers: what is tested is what is asked, and when."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.vocabulary, self.engine = codec.vocabulary, SimpleNamespace(tokenizer=codec.tokenizer)
        self.asked: list[tuple[tuple[str, ...], int, int]] = []

    async def collect(self, problems: Any, samples: int, seed: str, first: int) -> list[list[JudgedRollout]]:
        assert seed == "measure/7"
        self.asked.append((tuple(dict.fromkeys(one.task for one in problems)), len(problems), first))
        fates = {"gcd": Status.PASS, "programming": Status.ERROR}
        return [[_attempt(self.codec, status=fates.get(one.task, Status.FAIL))] * samples for one in problems]


def test_measuring_goes_on_where_it_was_and_asks_for_some_tasks_at_once(
    config: PipelineConfig, codec: Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = FakeCollector(codec)
    decoded: set[tuple[int, bool]] = set()

    @asynccontextmanager
    async def opened(*arguments: Any) -> AsyncIterator[FakeCollector]:
        *_, limits, _, constrained = arguments
        decoded.add((limits.grammar.max_plans, constrained))
        yield collector

    class Hasty(Deadline):
        """Over after one look in each part."""

        def passed(self) -> bool:
            return len(collector.asked) > len(done)

    says = [Status.ERROR]

    class Sandbox:
        """Stands in for verifiers of a machine without a sandbox, and later of one that has it."""

        async def verify(self, *_: Any) -> Verdict:
            return Verdict(says[-1], 1.0, "program")

    @asynccontextmanager
    async def sandbox(*_: Any) -> AsyncIterator[Sandbox]:
        yield Sandbox()

    class Measuring(Pipeline):
        def stages(self) -> Iterator[Stage]:
            for name in ("base", "papo"):
                yield Stage(name, Mode.SEQUENTIAL, self._nothing)

        def _nothing(self, folder: Path) -> bool:
            (folder / "model").mkdir(parents=True, exist_ok=True)
            if folder.name == "papo":
                DecodingDefaults(constrained=True, max_plans=4).save(folder / "model")
            return True

    monkeypatch.setattr(curriculum, "collector_for", opened)
    monkeypatch.setattr(curriculum, "judging", sandbox)
    monkeypatch.setattr(curriculum, "load_network", lambda *_: None)
    monkeypatch.setattr(curriculum, "load_tokenizer", lambda *_: None)
    tasks = ("chain_sum", "gcd", "lcm", "products", "programming")
    evaluation = replace(config.evaluation, tasks=tasks, problems=2, samples=2)
    said: list[dict[str, Any]] = []
    run = Measuring(replace(config, evaluation=evaluation), TINY, tmp_path, torch.device("cpu"), Hasty(), said.append)
    done: list[object] = []
    results = None
    while results is None:
        assert len(done) < 10
        results = run.run()
        done = list(collector.asked)
    together = [(("chain_sum", "gcd", "lcm"), 6, 0), (("products", "programming"), 4, 6)]
    assert collector.asked == 2 * together
    assert decoded == {(8, False), (4, True)}, "each model as its directory says"
    assert [results["papo"][name].accuracy for name in tasks] == [0.0, 1.0, 0.0, 0.0, None]
    assert {"note": "papo: gcd measured, accuracy 1.0"} in said
    assert [path.name for path in sorted(tmp_path.glob("papo/undecided*"))] == ["undecided-programming.json"]
    says.append(Status.PASS)
    assert (run.run() or {})["papo"]["programming"].accuracy == 1.0
    assert not list(tmp_path.glob("*/undecided*"))
    results = run.run()
    assert results is not None
    assert results["base"]["programming"].undecided == 0
    with pytest.raises(ConfigError, match="other settings in evaluation"):
        replace(run, config=config).run()
    assert replace(run, config=replace(run.config, margin=50.0)).run() == results
