"""Rewards for TRL and verl: 1.0 for PASS, 0.0 for FAIL; what has no verdict is no reward, never a 0."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from espalier.common.errors import FieldError, UnansweredError
from espalier.verifiers.check import Check, Claim
from espalier.verifiers.integrations.blocking import BlockingVerifiers, shared
from espalier.verifiers.integrations.truths import check_of, math_check, program_check
from espalier.verifiers.verdict import Status, Verdict

Completion = str | Sequence[Mapping[str, Any]]
"""Text, or the messages of a conversation, the last of which counts."""

RewardFunction = Callable[..., list[float | None]]

_REWARDS = {Status.PASS: 1.0, Status.FAIL: 0.0}


def reward_of(verdict: Verdict) -> float | None:
    """1.0 for PASS, 0.0 for FAIL, None for UNKNOWN and ERROR: nothing is learned from these."""
    return _REWARDS.get(verdict.status)


def sure_reward(verdict: Verdict) -> float:
    """1.0 for PASS, 0.0 for FAIL, for tools that know no reward that is left out.

    Raises:
        UnansweredError: There is no verdict.
    """
    reward = reward_of(verdict)
    if reward is None:
        said = "; ".join(one.detail for one in verdict.evidence) or verdict.decided_by
        raise UnansweredError(f"no verdict on a response ({verdict.status.value}): {said}")
    return reward


def math_reward(column: str = "answer", verifiers: Callable[[], BlockingVerifiers] = shared) -> RewardFunction:
    """A reward function of TRL's trainers that compares answers with a column of the dataset.

    Args:
        column: Holds the reference answers, or checks as `espalier verify` writes them (`relation:3*x+5=20`).
        verifiers: Gives the verifiers to ask.

    Returns:
        `(prompts, completions, **columns) -> rewards`; None, where there is no verdict, is masked by TRL.
    """
    return _reward_function("espalier_math_reward", column, math_check, verifiers)


def program_reward(column: str = "cases", verifiers: Callable[[], BlockingVerifiers] = shared) -> RewardFunction:
    """A reward function of TRL's trainers that runs programs in a sandbox on the cases in a column.

    Args:
        column: Holds JSON: a list of cases or a whole program check.
        verifiers: Gives the verifiers to ask.
    """
    return _reward_function("espalier_program_reward", column, program_check, verifiers)


def compute_score(
    data_source: str, solution_str: str, ground_truth: Any, extra_info: Mapping[str, Any] | None = None, **_: Any
) -> float:
    """verl's `custom_reward_function`: 1.0 for PASS, 0.0 for FAIL.

    Args:
        data_source: Not used: what `ground_truth` holds says how to judge.
        solution_str: The response.
        ground_truth: A reference answer, a check as text, or JSON with program cases.
        extra_info: Not used.

    Raises:
        UnansweredError: There is no verdict. verl knows no reward that is left out, so the run stops rather than learn
            from a verdict that is none.
        FieldError: The ground truth is no check.
    """
    (verdict,) = shared().verify([(Claim(solution_str), check_of(ground_truth, "ground_truth"))])
    return sure_reward(verdict)


def _reward_function(
    name: str, column: str, judged_by: Callable[[Any, str], Check], verifiers: Callable[[], BlockingVerifiers]
) -> RewardFunction:
    def reward(prompts: Sequence[Any], completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        if column not in columns:
            known = ", ".join(sorted(name for name, value in columns.items() if isinstance(value, list))) or "none"
            raise FieldError(column, f"the dataset has no such column; there are: {known}")
        pairs = [
            (Claim(_text(completion)), judged_by(value, column))
            for completion, value in zip(completions, columns[column], strict=True)
        ]
        return [reward_of(verdict) for verdict in verifiers().verify(pairs)]

    reward.__name__ = name  # TRL logs a reward under its name
    return reward


def _text(completion: Completion) -> str:
    return completion if isinstance(completion, str) else str(completion[-1]["content"])
