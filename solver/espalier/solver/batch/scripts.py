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


class Script(StrEnum):
    """A script, by the name of its file; each says what it takes and returns."""

    SUBMIT = "submit"
    CLAIM = "claim"
    CANCEL = "cancel"
    REVIVE = "revive"
    CLAIM_EXPIRED = "claim_expired"
    RENEW = "renew"
    DEREGISTER = "deregister"
    START = "start"
    STORE = "store"
    PUBLISH_EVENTS = "publish_events"
    FINISH = "finish"
    NACK = "nack"
    DEAD_LETTER = "dead_letter"
    REPAIR = "repair"
    COUNT_OPEN = "count_open"
    CANCEL_BATCH = "cancel_batch"
    DUE_WEBHOOKS = "due_webhooks"
    RETRY_WEBHOOK = "retry_webhook"
    FORGET_WEBHOOK = "forget_webhook"

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the texts that stand before it, by what its keys are: those of the line, of one job, or others."""
        if self in (Script.SUBMIT, Script.CLAIM):
            return ("line_keys", "turns")
        if self in (
            Script.CLAIM_EXPIRED,
            Script.RENEW,
            Script.DEREGISTER,
            Script.CANCEL_BATCH,
            Script.DUE_WEBHOOKS,
            Script.RETRY_WEBHOOK,
            Script.FORGET_WEBHOOK,
            Script.COUNT_OPEN,
        ):
            return ()
        return ("prelude", "turns", "line")


@cache
def source(script: Script) -> str:
    """The text of a script with all that it stands on."""
    folder = resources.files(__package__) / "lua"
    constants = "\n".join(f"local {name} = '{value}'" for name, value in CONSTANTS.items())
    texts = ((folder / f"{name}.lua").read_text("utf-8") for name in (*script.parts, script.value))
    return "\n".join((constants, *texts))


class Scripts:
    """The scripts on one connection pool. Redis may forget them in a restart: they are then sent again."""

    def __init__(self, redis: Redis) -> None:
        self._scripts = {script: redis.register_script(source(script)) for script in Script}

    async def run(self, script: Script, keys: Sequence[str], *args: Value) -> Any:
        """Run one script."""
        return await self._scripts[script](keys=list(keys), args=list(args))
