"""Put the best attempt right with the verifier's feedback, beside fresh samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from espalier.solver.core.candidate import Repair
from espalier.solver.core.policies.adaptive import Adaptive
from espalier.solver.core.policy import Outcome
from espalier.verifiers.verdict import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Refine(Adaptive):
    """Like `adaptive`, but after a round without PASS a share of the next one repairs the best candidate so far.

    The best candidate is the one with the highest score among those that the verifier has feedback on; the earlier one
    of equals. Without feedback there is nothing to repair and all samples are fresh.

    Attributes:
        repair_share: Of the candidates of a round, rounded to the nearest number.
    """

    name: ClassVar[str] = "refine"

    repair_share: float = 0.5

    def __post_init__(self) -> None:
        Adaptive.__post_init__(self)
        if not 0 <= self.repair_share <= 1:
            raise ValueError(f"repair_share must be between 0 and 1, got {self.repair_share}")

    def repairs(self, size: int, past: tuple[Outcome, ...]) -> tuple[Repair, ...]:
        reparable = [
            (outcome.score, -outcome.index, Repair(outcome.index, outcome.answer, outcome.feedback))
            for outcome in past
            if outcome.answer is not None and outcome.feedback and outcome.status in (Status.FAIL, Status.UNKNOWN)
        ]
        if not reparable:
            return ()
        *_, best = max(reparable, key=lambda entry: entry[:2])
        return (best,) * int(self.repair_share * size + 0.5)
