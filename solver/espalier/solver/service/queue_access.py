"""The queue as a server uses it: whether there is one, whether it may be used, and who is told when a batch ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from espalier.common.errors import FieldError
from espalier.solver.batch.queue import JobQueue

if TYPE_CHECKING:
    from espalier.solver.batch.webhooks import WebhookSettings


QUEUE_SECONDS = 30.0
"""When a caller with too much in the queue may come back."""


class NoQueueError(Exception):
    """The server runs without a queue."""


class QueueAccess:
    """Gives the queue to those who may use it.

    Args:
        jobs: The queue; None: there is none.
        check: Awaited until it passes once, before the queue is used; None: it has passed.
        webhooks: Who may be told of the end of a batch; None: nobody.
    """

    def __init__(
        self,
        jobs: JobQueue | None = None,
        check: Callable[[], Awaitable[None]] | None = None,
        webhooks: WebhookSettings | None = None,
    ) -> None:
        self.jobs = jobs
        self._check = check
        self._webhooks = webhooks

    async def queue(self) -> JobQueue:
        """The queue.

        Raises:
            NoQueueError: There is none.
            UnusableQueueError: Its Redis evicts keys, and that is not allowed; or another version has written it.
            QueueUnavailableError: Its Redis cannot be asked.
        """
        if self.jobs is None:
            raise NoQueueError("this server has no queue; start it with --redis URL")
        if self._check is not None:
            await self._check()
            self._check = None
        return self.jobs

    def webhook(self, url: str) -> str:
        """The webhook of a batch whose submission names this one; empty: the server's own, if it has one.

        Raises:
            FieldError: It may not be called.
        """
        if self._webhooks is None:
            if url:
                raise FieldError("webhook", "is not served here; the server needs --webhook-secret-file")
            return ""
        if url:
            self._webhooks.check(url)
        return url or self._webhooks.default
