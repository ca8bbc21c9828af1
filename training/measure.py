"""How good a policy is: its answers to held-out problems, decoded as it decodes them in training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from statistics import fmean, variance

from espalier.training.reward import Fate
from espalier.training.rollout import Attempt, Collector
from espalier.training.tasks import Problem


@dataclass(frozen=True, slots=True)
class Measured:
    """Shares are in [0, 1].

    Attributes:
        problems: With at least one decided response.
        accuracy: Mean over problems of the share of decided responses that pass (pass@1); None where no response was
            decided: verifiers that cannot work say nothing of the model.
        error: Standard error of the accuracy: over the problems, whose responses belong together; None for fewer than
            two of them.
        well_formed: Share of the responses that keep to the grammar.
        parallel: Share of the responses with steps that ran side by side.
        tokens: New tokens of a response, on average.
        critical_path: Of them those on the longest chain.
        undecided: Responses that verifier or engine failed on. An answer that the verifier could not read (UNKNOWN) is
            decided: whoever asked cannot use it either.
        pass_at: By k (written as text): the chance that one of k responses passes, so what best-of-k with the verifier
            comes to; unbiased, over problems with at least k decided responses.
    """

    problems: int
    accuracy: float | None
    error: float | None
    well_formed: float
    parallel: float
    tokens: float
    critical_path: float
    undecided: int
    pass_at: dict[str, float] = field(default_factory=dict)


KS = (8, 16)

_UNDECIDED = (Fate.VERIFIER_ERROR, Fate.ENGINE_ERROR)


async def measure(
    collector: Collector, problems: Mapping[str, Sequence[Problem]], samples: int, seed: int, first: int = 0
) -> dict[str, Measured]:
    """Sample responses to the problems of some tasks at temperature 1, all at once, and judge them.

    Args:
        collector: Samples and judges.
        problems: By task.
        samples: Of each problem.
        seed: Of the sampling.
        first: Number of the first problem among all that the seed is used for.
    """
    every = list(chain.from_iterable(problems.values()))
    groups = iter(await collector.collect(every, samples, f"measure/{seed}", first))
    return {name: summarise(list(islice(groups, len(own)))) for name, own in problems.items()}


def summarise(groups: Sequence[Sequence[Attempt]]) -> Measured:
    """What the attempts at each problem say together."""
    every = [attempt for group in groups for attempt in group]
    decided = [[attempt.fate for attempt in group if attempt.fate not in _UNDECIDED] for group in groups]
    shares = [fates.count(Fate.PASSED) / len(fates) for fates in decided if fates]
    return Measured(
        problems=len(shares),
        accuracy=fmean(shares) if shares else None,
        error=math.sqrt(variance(shares) / len(shares)) if len(shares) > 1 else None,
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
