"""One candidate: the most probable token every time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from espalier.solver.core.policies.rounds import Rounds
from espalier.solver.core.policy import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Greedy(Rounds):
    """Samples once at temperature 0, whatever k is."""

    name: ClassVar[str] = "greedy"

    temperatures: tuple[float, ...] = (0.0,)

    def size(self, left: int, past: tuple[Outcome, ...]) -> int:
        return 0 if past else 1
