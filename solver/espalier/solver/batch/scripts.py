"""The steps that Redis takes as one: small Lua scripts beside this file."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from espalier.solver.batch.keys import GROUP
from espalier.v1 import solver_pb2 as pb

if TYPE_CHECKING:
    from redis.asyncio import Redis

Value = str | bytes | int | float

CONSTANTS = {
    "GROUP": GROUP,
    "QUEUED": pb.JOB_STATE_QUEUED,
    "RUNNING": pb.JOB_STATE_RUNNING,
    "DONE": pb.JOB_STATE_DONE,
    "CANCELLED": pb.JOB_STATE_CANCELLED,
    "DEAD_LETTER": pb.JOB_STATE_DEAD,
}
"""What Lua and Python must agree on."""


class Step(StrEnum):
    """A script, by the name of its file; each says what it takes and returns."""

    SUBMIT = "submit"
    CANCEL = "cancel"
    REVIVE = "revive"
    TAKE = "take"
    RENEW = "renew"
    LEAVE = "leave"
    START = "start"
    STORE = "store"
    TELL = "tell"
    FINISH = "finish"
    HAND_BACK = "hand_back"
    BURY = "bury"
    REPAIR = "repair"

    @property
    def of_a_job(self) -> bool:
        """Whether its keys are those of one job."""
        return self not in (Step.SUBMIT, Step.TAKE, Step.RENEW, Step.LEAVE)


@cache
def source(step: Step) -> str:
    """The text of a script with all that it stands on."""
    folder = resources.files(__package__) / "lua"
    constants = "\n".join(f"local {name} = '{value}'" for name, value in CONSTANTS.items())
    prelude = (folder / "prelude.lua").read_text("utf-8") if step.of_a_job else ""
    return "\n".join((constants, prelude, (folder / f"{step.value}.lua").read_text("utf-8")))


class Scripts:
    """The scripts on one connection pool. Redis may forget them in a restart: they are then sent again."""

    def __init__(self, redis: Redis) -> None:
        self._scripts = {step: redis.register_script(source(step)) for step in Step}

    async def run(self, step: Step, keys: Sequence[str], *args: Value) -> Any:
        """Take one step."""
        return await self._scripts[step](keys=list(keys), args=list(args))
