"""How long one of several servers is asked last after it has failed."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field

FIRST_SECONDS = 0.2
LONGEST_SECONDS = 5.0


@dataclass(slots=True)
class Cooldown:
    """The back-off of one server: 0.2 s after its first failure, doubled with every further one in a row, up to 5 s.

    It does not keep a server from being asked: others are asked first. Use it in the event loop.
    """

    _failures: int = field(default=0, init=False)
    _until: float = field(default=-math.inf, init=False)

    @property
    def active(self) -> bool:
        """Whether the server is to be asked last."""
        return asyncio.get_running_loop().time() < self._until

    def back_off(self, seconds: float | None = None) -> float:
        """Note a failure.

        Args:
            seconds: How long the server itself wants to be left alone; None: it did not say.

        Returns:
            Seconds for which it is asked last.
        """
        if seconds is None:
            seconds = min(FIRST_SECONDS * 2**self._failures, LONGEST_SECONDS)
            self._failures += 1
        self._until = asyncio.get_running_loop().time() + seconds
        return seconds

    def reset(self) -> None:
        """Note a success: the next failure is the first again."""
        self._failures = 0
