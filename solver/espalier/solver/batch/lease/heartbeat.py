"""Keep leases alive from a thread of its own, so that no work in the event loop can starve it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import redis
import structlog
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from espalier.solver.batch.config import QueueConfig
from espalier.solver.batch.connection import CONNECT_SECONDS, REPLY_SECONDS
from espalier.solver.batch.keys import Keys
from espalier.solver.batch.lease.lease import Lease
from espalier.solver.batch.scripts import Script, source

BEATS = 3
"""Renewals in the time of one lease."""

AGAIN_SECONDS = 0.5
"""While Redis is gone it is tried again so often, or with every beat if that is sooner."""

log = structlog.get_logger()


class Heartbeat:
    """Renews every lease that it was told to hold. Use as a context manager; leaving it stops the thread.

    Args:
        url: Of Redis; the thread has its own connection.
        consumer: Whose leases.
        keys: Of the queue.
        config: How long a lease lasts, and how long one may be renewed.
        lost: Called in the thread, once for each lease that cannot be renewed any more.
    """

    def __init__(self, url: str, consumer: str, keys: Keys, config: QueueConfig, lost: Callable[[Lease], None]) -> None:
        self._consumer = consumer
        self._keys = keys.shared
        self._config = config
        self._lost = lost
        self._held: dict[str, tuple[Lease, float]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._steady_since: float | None = None
        self._beat_at = 0.0
        self._period = config.lease_seconds / BEATS
        reply = min(REPLY_SECONDS, self._period)
        connect = min(CONNECT_SECONDS, self._period)
        self._redis = redis.Redis.from_url(
            url, socket_timeout=reply, socket_connect_timeout=connect, retry=Retry(NoBackoff(), 0)
        )
        self._renew: Any = self._redis.register_script(source(Script.RENEW))
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._redis.close()

    def hold(self, lease: Lease) -> None:
        """Renew this lease from now on."""
        with self._lock:
            self._held[lease.entry] = (lease, time.monotonic())

    def drop(self, lease: Lease) -> None:
        """Renew it no more."""
        with self._lock:
            if self._held.get(lease.entry, (None,))[0] == lease:
                del self._held[lease.entry]

    def steady(self) -> bool:
        """Whether Redis was there, and this machine awake, for the time of a lease.

        Only then a lease that looks expired has expired: otherwise its owner, too, may have had no time to renew it.
        """
        since, now = self._steady_since, time.monotonic()
        return since is not None and now - since >= self._config.lease_seconds > now - self._beat_at

    def _beat(self) -> None:
        wait = 0.0
        while not self._stop.wait(wait):
            self._give_up_old_ones()
            try:
                self._renew_all()
            except RedisError as error:
                if self._steady_since is not None:
                    log.warning("leases cannot be renewed", error=str(error))
                self._steady_since = None
                wait = min(self._period, AGAIN_SECONDS)
            else:
                now = time.monotonic()
                if self._steady_since is None or now - self._beat_at >= self._config.lease_seconds:
                    self._steady_since = now
                self._beat_at = now
                wait = self._period

    def _give_up_old_ones(self) -> None:
        oldest = time.monotonic() - self._config.max_seconds
        with self._lock:
            old = [lease for lease, since in self._held.values() if since < oldest]
        for lease in old:
            log.warning("job runs for too long", job=lease.job, seconds=self._config.max_seconds)
            self._give_up(lease)

    def _renew_all(self) -> None:
        with self._lock:
            leases = {lease.entry: lease for lease, _ in self._held.values()}
        tokens = [part for lease in leases.values() for part in (lease.entry, lease.deliveries)]
        for entry in self._renew(keys=self._keys, args=[self._consumer, *tokens]):
            self._give_up(leases[entry.decode()])

    def _give_up(self, lease: Lease) -> None:
        self.drop(lease)
        self._lost(lease)
