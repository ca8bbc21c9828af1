"""Rewards for TRL and verl: 1.0 for PASS, 0.0 for FAIL; what has no verdict is no reward, never a 0."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from espalier.common.errors import FieldError, UnansweredError
from espalier.verifiers.check import Check, Claim, ReferenceCheck
from espalier.verifiers.check_files import read_program_check
from espalier.verifiers.check_text import CheckError, parse_check
from espalier.verifiers.integrations.blocking import BlockingVerifiers, shared
from espalier.verifiers.verdict import Status, Verdict

Completion = str | Sequence[Mapping[str, Any]]
"""Text, or the messages of a conversation, the last of which counts."""

RewardFunction = Callable[..., list[float | None]]

_REWARDS = {Status.PASS: 1.0, Status.FAIL: 0.0}


def reward_of(verdict: Verdict) -> float | None:
    """1.0 for PASS, 0.0 for FAIL, None for UNKNOWN and ERROR: nothing is learned from these."""
    return _REWARDS.get(verdict.status)


def math_reward(column: str = "answer", verifiers: Callable[[], BlockingVerifiers] = shared) -> RewardFunction:
    """A reward function of TRL's trainers that compares answers with a column of the dataset.

    Args:
        column: Holds the reference answers, or checks as `espalier verify` writes them (`relation:3*x+5=20`).
        verifiers: Gives the verifiers to ask.

    Returns:
        `(prompts, completions, **columns) -> rewards`; None, where there is no verdict, is masked by TRL.
    """
    return _reward_function("espalier_math_reward", column, _math_check, verifiers)


def program_reward(column: str = "cases", verifiers: Callable[[], BlockingVerifiers] = shared) -> RewardFunction:
    """A reward function of TRL's trainers that runs programs in a sandbox on the cases in a column.

    Args:
        column: Holds JSON: a list of cases or a whole program check.
        verifiers: Gives the verifiers to ask.
    """
    return _reward_function("espalier_program_reward", column, _program_check, verifiers)


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
    text = str(ground_truth)
    check = _program_check(text, "ground_truth") if text.lstrip().startswith("[") else _math_check(text, "ground_truth")
    (verdict,) = shared().verify([(Claim(solution_str), check)])
    reward = reward_of(verdict)
    if reward is None:
        said = "; ".join(one.detail for one in verdict.evidence) or verdict.decided_by
        raise UnansweredError(f"no verdict on a response ({verdict.status.value}): {said}")
    return reward


def _reward_function(
    name: str, column: str, check_of: Callable[[str, str], Check], verifiers: Callable[[], BlockingVerifiers]
) -> RewardFunction:
    def reward(prompts: Sequence[Any], completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        if column not in columns:
            known = ", ".join(sorted(name for name, value in columns.items() if isinstance(value, list))) or "none"
            raise FieldError(column, f"the dataset has no such column; there are: {known}")
        pairs = [
            (Claim(_text(completion)), check_of(str(value), column))
            for completion, value in zip(completions, columns[column], strict=True)
        ]
        return [reward_of(verdict) for verdict in verifiers().verify(pairs)]

    reward.__name__ = name  # TRL logs a reward under its name
    return reward


def _text(completion: Completion) -> str:
    return completion if isinstance(completion, str) else str(completion[-1]["content"])


def _math_check(text: str, column: str) -> Check:
    kind = text.partition(":")[0]
    if kind not in ("reference", "numbers", "relation", "domain") and not text.lstrip().startswith("{"):
        return ReferenceCheck(text)
    try:
        return parse_check(text)
    except CheckError as error:
        raise FieldError(column, str(error)) from None


def _program_check(text: str, column: str) -> Check:
    return read_program_check(text.encode(), column)
