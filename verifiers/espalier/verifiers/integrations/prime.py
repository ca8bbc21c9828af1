"""Rewards for tasks of Prime Intellect's `verifiers`, plugged in by name: nothing of that package is imported.

TaskConfig(rewards={"verified": {"fn": "espalier.verifiers.integrations.prime:verified"}})
"""

from __future__ import annotations

from typing import Any

from espalier.common.errors import FieldError
from espalier.verifiers.check import Claim
from espalier.verifiers.integrations.blocking import shared_verdict
from espalier.verifiers.integrations.rewards import sure_reward
from espalier.verifiers.integrations.truths import check_of

ANSWER = "answer"
"""Field of a task that holds its reference answer, its check as text, or its program cases as JSON."""


async def verified(task: Any, trace: Any) -> float:
    """A reward: 1.0 for PASS, 0.0 for FAIL.

    Args:
        task: The data of the task, with the field `answer`.
        trace: The rollout; its last reply is judged.

    Raises:
        UnansweredError: There is no verdict. The rollout is then recorded as failed, and it has no reward.
        FieldError: The task has no such field, or no check is in it.
    """
    truth = getattr(task, ANSWER, None)
    if truth is None:
        raise FieldError(ANSWER, "the task has no such field; it holds what answers are judged by")
    return sure_reward(await shared_verdict(Claim(trace.last_reply), check_of(truth, ANSWER)))
