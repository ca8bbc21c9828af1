"""How long, how often, how much: what the clients and workers of a queue agree on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """What client and workers agree on.

    Attributes:
        lease_seconds: A job whose worker is not heard of for so long goes to another one.
        max_deliveries: A job that is delivered more often is given up.
        max_seconds: A job that runs longer is taken from its worker, however alive that is.
        keep_seconds: Ended jobs, their results and events are kept for so long.
        max_events: Events kept of one job, at least.
    """

    lease_seconds: float = 30.0
    max_deliveries: int = 5
    max_seconds: float = 3600.0
    keep_seconds: int = 7 * 24 * 3600
    max_events: int = 1000

    def __post_init__(self) -> None:
        for name in ("lease_seconds", "max_deliveries", "max_seconds", "keep_seconds", "max_events"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")

    @property
    def suspect_deliveries(self) -> int:
        """From this delivery on a job may be what kills workers: it runs alone, and takes no other along."""
        return max(2, self.max_deliveries // 2 + 1)
