"""How good a policy is: its answers to held-out problems, decoded as it decodes them in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from statistics import fmean

from espalier.runtime.engine import EngineError, FinishReason
from espalier.solver.core.evaluate import accuracy, mean_pass_at_k
from espalier.solver.core.problem import Problem
from espalier.training.rl.judged import JudgedRollout
from espalier.training.rl.reward import RolloutStatus
from espalier.training.rl.rollout import Collector, answer_text


@dataclass(frozen=True, slots=True)
class MeasuredResponse:
    """What is measured of one response.

    Attributes:
        status: What became of it.
        answer: What the verifier was asked about, so that another one can be; "" for a response that did not end by
            itself.
        well_formed, parallel: See :class:`Measured`.
        tokens, critical_path: New ones.
    """

    status: RolloutStatus
    answer: str
    well_formed: bool
    parallel: bool
    tokens: int
    critical_path: int


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
            decided, and not passed.
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

_VERDICTS = {RolloutStatus.PASSED, RolloutStatus.FAILED, RolloutStatus.UNKNOWN}

_UNDECIDED = (RolloutStatus.VERIFIER_ERROR, RolloutStatus.ENGINE_ERROR)


async def measure(
    collector: Collector, problems: Mapping[str, Sequence[Problem]], samples: int, seed: int, first: int = 0
) -> dict[str, list[list[MeasuredResponse]]]:
    """Sample responses to the problems of some tasks at temperature 1, all at once, and judge them.

    Args:
        collector: Samples and judges.
        problems: By task.
        samples: Of each problem.
        seed: Of the sampling.
        first: Number of the first problem among all that the seed is used for.

    Returns:
        By task and problem.

    Raises:
        EngineError: The engine failed on a response: what is left says nothing of the model. That it refused one does.
    """
    every = list(chain.from_iterable(problems.values()))
    collected = await collector.collect(every, samples, f"measure/{seed}", first)
    broken = [
        one for group in collected for one in group if one.status is RolloutStatus.ENGINE_ERROR and not one.refused
    ]
    if broken:
        total = samples * len(every)
        raise EngineError(
            f"the engine failed on {len(broken)} of {total} responses; for example: {broken[0].finished.detail}"
        )
    groups = iter(collected)
    return {
        name: [[_outcome(one, collector) for one in group] for group in islice(groups, len(own))]
        for name, own in problems.items()
    }


def _outcome(one: JudgedRollout, collector: Collector) -> MeasuredResponse:
    ended = one.finished.reason is FinishReason.STOP
    return MeasuredResponse(
        one.status,
        answer_text(one.rollout, collector.vocabulary, collector.engine.tokenizer) if ended else "",
        one.well_formed,
        one.forked,
        one.finished.usage.new_tokens,
        one.finished.usage.critical_path_tokens,
    )


def summarise(groups: Sequence[Sequence[MeasuredResponse]]) -> Measured:
    """What the responses to each problem say together."""
    every = [one for group in groups for one in group]
    statuses = {one.status for one in every}
    # Where the verifier never worked, what ended without its help says nothing of the rest.
    mute = RolloutStatus.VERIFIER_ERROR in statuses and not statuses & _VERDICTS
    decided = [[one.status for one in group if one.status not in _UNDECIDED and not mute] for group in groups]
    passed = [[status is RolloutStatus.PASSED for status in own] for own in decided]
    mean, error = accuracy(passed)
    return Measured(
        problems=sum(map(bool, decided)),
        accuracy=mean,
        error=error,
        well_formed=fmean(one.well_formed for one in every),
        parallel=fmean(one.parallel for one in every),
        tokens=fmean(one.tokens for one in every),
        critical_path=fmean(one.critical_path for one in every),
        undecided=len(every) - sum(map(len, decided)),
        pass_at={str(k): at for k in KS if (at := mean_pass_at_k(passed, k)) is not None},
    )
