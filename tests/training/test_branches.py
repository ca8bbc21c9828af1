"""Branches in training: what is counted of them, what a step learns from them, which settings go together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import Qwen3ForCausalLM

from espalier.runtime.engine import Mode
from espalier.training.config import ConfigError, CreditConfig, CreditKind, RlConfig, RolloutConfig
from espalier.training.rl import papo
from espalier.training.rl.branches import set_counts, set_metrics
from espalier.training.rl.credit import SampleCredit, SetCredit, ShorterPath, TokenKind
from espalier.training.rl.judged import JudgedBranch, JudgedRollout
from espalier.training.rl.learner import Learned, Learner
from espalier.training.rl.objective import Papo
from espalier.training.rl.reward import RolloutStatus, reward
from espalier.training.run.distributed import ALONE
from espalier.training.trainer import Trainer
from espalier.verifiers.verdict import Status, Verdict
from tests.training.test_rl import CONFIG, TRAINER
from tests.training.test_rollout import SEED, collecting, network, problems, scripted

__all__ = ["network"]

PASS, FAIL, UNKNOWN, ERROR = Status.PASS, Status.FAIL, Status.UNKNOWN, Status.ERROR


def judged(one: JudgedRollout, status: RolloutStatus, statuses: Sequence[Status]) -> JudgedRollout:
    """The response with these verdicts on its steps, in turn."""
    paths = list(dict.fromkeys(path for path in one.rollout.paths if path))
    branches = tuple(
        JudgedBranch(path, "4", Verdict(statuses[i % len(statuses)], 0.0, "fake")) for i, path in enumerate(paths)
    )
    return replace(one, reward=reward(status), branches=branches)


async def responses(network: Qwen3ForCausalLM, count: int) -> list[JudgedRollout]:
    """With blocks, whose tags a script writes."""
    async with collecting(network, sampler=scripted(1, count)) as collector:
        (group,) = await collector.collect(problems(1), count, SEED)
    return group


async def test_what_the_join_loses_and_rescues_is_counted_by_hand(network: Qwen3ForCausalLM) -> None:
    one, two, three, four, five = await responses(network, 5)
    counts = set_counts(
        [
            judged(one, RolloutStatus.FAILED, [PASS]),  # lost
            judged(two, RolloutStatus.PASSED, [FAIL]),  # rescued
            judged(three, RolloutStatus.PASSED, [PASS]),
            judged(four, RolloutStatus.VERIFIER_ERROR, [PASS]),  # no outcome: not counted
            judged(five, RolloutStatus.PASSED, [UNKNOWN, ERROR]),  # no verdict on a branch: not counted
        ]
    )
    sizes = [len({path for path in attempt.rollout.paths if path}) for attempt in (one, two, three)]
    assert counts["sets"] == 3
    assert counts["branches"] == sum(sizes)
    found = set_metrics(counts)
    assert found["branch_pass"] == pytest.approx((sizes[0] + sizes[2]) / sum(sizes), abs=1e-4)
    assert found["set_pass"] == found["join_pass"] == pytest.approx(2 / 3, abs=1e-4)
    assert found["join_lost"] == 0.5
    assert found["join_rescued"] == 1.0
    assert set_metrics(set_counts([])) == {}


def learn(network: Qwen3ForCausalLM, objective: Papo, group: Sequence[JudgedRollout], out: Path) -> Learned:
    trainer = Trainer.of(network, None, replace(TRAINER, sequence_length=1024), ALONE)
    learner = Learner(trainer, objective, 0.1)
    learner.version = 0
    learned = learner.learn([list(group)], 0, out)
    assert learned is not None
    return learned


async def test_tokens_of_a_branch_without_a_verdict_are_not_trained(network: Qwen3ForCausalLM, tmp_path: Path) -> None:
    one, two = await responses(network, 2)
    objective = Papo(credit=SetCredit())
    group = [judged(one, RolloutStatus.PASSED, [PASS]), judged(two, RolloutStatus.FAILED, [ERROR])]
    learned = learn(network, objective, group, tmp_path)
    rollout = two.rollout
    in_steps = sum(bool(path) and not forced for path, forced in zip(rollout.paths, rollout.forced, strict=True))
    assert in_steps
    assert learned.trained_tokens == one.finished.usage.sampled_tokens + two.finished.usage.sampled_tokens - in_steps


@pytest.mark.parametrize("balance", [False, True])
async def test_entropy_and_credit_are_told_by_kind_of_token(
    network: Qwen3ForCausalLM, tmp_path: Path, balance: bool
) -> None:
    one, two = await responses(network, 2)
    group = [judged(one, RolloutStatus.PASSED, [PASS, FAIL]), judged(two, RolloutStatus.FAILED, [FAIL])]
    learned = learn(network, Papo(credit=SetCredit(), balance_kinds=balance), group, tmp_path)
    names = {kind.name.lower() for kind in TokenKind}
    assert set(learned.entropy_by_kind) == set(learned.credit_by_kind) == names
    assert sum(learned.credit_by_kind.values()) == pytest.approx(1)
    assert all(0 < value < 10 for value in learned.entropy_by_kind.values())


def config(mode: Mode = Mode.PARALLEL, rejoins: int = 0, **credit: object) -> RlConfig:
    rollout = RolloutConfig(mode, prompts=2, samples=3, max_tokens=12, rejoins=rejoins)
    return replace(CONFIG, rollout=rollout, credit=CreditConfig(**credit))  # type: ignore[arg-type]


def test_settings_say_which_credit_papo_has() -> None:
    kind = CreditKind.SET
    assert papo.method(config(kind=kind, k=3, k_until=9)).objective.credit == SetCredit(3, 9)
    assert papo.method(config(Mode.SEQUENTIAL, kind=kind, k=4)).objective.credit == SampleCredit(4)
    shorter = papo.method(config(kind=kind, shorter=0.1, balance_kinds=True)).objective
    assert shorter.credit == ShorterPath(SetCredit(), 0.1)
    assert shorter.balance_kinds
    assert config(kind=kind).judges_branches
    assert not config().judges_branches
    assert not config(Mode.SEQUENTIAL, kind=kind, k=4).judges_branches


def test_settings_that_do_not_go_together_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"credit\.k: sequential rollouts"):
        papo.method(config(Mode.SEQUENTIAL, kind=CreditKind.SET))
    with pytest.raises(ConfigError, match=r"rollout\.rejoins: outcome credit"):
        config(rejoins=2)
    with pytest.raises(ConfigError, match="rejoins: sequential responses"):
        config(Mode.SEQUENTIAL, rejoins=2, kind=CreditKind.SET)
    with pytest.raises(ConfigError, match="k must be at least 0"):
        config(k=-1)
