"""When a part of a run has to stop, to be gone on with later."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock; None: there is none."""

    at: float | None = None

    @classmethod
    def after(cls, minutes: float | None) -> Deadline:
        """So many minutes from now."""
        return cls(None if minutes is None else time.monotonic() + 60 * minutes)

    def passed(self) -> bool:
        return self.at is not None and time.monotonic() >= self.at
