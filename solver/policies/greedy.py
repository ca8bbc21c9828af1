"""One candidate: the most probable token every time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from espalier.solver.policies.rounds import Rounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Greedy(Rounds):
    """Samples once at temperature 0, whatever k is."""

    name: ClassVar[str] = "greedy"

    temperatures: tuple[float, ...] = (0.0,)

    def sizes(self, k: int) -> Iterator[int]:
        yield 1
