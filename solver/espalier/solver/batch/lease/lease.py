"""The right to work on a job."""

from __future__ import annotations

from dataclasses import dataclass


class LeaseLostError(Exception):
    """The worker no longer has the job: it was reclaimed, cancelled or ended."""


@dataclass(frozen=True, slots=True)
class Lease:
    """One delivery of a job to one worker, as the consumer group notes it.

    Consumer and deliveries together are the fencing token: a reclaim changes at least one of them, and every write of a
    worker is refused unless the group still notes both.

    Attributes:
        job: Its id.
        entry: Its entry in the stream.
        consumer: The worker.
        deliveries: How often the job has been delivered, this time included.
    """

    job: str
    entry: str
    consumer: str
    deliveries: int

    @property
    def token(self) -> tuple[str, str, int]:
        """What the scripts compare."""
        return self.entry, self.consumer, self.deliveries
