"""How good a policy is: its answers to held-out problems, decoded as it decodes them in training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, variance

from espalier.training.reward import OUTCOMES, Fate
from espalier.training.rollout import Attempt, Collector
from espalier.training.tasks import Problem


@dataclass(frozen=True, slots=True)
class Measured:
    """Shares are in [0, 1].

    Attributes:
        problems: With at least one decided response.
        accuracy: Mean over problems of the share of decided responses that pass (pass@1).
        error: Standard error of the accuracy: over the problems, whose responses belong together.
        well_formed: Share of the responses that keep to the grammar.
        parallel: Share of the responses with steps that ran side by side.
        tokens: New tokens of a response, on average.
        critical_path: Of them those on the longest chain.
        undecided: Responses without a verdict.
        pass_at: By k (written as text): the chance that one of k responses passes, so what best-of-k with the verifier
            comes to; unbiased, over problems with at least k decided responses.
    """

    problems: int
    accuracy: float
    error: float
    well_formed: float
    parallel: float
    tokens: float
    critical_path: float
    undecided: int
    pass_at: dict[str, float] = field(default_factory=dict)


KS = (8, 16)


async def measure(collector: Collector, problems: Sequence[Problem], samples: int, seed: int) -> Measured:
    """Sample responses to problems at temperature 1 and judge them."""
    return summarise(await collector.collect(problems, samples, f"measure/{seed}"))


def summarise(groups: Sequence[Sequence[Attempt]]) -> Measured:
    """What the attempts at each problem say together."""
    every = [attempt for group in groups for attempt in group]
    decided = [[attempt.fate for attempt in group if attempt.fate in OUTCOMES] for group in groups]
    shares = [fates.count(Fate.PASSED) / len(fates) for fates in decided if fates]
    return Measured(
        problems=len(shares),
        accuracy=fmean(shares) if shares else 0.0,
        error=math.sqrt(variance(shares) / len(shares)) if len(shares) > 1 else math.inf,
        well_formed=fmean(attempt.well_formed for attempt in every),
        parallel=fmean(attempt.forked for attempt in every),
        tokens=fmean(attempt.usage.new_tokens for attempt in every),
        critical_path=fmean(attempt.usage.critical_path_tokens for attempt in every),
        undecided=len(every) - sum(map(len, decided)),
        pass_at={str(k): at for k in KS if (at := _pass_at(decided, k)) is not None},
    )


def _pass_at(decided: Sequence[Sequence[Fate]], k: int) -> float | None:
    """Mean of 1 - C(n - c, k) / C(n, k) (Chen et al. 2021, arXiv 2107.03374, eq. 1); None without enough responses."""
    enough = [fates for fates in decided if len(fates) >= k]
    if not enough:
        return None
    misses = (math.comb(len(fates) - fates.count(Fate.PASSED), k) / math.comb(len(fates), k) for fates in enough)
    return 1 - fmean(misses)
