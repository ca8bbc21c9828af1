"""The arms: ways of training that differ in credit, decoding and re-joins, and in nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace

from espalier.runtime.engine import Mode
from espalier.training.config import CreditConfig, CreditKind, RlConfig

SEQUENTIAL_SAMPLES = 3
"""Samples of a sequential arm for each of a parallel one: the ratio of the tokens of their responses."""


@dataclass(frozen=True)
class Arm:
    """One way of training.

    Attributes:
        name: Of its runs.
        mode: How it decodes.
        credit: What is made of verdicts.
        rejoins: Conclusions that are sampled again from the branches of each response.
    """

    name: str
    mode: Mode
    credit: CreditConfig
    rejoins: int = 0

    def config(self, base: RlConfig, seed: int) -> RlConfig:
        """Its settings: those of the file, but for what tells the arms apart."""
        samples = base.rollout.samples * (SEQUENTIAL_SAMPLES if self.mode is Mode.SEQUENTIAL else 1)
        rollout = replace(base.rollout, mode=self.mode, samples=samples, rejoins=self.rejoins)
        problems = replace(base.problems, seed=base.problems.seed + 1000 * seed)
        return replace(base, seed=seed, credit=self.credit, rollout=rollout, problems=problems)


SET = CreditConfig(CreditKind.SET)
BALANCED = replace(SET, balance_kinds=True)
"""Guidelines, steps, takeaways and answers each normalised by their own number of tokens."""
SET_SIZE = 4
"""Samples in a set of sequential set credit, which is pass@k training: as many as a parallel response has branches."""
ARMS = (
    Arm("outcome-sequential", Mode.SEQUENTIAL, CreditConfig()),
    Arm("set-parallel", Mode.PARALLEL, SET),
    Arm("outcome-parallel", Mode.PARALLEL, CreditConfig()),
    Arm("set-parallel-balanced", Mode.PARALLEL, BALANCED),
    Arm("set-sequential", Mode.SEQUENTIAL, replace(SET, k=SET_SIZE)),
    Arm("set-parallel-balanced-rejoins", Mode.PARALLEL, BALANCED, rejoins=2),
    Arm("set-parallel-rejoins", Mode.PARALLEL, SET, rejoins=2),
)
PAIRS = (
    ("set-parallel", "outcome-sequential"),
    ("set-parallel", "outcome-parallel"),
    ("outcome-parallel", "outcome-sequential"),
    ("set-parallel", "set-sequential"),
    ("set-sequential", "outcome-sequential"),
    ("set-parallel-balanced", "set-parallel"),
    ("set-parallel-balanced", "outcome-sequential"),
    ("set-parallel-rejoins", "set-parallel"),
    ("set-parallel-balanced-rejoins", "set-parallel-balanced"),
    ("set-parallel-balanced-rejoins", "outcome-sequential"),
)
"""Arms that are compared, the second one subtracted from the first."""
