"""The steps that Redis takes as one: small Lua scripts beside this file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from espalier.solver.batch.connection import UnusableQueueError
from espalier.solver.batch.keys import GROUP, Keys
from espalier.v1 import solver_pb2 as pb

if TYPE_CHECKING:
    from redis.asyncio import Redis

Value = str | bytes | int | float

FORMAT = 2
"""Number of the format of the queue. Whatever another version of Espalier would misread gets a new one."""

FORGET_STEP = 1000
"""Forgotten ids that are taken out of the indices in one step of Redis."""

OTHER_FORMAT = "QUEUEFORMAT"
"""What the scripts answer where the queue is written in another one."""

CONSTANTS = {
    "OTHER_FORMAT": OTHER_FORMAT,
    "FORMAT": FORMAT,
    "GROUP": GROUP,
    "QUEUED": pb.JOB_STATE_QUEUED,
    "RUNNING": pb.JOB_STATE_RUNNING,
    "DONE": pb.JOB_STATE_DONE,
    "CANCELLED": pb.JOB_STATE_CANCELLED,
    "DEAD_LETTER": pb.JOB_STATE_DEAD,
}
"""What Lua and Python must agree on."""


class QueueFormatError(UnusableQueueError):
    """The queue is written in another format than this version of Espalier reads."""


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
    COUNT = "count"
    CANCEL_BATCH = "cancel_batch"
    DUE_WEBHOOKS = "due_webhooks"
    RETRY_WEBHOOK = "retry_webhook"
    FORGET_WEBHOOK = "forget_webhook"
    FORGET = "forget"
    ADD_FILE = "add_file"
    DELETE_FILE = "delete_file"

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the texts that it stands on, beside `queue`."""
        match self:
            case Script.CLAIM_EXPIRED | Script.RENEW | Script.DEREGISTER:
                return ()
            case Script.SUBMIT:
                return ("stored", "turns")
            case Script.CLAIM:
                return ("turns",)
            case Script.COUNT | Script.FORGET | Script.ADD_FILE | Script.DELETE_FILE:
                return ("stored",)
            case Script.DUE_WEBHOOKS | Script.RETRY_WEBHOOK | Script.FORGET_WEBHOOK:
                return ("webhooks",)
            case _:
                return ("stored", "turns", "webhooks", "job", "line")


@cache
def source(script: Script) -> str:
    """The text of a script with all that it stands on."""
    folder = resources.files(__package__) / "lua"
    constants = "\n".join(f"local {name} = '{value}'" for name, value in CONSTANTS.items())
    texts = ((folder / f"{name}.lua").read_text("utf-8") for name in ("queue", *script.parts, script.value))
    return "\n".join((constants, *texts))


class Scripts:
    """The scripts of one queue on one connection pool. Redis may forget them in a restart: they are then sent again."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis = redis
        self._shared = keys.shared
        self._scripts = {script: redis.register_script(source(script)) for script in Script}

    async def run(self, script: Script, own: Sequence[str] = (), *args: Value) -> Any:
        """Run one script.

        Args:
            script: Which.
            own: Its keys beside those that every script may work on.
            args: Its arguments.

        Raises:
            QueueFormatError: The queue is written in another format.
        """
        try:
            return await self._scripts[script](keys=[*self._shared, *own], args=list(args))
        except ResponseError as error:
            _raise_other_format(error)
            raise

    async def forget(self) -> int:
        """Take what Redis has forgotten from its callers, and say how much of it there was."""
        forgotten = 0
        while step := await self.run(Script.FORGET, (), FORGET_STEP):
            forgotten += step
        return forgotten

    async def run_all(self, script: Script, calls: Iterable[tuple[Sequence[str], Sequence[Value]]]) -> list[Any]:
        """Run one script for each of these own keys and arguments, in one round trip.

        Raises:
            QueueFormatError: The queue is written in another format.
        """
        async with self._redis.pipeline(transaction=False) as pipe:
            for own, args in calls:
                await self._scripts[script](keys=[*self._shared, *own], args=list(args), client=pipe)
            try:
                return await pipe.execute()
            except ResponseError as error:
                _raise_other_format(error)
                raise


def _raise_other_format(error: ResponseError) -> None:
    if found := re.search(rf"{OTHER_FORMAT} (\S+)", str(error)):  # pipelines put the command before it
        require_format(found[1])


def require_format(found: str) -> None:
    """
    Args:
        found: The number in Redis.

    Raises:
        QueueFormatError: It is not ours.
    """
    if found != str(FORMAT):
        raise QueueFormatError(
            f"the queue is written in format {found}, and this version of Espalier reads format {FORMAT}: "
            "run the same version in all workers, servers and clients of a queue, or give this one its own (--queue)"
        ) from None
