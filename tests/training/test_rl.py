from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from espalier.runtime.constraint import Constraint
from espalier.runtime.defaults import DecodingDefaults
from espalier.runtime.engine import EngineError, Finished, FinishReason, Limits, Mode, Usage
from espalier.runtime.grammar import GrammarLimits
from espalier.training import loop
from espalier.training.config import (
    ConfigError,
    HeldOutConfig,
    LoraConfig,
    ObjectiveConfig,
    ProblemsConfig,
    RlConfig,
    RolloutConfig,
    TrainerConfig,
)
from espalier.training.export import export
from espalier.training.rl import metrics, papo, zero
from espalier.training.rl import train as rl
from espalier.training.rl.batch import example_of, micro_batches, usable_groups
from espalier.training.rl.judged import JudgedRollout, Rejoin, StaleRolloutError
from espalier.training.rl.learner import Learner
from espalier.training.rl.objective import Papo
from espalier.training.rl.reward import Reward, RolloutStatus, reward
from espalier.training.rl.rollout import Collector
from espalier.training.rl.rollout_engine import served_copy
from espalier.training.rl.sampler import BatchSampler, RolloutBatch
from espalier.training.run.checkpoint import Progress
from espalier.training.run.deadline import Deadline
from espalier.training.run.distributed import ALONE
from espalier.training.run.errors import MismatchError, NotFiniteError
from espalier.training.trainer import Trainer
from espalier.verifiers.verdict import Evidence, Status, Verdict
from recipes.seedling.network import build
from recipes.seedling.settings import BaseConfig
from tests.training.conftest import TOKENIZER
from tests.training.test_rollout import FakeJudge, collecting, network, problems

__all__ = ["network"]

TRAINER = TrainerConfig(sequence_length=256, learning_rate=1e-3, micro_batch_size=2)

CONFIG = RlConfig(
    seed=1,
    steps=3,
    problems=ProblemsConfig(1, tasks={"chain_sum": 1.0}),
    rollout=RolloutConfig(Mode.SEQUENTIAL, prompts=2, samples=3, max_tokens=12),
    trainer=TRAINER,
)


async def _attempts(network: Qwen3ForCausalLM, prompts: int = 3, samples: int = 3) -> list[list[JudgedRollout]]:
    async with collecting(network, limits=Limits(max_tokens=20)) as collector:
        return await collector.collect(problems(prompts), samples, "s")


def _worth(one: JudgedRollout, status: RolloutStatus) -> JudgedRollout:
    return replace(one, reward=reward(status))


def _judged(groups: list[list[JudgedRollout]]) -> list[list[JudgedRollout]]:
    """Every other response passes."""
    statuses = (RolloutStatus.PASSED, RolloutStatus.FAILED)
    return [[_worth(one, statuses[i % 2]) for i, one in enumerate(group)] for group in groups]


async def test_the_metrics_of_a_step_tell_the_accuracy_of_each_task(network: Qwen3ForCausalLM, tmp_path: Path) -> None:
    first, second = await _attempts(network, prompts=2, samples=4)
    first = [replace(one, problem=replace(one.problem, task="chain_sum")) for one in first]
    second = [replace(one, problem=replace(one.problem, task="lcm")) for one in second]
    judged = [one for group in _judged([first]) for one in group] + [
        _worth(one, RolloutStatus.PASSED) for one in second
    ]
    judged[-1] = _worth(second[-1], RolloutStatus.UNKNOWN)
    judged[0] = replace(judged[0], rejoins=(Rejoin(RolloutStatus.ENGINE_ERROR, Usage(), refused=True),))
    config = replace(CONFIG, problems=ProblemsConfig(1, tasks={"chain_sum": 1.0, "lcm": 1.0, "gcd": 1.0}))
    learned = _learner(network).learn([judged[:4]], 0, tmp_path)
    assert learned is not None
    told = metrics.entry(config, RolloutBatch(tuple(judged), [], Counter()), learned, metrics.Seconds(1, 1, 1), ALONE)
    assert told["accuracy_by_task"] == {"chain_sum": 0.5, "lcm": 1.0}, "a task without verdicts has none"
    assert told["accuracy"] == pytest.approx(5 / 7, abs=1e-4)
    assert told["rejoins_refused"] == 1


@pytest.mark.parametrize(
    ("rejoin", "verdicts", "refused"),
    [
        (Rejoin(RolloutStatus.PASSED, Usage()), 1, 0),
        (Rejoin(RolloutStatus.FAILED, Usage()), 1, 0),
        (Rejoin(RolloutStatus.UNKNOWN, Usage()), 1, 0),
        (Rejoin(RolloutStatus.VERIFIER_ERROR, Usage()), 1, 0),
        (Rejoin(RolloutStatus.TRUNCATED, Usage()), 0, 0),
        (Rejoin(RolloutStatus.MALFORMED, Usage()), 0, 0),
        (Rejoin(RolloutStatus.ENGINE_ERROR, Usage()), 0, 0),
        (Rejoin(RolloutStatus.ENGINE_ERROR, Usage(), refused=True), 0, 1),
    ],
)
async def test_only_re_joins_with_a_conclusion_count_as_verdicts_and_refused_ones_are_told(
    network: Qwen3ForCausalLM, rejoin: Rejoin, verdicts: int, refused: int
) -> None:
    ((one,),) = await _attempts(network, prompts=1, samples=1)
    one = replace(one, verdict=None, branches=(), rejoins=(rejoin,))
    total = metrics.totals(RolloutBatch((one,), [], Counter()), (), ALONE)
    assert (total["verdicts"], total["rejoins_refused"]) == (verdicts, refused)


def _learner(network: Qwen3ForCausalLM, **settings: Any) -> Learner:
    trainer = Trainer.of(network, None, replace(TRAINER, **settings), ALONE)
    learner = Learner(trainer, Papo(), 0.1)
    learner.version = 0
    return learner


async def test_the_trainer_sees_the_log_probabilities_that_the_engine_reported(
    network: Qwen3ForCausalLM, tmp_path: Path
) -> None:
    groups = _judged(await _attempts(network))
    learned = _learner(network).learn(groups, 0, tmp_path)
    assert learned is not None
    assert learned.max_logprob_diff < 1e-4
    assert abs(learned.mismatch_kl) < 1e-6
    assert learned.trained_tokens == sum(one.finished.usage.sampled_tokens for group in groups for one in group)


async def test_the_trainer_sees_the_log_probabilities_of_constrained_responses_under_the_same_mask(
    network: Qwen3ForCausalLM, tmp_path: Path
) -> None:
    """And without the mask it sees others, so the comparison can fail."""
    limits = Limits(max_tokens=80, max_branch_tokens=25, grammar=GrammarLimits(max_plans=3))
    with torch.no_grad():  # tags are likely, so that responses have blocks and masks have something to forbid
        network.lm_head.weight[2:11] *= 40
    async with collecting(network, limits=limits) as free:
        collector = replace(free, constrained=True)
        groups = _judged(await collector.collect(problems(3), 4, "s"))
        constraint = Constraint.of(collector.vocabulary, limits.grammar)
    ends = [one for group in groups for one in group]
    assert {one.finished.reason for one in ends} <= {FinishReason.STOP, FinishReason.LENGTH}
    assert sum(one.forked for one in ends) > 3
    start = {name: p.detach().clone() for name, p in network.named_parameters()}
    learner = _learner(network)
    learner.constraint = constraint
    learned = learner.learn(groups, 0, tmp_path)
    assert learned is not None
    assert learned.max_logprob_diff < 1e-4
    assert abs(learned.mismatch_kl) < 1e-6
    assert learned.trained_tokens == sum(one.finished.usage.sampled_tokens for one in ends)
    network.load_state_dict(start, strict=False)
    with pytest.raises(MismatchError):
        replace(_learner(network), version=0, max_mismatch_kl=1e-4).learn(groups, 0, tmp_path)


@pytest.mark.parametrize("depth", [1, 2])
async def test_constrained_steps_hold_blocks_up_to_the_depth_of_the_rollouts(
    network: Qwen3ForCausalLM, depth: int
) -> None:
    with torch.no_grad():  # tags are likely
        network.lm_head.weight[2:11] *= 40
    rollout = RolloutConfig(
        Mode.PARALLEL, prompts=2, samples=4, max_tokens=80, max_branch_tokens=25, max_plans=3, max_depth=depth
    )
    async with collecting(network, limits=rollout.limits) as free:
        groups = _judged(await replace(free, constrained=True).collect(problems(6), 4, "s"))
    assert {len(path) for group in groups for one in group for path in one.rollout.paths} == set(range(depth + 1))


async def test_micro_batches_give_the_step_of_the_whole_batch(network: Qwen3ForCausalLM, tmp_path: Path) -> None:
    groups = _judged(await _attempts(network))
    start = {name: p.detach().clone() for name, p in network.named_parameters()}
    found = []
    for micro_batch_size, sequence_length in ((16, 512), (1, 96)):
        network.load_state_dict(start, strict=False)
        learned = _learner(network, micro_batch_size=micro_batch_size, sequence_length=sequence_length).learn(
            groups, 0, tmp_path
        )
        assert learned is not None
        found.append((learned, {name: p.detach().clone() for name, p in network.named_parameters()}))
    (whole, after_whole), (small, after_small) = found
    assert whole.loss == pytest.approx(small.loss, abs=1e-6)
    assert whole.grad_norm == pytest.approx(small.grad_norm, rel=1e-4)
    # Adam's first step is the sign of the gradient: compare where the gradient is not noise.
    assert all(((after_whole[name] - after_small[name]).abs() < 1e-4).float().mean() > 0.99 for name in start)


async def test_on_a_gpu_all_micro_batches_have_one_shape_and_padding_changes_no_step(
    network: Qwen3ForCausalLM, tmp_path: Path
) -> None:
    """Every shape of its own would compile kernels of its own, minutes in a run of minutes."""
    groups = _judged(await _attempts(network))
    start = {name: p.detach().clone() for name, p in network.named_parameters()}
    found = []
    for one_shape in (False, True):
        network.load_state_dict(start, strict=False)
        shapes = set()
        learner = _learner(network, micro_batch_size=4, sequence_length=96)
        learner.trainer.policy.register_forward_pre_hook(lambda _, given, seen=shapes: seen.add(given[0].tokens.shape))  # type: ignore[misc]
        with mock.patch.object(Learner, "_one_shape", one_shape):
            learned = learner.learn(groups, 0, tmp_path)
        assert learned is not None
        found.append((shapes, learned))
    (ragged, expected), (even, padded) = found
    assert len(ragged) > 1
    assert even == {(4, 96)}
    assert padded.trained_tokens == expected.trained_tokens
    assert padded.loss == pytest.approx(expected.loss, abs=1e-6)
    assert padded.grad_norm == pytest.approx(expected.grad_norm, rel=1e-4)


async def test_a_batch_trains_one_step_only(network: Qwen3ForCausalLM, tmp_path: Path) -> None:
    groups = _judged(await _attempts(network))
    learner = _learner(network)
    assert learner.learn(groups, 0, tmp_path) is not None
    with pytest.raises(StaleRolloutError, match="one optimiser step for each batch"):
        learner.learn(groups, 1, tmp_path)
    learner.version = 1  # published; the rollouts are still those of version 0
    with pytest.raises(StaleRolloutError, match="made by weights 0"):
        learner.learn(groups, 1, tmp_path)


async def test_a_loss_that_is_no_number_stops_with_the_batch_saved(network: Qwen3ForCausalLM, tmp_path: Path) -> None:
    groups = _judged(await _attempts(network))
    groups[0][0] = replace(groups[0][0], reward=Reward(RolloutStatus.PASSED, float("nan"), trained=True))
    before = [p.detach().clone() for p in network.parameters()]
    with pytest.raises(NotFiniteError, match=r"step 5: the loss is nan .* the batch is in .*not-finite-5-0"):
        _learner(network).learn(groups, 4, tmp_path)
    saved = load_file(tmp_path / "not-finite-5-0.safetensors")
    assert saved["0.tokens"].shape == saved["0.advantages"].shape
    assert all(torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))


async def test_masked_and_malformed_responses_train_nothing(network: Qwen3ForCausalLM, tmp_path: Path) -> None:
    ((first, second, third),) = await _attempts(network, 1, 3)
    for status, tokens in (
        (RolloutStatus.VERIFIER_ERROR, 40),
        (RolloutStatus.UNKNOWN, 40),
        (RolloutStatus.MALFORMED, 40),
        (RolloutStatus.TRUNCATED, 60),
    ):
        group = [
            _worth(first, RolloutStatus.PASSED),
            _worth(second, RolloutStatus.FAILED),
            _worth(third, status),
        ]
        kept, _ = usable_groups([group], only_informative=False)
        learned = _learner(network).learn(kept, 0, tmp_path)
        assert learned is not None
        assert learned.trained_tokens == tokens


async def test_groups_that_cannot_be_compared_are_dropped_and_counted(network: Qwen3ForCausalLM) -> None:
    (group,) = await _attempts(network, 1, 3)

    def judged(*statuses: RolloutStatus) -> list[JudgedRollout]:
        return [_worth(one, status) for one, status in zip(group, statuses, strict=True)]

    lone = judged(RolloutStatus.PASSED, RolloutStatus.VERIFIER_ERROR, RolloutStatus.UNKNOWN)
    equal = judged(RolloutStatus.FAILED, RolloutStatus.FAILED, RolloutStatus.UNKNOWN)
    mixed = judged(RolloutStatus.PASSED, RolloutStatus.FAILED, RolloutStatus.UNKNOWN)
    kept, dropped = usable_groups([lone, equal, mixed], only_informative=False)
    assert [len(one) for one in kept] == [2, 2]
    assert dropped == {"too_few_valid": 1}
    kept, dropped = usable_groups([lone, equal, mixed], only_informative=True)
    assert len(kept) == 1
    assert dropped == {"too_few_valid": 1, "uninformative": 1}


async def test_a_response_that_fits_no_row_is_named(network: Qwen3ForCausalLM) -> None:
    ((attempt,),) = await _attempts(network, 1, 1)
    with pytest.raises(ValueError, match=r"trainer.sequence_length is too small"):
        micro_batches([example_of(attempt, 1.0)], replace(TRAINER, sequence_length=16), torch.device("cpu"))


@pytest.fixture
def model_folder(network: Qwen3ForCausalLM, tmp_path: Path) -> Path:
    export(tmp_path / "initial", network, PreTrainedTokenizerFast.from_pretrained(TOKENIZER))
    return tmp_path / "initial"


def _by_parity(_: Collector, last: Finished, *__: Any) -> Reward:
    """Stands in for verdicts: an untrained model answers nothing, and equal rewards would train nothing."""
    return reward(RolloutStatus.PASSED if sum(last.rollout.tokens) % 2 else RolloutStatus.FAILED)


def _train(config: RlConfig, model: Path, out: Path, **options: Any) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = []
    with mock.patch.object(Collector, "_reward", _by_parity):
        rl.train(config, papo.method(config), model, out, shown.append, **options)
    return shown


def test_a_run_leaves_metrics_settings_and_a_model(model_folder: Path, tmp_path: Path) -> None:
    shown = _train(CONFIG, model_folder, tmp_path / "run")
    assert [entry["step"] for entry in shown] == [1, 2, 3]
    assert [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()] == shown
    assert shown[0]["truncated"] + shown[0]["failed"] + shown[0]["passed"] + shown[0]["unknown"] == 6
    assert json.loads((tmp_path / "run" / "config.json").read_text())["rollout"]["prompts"] == 2
    Qwen3ForCausalLM.from_pretrained(tmp_path / "run" / "model")


@pytest.mark.parametrize("constrained", [False, True])
def test_rollouts_of_a_run_keep_to_the_grammar_where_they_are_constrained(
    model_folder: Path, tmp_path: Path, constrained: bool
) -> None:
    rollout = RolloutConfig(Mode.PARALLEL, prompts=2, samples=4, max_tokens=60, max_plans=3, constrained=constrained)
    reasons, by_parity = Counter[FinishReason](), _by_parity

    def counted(collector: Collector, last: Finished, *rest: Any) -> Reward:
        reasons[last.reason] += 1
        return by_parity(collector, last, *rest)

    with mock.patch(f"{__name__}._by_parity", counted):
        shown = _train(replace(CONFIG, rollout=rollout), model_folder, tmp_path / "run")
    assert (reasons[FinishReason.MALFORMED] == 0) == constrained
    assert all(abs(entry["mismatch_kl"]) < 1e-6 for entry in shown)


@pytest.mark.parametrize("ahead", [False, True])
def test_a_batch_is_made_by_the_present_weights_or_ahead_by_those_of_one_step_before(
    model_folder: Path, tmp_path: Path, ahead: bool
) -> None:
    """And none is half done when the weights change."""
    made: list[int] = []
    under_way: list[int] = []
    learn, collect, sync = Learner.learn, Collector.collect, rl.sync_weights

    def seen(learner: Learner, groups: Sequence[Sequence[JudgedRollout]], *rest: Any) -> Any:
        made.append(one_value(one.rollout.weight_version for group in groups for one in group))
        return learn(learner, groups, *rest)

    async def counted(*given: Any, **options: Any) -> Any:
        under_way.append(1)
        try:
            return await collect(*given, **options)
        finally:
            under_way.pop()

    async def published(*given: Any) -> int:
        assert not under_way
        return await sync(*given)

    with (
        mock.patch.object(Learner, "learn", seen),
        mock.patch.object(Collector, "collect", counted),
        mock.patch.object(rl, "sync_weights", published),
    ):
        config = replace(_ahead(CONFIG) if ahead else CONFIG, steps=4)
        shown = _train(config, model_folder, tmp_path / "run")
    assert [entry["step"] for entry in shown] == [1, 2, 3, 4]
    assert [version - made[0] for version in made] == ([0, 0, 1, 2] if ahead else [0, 1, 2, 3])


@pytest.mark.parametrize("fault", ["learning", "sampling"])
def test_an_error_beside_the_other_work_ends_the_run(model_folder: Path, tmp_path: Path, fault: str) -> None:
    config = _ahead(CONFIG)
    begun: list[int] = []
    draw = BatchSampler.__call__

    async def drawn(sampler: BatchSampler, number: int) -> RolloutBatch:
        begun.append(number)
        if number and fault == "sampling":
            raise EngineError("gone")
        if number:
            await asyncio.Event().wait()  # until it is given up
        return await draw(sampler, number)

    with ExitStack() as patches:
        patches.enter_context(mock.patch.object(BatchSampler, "__call__", drawn))
        if fault == "learning":
            patches.enter_context(mock.patch.object(Learner, "learn", side_effect=NotFiniteError("nan")))
        with pytest.raises(NotFiniteError if fault == "learning" else EngineError):
            _train(config, model_folder, tmp_path / "run")
    assert begun == [0, 1]
    steps = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert len(steps) == (fault == "sampling")  # the step that was taken is on record


def test_batches_of_older_weights_need_importance_weights() -> None:
    config = replace(_ahead(CONFIG), objective=ObjectiveConfig())
    with pytest.raises(ConfigError, match=r"rollout\.ahead: .* set objective\.max_importance_weight"):
        papo.method(config)
    zero.method(config)  # its ratio is that to the policy that sampled


def _ahead(config: RlConfig) -> RlConfig:
    objective = replace(config.objective, max_importance_weight=2.0)
    return replace(config, rollout=replace(config.rollout, ahead=True), objective=objective)


def one_value(values: Iterable[int]) -> int:
    """Of values that are all the same."""
    (value,) = set(values)
    return value


def test_a_run_that_begins_anew_forgets_the_checkpoints_of_the_last_one(model_folder: Path, tmp_path: Path) -> None:
    whole = _train(replace(CONFIG, steps=2), model_folder, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt), mock.patch.object(Learner, "learn", side_effect=KeyboardInterrupt):
        _train(replace(CONFIG, steps=2), model_folder, tmp_path / "run")
    again = _train(replace(CONFIG, steps=2), model_folder, tmp_path / "run", resume=True)
    assert _untimed(again) == _untimed(whole)


def test_a_mistake_in_what_a_run_begins_from_costs_no_checkpoint(model_folder: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, steps=1)
    _train(config, model_folder, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    other = replace(config, seed=7, service=replace(config.service, engine="nonsense"))
    for model, asked, said in ((tmp_path / "nowhere", config, "no model in"), (model_folder, other, "service.engine")):
        with pytest.raises(ConfigError, match=said):
            _train(asked, model, tmp_path / "run")
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_a_run_that_begins_anew_keeps_no_model_of_the_last_one(model_folder: Path, tmp_path: Path) -> None:
    """A better one of earlier settings would stay the best, and checkpoints of more steps would outlive its own."""
    out = tmp_path / "run"
    watched = HeldOutConfig(every=2, problems=2, samples=1)
    config = replace(CONFIG, steps=1, held_out=watched, keep_checkpoints=1, export_checkpoints=True)
    for folder in ("steps/000500/model", "best/model"):
        (out / folder).mkdir(parents=True)
    (out / "best" / "held-out.json").write_text('{"step": 500, "accuracy": 1.0}')
    _train(config, model_folder, out)
    assert [path.name for path in (out / "steps").iterdir()] == ["000001"]
    assert json.loads((out / "best" / "held-out.json").read_text())["step"] < 2


def test_a_run_that_is_out_of_time_stops_with_a_checkpoint_and_goes_on(model_folder: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, checkpoint_every=100)
    whole = _train(config, model_folder, tmp_path / "whole")
    first = _train(config, model_folder, tmp_path / "parts", deadline=Deadline.after(0))
    rest = _train(config, model_folder, tmp_path / "parts", resume=True)
    assert len(first) == 1
    assert _untimed(first + rest) == _untimed(whole)


def test_a_run_that_dies_before_its_checkpoint_measures_the_same_again(model_folder: Path, tmp_path: Path) -> None:
    """And keeps the same best model."""
    config = replace(CONFIG, checkpoint_every=1, held_out=HeldOutConfig(every=2, problems=3, samples=2))
    _train(config, model_folder, tmp_path / "whole")
    real = loop.save

    def dying(folder: Path, model: Any, optimizers: Any, progress: Progress, *rest: Any) -> None:
        if progress.step == 2:
            raise KeyboardInterrupt
        real(folder, model, optimizers, progress, *rest)

    with pytest.raises(KeyboardInterrupt), mock.patch.object(loop, "save", dying):
        _train(config, model_folder, tmp_path / "parts")
    _train(config, model_folder, tmp_path / "parts", resume=True)
    whole, parts = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").open()] for name in ("whole", "parts")
    )
    assert _untimed(parts) == _untimed(whole)
    kept = [(tmp_path / name / "best" / "held-out.json").read_text() for name in ("whole", "parts")]
    assert kept[0] == kept[1]


def test_other_settings_cannot_be_resumed(model_folder: Path, tmp_path: Path) -> None:
    _train(replace(CONFIG, steps=1), model_folder, tmp_path / "run")
    with pytest.raises(ConfigError, match="other settings in seed"):
        _train(replace(CONFIG, seed=2), model_folder, tmp_path / "run", resume=True)


_VICTIM = """
import sys
from pathlib import Path
from tests.training import test_rl
import torch
torch.set_num_threads(1)
test_rl._train(test_rl.CONFIG_LONG, Path(sys.argv[1]), Path(sys.argv[2]), resume=True)
"""

CONFIG_LONG = replace(CONFIG, steps=6)

TIMED = ("seconds", "tokens_per_second", "done")


def _untimed(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in one.items() if not name.startswith(TIMED)} for one in entries]


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(model_folder: Path, tmp_path: Path) -> None:
    whole = _train(CONFIG_LONG, model_folder, tmp_path / "whole")

    out = tmp_path / "killed"
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", _VICTIM, str(model_folder), str(out)]
    victim = subprocess.Popen(command, cwd=root, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)
    metrics = out / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and len(metrics.read_text().splitlines()) >= 2):
        assert victim.poll() is None, victim.stderr.read() if victim.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.002)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()

    _train(CONFIG_LONG, model_folder, out, resume=True)
    entries = [json.loads(line) for line in metrics.open()]
    assert _untimed(entries) == _untimed(whole)
    weights, expected = (load_file(folder / "model" / "model.safetensors") for folder in (out, tmp_path / "whole"))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def _as_if_stopped(real: Any) -> Any:
    async def finished(self: Any, request: Any) -> Any:
        return replace(await real(self, request), reason=FinishReason.STOP)

    return finished


@pytest.mark.parametrize("status", [Status.ERROR, Status.UNKNOWN])
def test_a_batch_without_verdicts_takes_no_step_and_says_why(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: Status
) -> None:
    from espalier.training.rl import rollout
    from espalier.training.rl import rollout_engine as serving

    verdict = Verdict(status, 0.0, "fake", (Evidence("exception", "the sandbox is broken"),))
    monkeypatch.setattr(serving, "open_verifiers", lambda *_: FakeJudge(verdict))
    # An untrained model does not end its turn: let every response be judged as if it had.
    monkeypatch.setattr(rollout.Collector, "_finished", _as_if_stopped(rollout.Collector._finished))
    shown: list[dict[str, Any]] = []
    fate = {Status.ERROR: "verifier_error", Status.UNKNOWN: "unknown"}[status]
    said = rf"3 batches in a row had nothing to train on \(6 {fate}\); the sandbox is broken"
    with pytest.raises(rl.NoTrainableDataError, match=said):
        rl.train(CONFIG, papo.method(CONFIG), model_folder, tmp_path / "run", shown.append)
    assert [entry["note"].partition(":")[0] for entry in shown] == ["no step"] * 3
    assert not (tmp_path / "run" / "model").exists()
    assert not (tmp_path / "run" / "checkpoint").exists()


def test_stage_zero_decodes_sequentially() -> None:
    with pytest.raises(ConfigError, match='write mode = "sequential"'):
        zero.method(replace(CONFIG, rollout=replace(CONFIG.rollout, mode=Mode.PARALLEL)))


def test_the_served_copy_has_weights_of_its_own(tiny: BaseConfig) -> None:
    """Under an adapter the engine has merged weights, and the network that is trained has not."""
    network = build(tiny.model, PreTrainedTokenizerFast.from_pretrained(TOKENIZER))
    served = served_copy(network)
    assert served.lm_head.weight is served.model.embed_tokens.weight
    assert served.lm_head.weight is not network.lm_head.weight
    assert served.config is not network.config


def test_a_run_can_be_watched(model_folder: Path, tmp_path: Path) -> None:
    """Rollouts, held-out problems before the first step and every second, the best model, checkpoints with models."""
    config = replace(
        CONFIG,
        log_rollouts=0.5,
        held_out=HeldOutConfig(every=2, problems=3, samples=2),
        keep_checkpoints=2,
        export_checkpoints=True,
    )
    out = tmp_path / "run"
    _train(config, model_folder, out)
    entries = [json.loads(line) for line in (out / "metrics.jsonl").open()]
    measured = [entry for entry in entries if "held_out" in entry]
    assert [entry["step"] for entry in measured] == [0, 2, 3]
    assert {"accuracy", "pass_at_2", "well_formed", "parallel"} <= measured[0]["held_out"].keys()
    lines = [json.loads(line) for line in (out / "rollouts.jsonl").open()]
    assert [line["step"] for line in lines] == [1] * 3 + [2] * 3 + [3] * 3, "one prompt of two, three responses"
    assert {line["status"] for line in lines} <= {status.value for status in RolloutStatus}
    assert all(isinstance(line["response"], str) and line["prompt"] for line in lines)
    assert len(list((out / "checkpoint").iterdir())) == 2
    assert [path.name for path in sorted((out / "steps").iterdir())] == ["000002", "000003"]
    Qwen3ForCausalLM.from_pretrained(out / "steps" / "000003" / "model")
    Qwen3ForCausalLM.from_pretrained(out / "best" / "model")
    assert json.loads((out / "best" / "held-out.json").read_text())["step"] in (0, 2, 3)


@pytest.mark.parametrize("mode", list(Mode))
def test_what_a_run_leaves_says_how_its_rollouts_were_decoded(model_folder: Path, tmp_path: Path, mode: Mode) -> None:
    """Each model and each adapter, and neither what an earlier run left nor what the model before was trained with."""
    limits = {"max_plans": 4, "max_depth": 1, "max_branch_tokens": 400}
    rollout = RolloutConfig(mode, 2, 3, 12, constrained=mode is Mode.PARALLEL, **limits)
    config = replace(
        CONFIG,
        steps=1,
        rollout=rollout,
        trainer=replace(TRAINER, lora=LoraConfig(rank=2, alpha=4)),
        held_out=HeldOutConfig(every=1, problems=2, samples=2),
        export_checkpoints=True,
    )
    out, earlier = tmp_path / "run", DecodingDefaults(max_plans=7)
    (out / "model").mkdir(parents=True)
    for folder in (out / "model", model_folder):
        earlier.save(folder)
    _train(config, model_folder, out)
    places = [out, out / "best", out / "steps" / "000001"]
    left = [DecodingDefaults.stored(place / kind) for place in places for kind in ("model", "adapter")]
    assert left == 6 * [DecodingDefaults(True, 4, 1, 400) if mode is Mode.PARALLEL else None]
    assert all((place / "adapter" / "adapter_config.json").exists() for place in places)


def test_a_mismatch_of_engine_and_trainer_stops_the_run(model_folder: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, objective=ObjectiveConfig(max_mismatch_kl=1e-20))
    with pytest.raises(MismatchError, match=r"step 1: KL\(engine \|\| trainer\) is .* do not compute the same model"):
        _train(config, model_folder, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoint").exists()
