"""Prime Intellect's `verifiers` scores a rollout: prints its reward, or the error that it is recorded with, as JSON.

usage: tell_prime.py math|scripted SAID, where SAID is a JSON list of [reply, answer]
"""

from __future__ import annotations

import asyncio
import json
import sys
from types import SimpleNamespace
from typing import Any

import verifiers.v1 as vf
from verifiers.v1.task import TaskConfig, TaskData

from tests.verifiers.integrations.evals.scripted import scripted_unless


class Question(TaskData):
    """A question with its answer."""

    answer: str


class Asking(vf.Task[Question, vf.State, TaskConfig]):
    """A task whose reward is plugged in."""


def trace_of(reply: str) -> Any:
    """The part of a trace that scoring needs, with the real recording of rewards."""
    trace = SimpleNamespace(last_reply=reply, rewards={}, metrics={})
    trace.record_reward = lambda *arguments: vf.Trace.record_reward(trace, *arguments)
    return trace


async def score(reply: str, answer: str) -> Any:
    config = TaskConfig(rewards={"verified": {"fn": "espalier.verifiers.integrations.prime:verified"}})
    task, trace = Asking(Question(idx=0, prompt="?", answer=answer), config), trace_of(reply)
    try:
        await task.score(trace)
    except vf.TaskError as error:
        return str(error)
    return trace.rewards["verified"].score


async def score_all(said: list[list[str]]) -> list[Any]:
    return await asyncio.gather(*(score(reply, answer) for reply, answer in said))


with scripted_unless(sys.argv[1] == "math"):
    print(json.dumps(asyncio.run(score_all(json.loads(sys.argv[2])))))
