"""The way to Redis, and what to do while it is gone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import structlog
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import AuthenticationError, OutOfMemoryError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import TimeoutError as Silent

if TYPE_CHECKING:
    from redis.asyncio import Redis

T = TypeVar("T")

CONNECT_SECONDS = 2.0
REPLY_SECONDS = 5.0
"""A reply that takes longer does not come any more; longer than any blocking read of ours."""

RETRIES = 3
"""Tries of one command that follow the first, over about a second."""

MAX_CONNECTIONS = 4096
"""Each blocking read, so each watcher, takes one."""

FIRST_WAIT = 0.05
LONGEST_WAIT = 2.0

log = structlog.get_logger()


class QueueUnavailableError(Exception):
    """Redis cannot be reached, or cannot take writes. Try again later."""


class UnusableQueueError(ValueError):
    """The queue must not be used as it is; the message says what to do."""


class EvictingRedisError(UnusableQueueError):
    """Redis throws keys away when its memory is full: jobs and results would be lost without a word."""


@asynccontextmanager
async def connect(url: str, retries: int = RETRIES) -> AsyncIterator[Redis]:
    """A client with a pool of connections; nothing is sent yet.

    Args:
        url: Of Redis.
        retries: Tries of one command that follow the first. A worker wants none: it has to see outages.

    Raises:
        ValueError: The address is none.
    """
    import redis.asyncio as redis

    retry = Retry(ExponentialWithJitterBackoff(base=FIRST_WAIT, cap=1.0), retries)
    client = redis.Redis.from_url(
        url,
        max_connections=MAX_CONNECTIONS,
        retry=retry,
        socket_timeout=REPLY_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
    )
    try:
        yield client
    finally:
        await client.aclose()


async def check_eviction(redis: Redis, *, allowed: bool) -> None:
    """Refuse a Redis that evicts keys when its memory is full, or log that it does where that is allowed.

    Raises:
        EvictingRedisError: It does, and that is not allowed.
        QueueUnavailableError: Redis cannot be asked.
    """
    with outage_as_unavailable():
        info: Any = await redis.info("memory")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        return
    log.warning("redis evicts keys when its memory is full: jobs and results can be lost", policy=policy)
    if not allowed:
        raise EvictingRedisError(
            f"Redis evicts keys when its memory is full (maxmemory-policy {policy}), and jobs and results would be "
            "lost without a word: set maxmemory-policy noeviction, or give --allow-evicting to take the risk"
        )


def is_outage(error: BaseException) -> bool:
    """Whether Redis, not the command, is the trouble: it is gone, loading, a replica, or out of memory or disk."""
    if isinstance(error, Disconnected | Silent | ReadOnlyError | OutOfMemoryError | OSError):
        return True
    return isinstance(error, ResponseError) and str(error).startswith(
        ("MISCONF", "MASTERDOWN", "TRYAGAIN", "CLUSTERDOWN")
    )


def backoff() -> Iterator[float]:
    """Seconds between tries: doubling up to a limit, with jitter so that many workers do not knock at once."""
    for tries in count():
        yield random.uniform(0.5, 1.0) * min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(tries, 16))


async def wait_out_outage(call: Callable[[], Awaitable[T]]) -> T:
    """What the call returns, however long Redis is gone. The call may be made more than once.

    A cancellation that comes during the call is kept, though the call may have done its work.
    """
    for tries, wait in enumerate(backoff()):
        try:
            with _cancellable():
                value = await call()
        except (RedisError, QueueUnavailableError) as error:
            if not (isinstance(error, QueueUnavailableError) or is_outage(error)):
                raise
            if tries == 0:
                log.debug("redis is gone", error=str(error))
            await asyncio.sleep(wait)
        else:
            if tries:
                log.debug("redis is back", tries=tries)
            return value
    raise AssertionError("the back-off never ends")


@contextmanager
def _cancellable() -> Iterator[None]:
    """Raise a cancellation that was swallowed inside: redis-py waits for its writes with `asyncio.wait_for`, which up
    to Python 3.11 loses one that comes as the write is done, and a loop over such calls would go on for ever.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    yield
    if task and task.cancelling() > before:
        raise asyncio.CancelledError


@contextmanager
def outage_as_unavailable() -> Iterator[None]:
    """Turn an outage into QueueUnavailableError. A task that asks Redis in it can always be cancelled."""
    try:
        with _cancellable():
            yield
    except RedisError as error:
        if isinstance(error, AuthenticationError):
            raise QueueUnavailableError(
                "Redis wants another user or password; write redis://USER:PASSWORD@HOST:PORT/0, or redis://:PASSWORD@…"
            ) from error
        if is_outage(error):
            raise QueueUnavailableError(f"Redis cannot serve the queue: {str(error).rstrip('.')}") from error
        raise


def shown(url: str) -> str:
    """An address for people, without the password."""
    address = urlsplit(url)
    return address._replace(netloc=address.netloc.rpartition("@")[2]).geturl()
