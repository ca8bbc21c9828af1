"""What a caller may have in the queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from espalier.common.callers import Caller

_MIB = 1 << 20


class OverLimitError(Exception):
    """The caller would have more in the queue than it may; the message names the limit."""

    @classmethod
    def jobs(cls, held: int, limits: QueueLimits) -> Self:
        return cls(f"jobs: {held} are in the queue, and {limits.jobs} may be; wait until some have ended")

    @classmethod
    def stored(cls, held: int, limits: QueueLimits) -> Self:
        most = (limits.stored_bytes or 0) / _MIB
        return cls(
            f"stored_mib: {held / _MIB:.1f} of {most:g} MiB are stored, and this would be too much; delete files, or "
            "wait until batches that have ended are forgotten"
        )


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """What a caller may have in the queue.

    Attributes:
        jobs: Jobs that have not ended; None: any.
        stored_bytes: Bytes of jobs, results and files, as long as they are kept; None: any.
    """

    jobs: int | None = None
    stored_bytes: int | None = None

    @classmethod
    def of(cls, caller: Caller) -> QueueLimits:
        """Those of a caller."""
        return cls(caller.jobs, caller.stored_mib * _MIB or None)


NO_LIMITS = QueueLimits()
