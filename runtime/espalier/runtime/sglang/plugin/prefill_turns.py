"""When what waits for its first pass gets it, while many rows decode.

Every fork and every join is a prefill of a few tokens, and SGLang runs prefills before everything else. With hundreds
of responses, each of which forks and joins at a time of its own, many a decode step of all rows waits for a pass over a
handful of tokens. Where few wait and many decode, those few wait for company instead.
"""

from __future__ import annotations

from collections.abc import Mapping

VARIABLE = "ESPALIER_PREFILL_PASSES"
"""Of the server's environment: decode steps that a prefill waits at most; 0, which is the default: none."""

ROWS = 32
"""Rows that decode, at least, where prefills wait."""

SHARE = 8
"""Prefills wait while fewer than one row in so many waits."""


class PrefillTurns:
    """Counts how long prefills have waited. O(1) a pass."""

    def __init__(self, passes: int) -> None:
        """
        Args:
            passes: Decode steps that a prefill waits at most.
        """
        self._passes = passes
        self._waited = 0

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> PrefillTurns:
        """As the environment says.

        Raises:
            ValueError: It says no number.
        """
        said = environment.get(VARIABLE) or "0"
        if not said.isdecimal():
            raise ValueError(f"{VARIABLE} is a number of decode steps, not {said!r}")
        return cls(int(said))

    def wait(self, decoding: int, waiting: int) -> bool:
        """Whether the next pass decodes although `waiting` requests wait for their first one."""
        wait = 0 < waiting * SHARE < decoding and decoding >= ROWS and self._waited < self._passes
        self._waited = self._waited + 1 if wait else 0
        return wait
