"""All candidates at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from espalier.solver.core.policies.rounds import Rounds
from espalier.solver.core.policy import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class BestOfK(Rounds):
    """Samples k candidates side by side; the first PASS ends the others, votes never do."""

    name: ClassVar[str] = "best_of_k"

    def size(self, left: int, past: tuple[Outcome, ...]) -> int:
        return left
