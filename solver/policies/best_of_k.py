"""All candidates at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from espalier.solver.policies.rounds import Rounds


@dataclass(frozen=True, slots=True, kw_only=True)
class BestOfK(Rounds):
    """Samples k candidates side by side; the first PASS ends the others, votes never do."""

    name: ClassVar[str] = "best_of_k"

    def sizes(self, k: int) -> Iterator[int]:
        yield k
