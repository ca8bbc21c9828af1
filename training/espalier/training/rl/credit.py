"""Credit: how much better than expected each token of a response was, from the verdicts on its prompt's responses.

Verdicts count as 1 (PASS) and 0 (FAIL). What has no verdict (UNKNOWN, ERROR) is left out of every count. A credit is a
pure function in two halves, so that several processes give the credit of one big batch: the `sums` of all processes are
added up once, and `advantages` turns the total and a process's own groups into one number per new token. The responses
to a prompt lie on one process whole.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from espalier.runtime.layout import Path
from espalier.training.rl.judged import JudgedRollout
from espalier.training.rl.reward import JUDGED
from espalier.training.rl.segments import TokenKind, TokenSegment

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

EPSILON = 1e-6
"""Keeps a batch, or a group, of equal rewards from dividing by zero."""


class TokenCredit(NamedTuple):
    """Of one response's n new tokens.

    Attributes:
        advantages: (n,) float32.
        trained: (n,) False for the tokens of a branch without a verdict.
    """

    advantages: Floats
    trained: Bools


class Credit(Protocol):
    """Turns outcomes and verdicts into advantages."""

    def at(self, step: int) -> Credit:
        """The credit of optimiser step `step`, from 0."""
        ...

    def sums(self, groups: Sequence[Sequence[JudgedRollout]]) -> Tensor:
        """float64 sums over the valid responses of this process, one group per prompt; additive over processes."""
        ...

    def advantages(self, groups: Sequence[Sequence[JudgedRollout]], total: Tensor) -> list[list[TokenCredit]]:
        """The credit of every token.

        Args:
            groups: The valid responses of this process, one group per prompt.
            total: The `sums` of all processes.
        """
        ...


def moments(values: Tensor) -> Tensor:
    """(3,) count, sum and sum of squares of (n,) values in float64. Summed over ranks they are those of the batch."""
    exact = values.double()
    return torch.stack([torch.tensor(float(len(exact)), dtype=torch.float64), exact.sum(), exact.square().sum()])


def std(batch: Tensor) -> float:
    """Standard deviation (of the population) from the batch's (3,) :func:`moments`; 0 for an empty batch."""
    count, total, squares = batch.tolist()
    if not count:
        return 0.0
    return float(max(0.0, squares / count - (total / count) ** 2) ** 0.5)


@dataclass(frozen=True, slots=True)
class OutcomeCredit:
    """PAPO (arXiv 2512.07461): every token of response i of a prompt gets (r_i - mean_j r_j) / (s + ε).

    r are the rewards, the mean is over the prompt's valid responses, s the one standard deviation of the whole batch. A
    group of equal rewards contributes 0 and does not blow up.
    """

    def at(self, step: int) -> Credit:
        return self

    def sums(self, groups: Sequence[Sequence[JudgedRollout]]) -> Tensor:
        return moments(torch.tensor([one.score for group in groups for one in group], dtype=torch.float64))

    def advantages(self, groups: Sequence[Sequence[JudgedRollout]], total: Tensor) -> list[list[TokenCredit]]:
        divisor = std(total) + EPSILON
        return [
            [_uniform(one, centred / divisor) for one, centred in zip(group, _centred(group), strict=True)]
            for group in groups
        ]


@dataclass(frozen=True, slots=True)
class GroupOutcomeCredit:
    """DAPO (arXiv 2503.14476, equation 9): as :class:`OutcomeCredit`, over the deviation of the prompt's group."""

    def at(self, step: int) -> Credit:
        return self

    def sums(self, groups: Sequence[Sequence[JudgedRollout]]) -> Tensor:
        return torch.zeros(0, dtype=torch.float64)

    def advantages(self, groups: Sequence[Sequence[JudgedRollout]], total: Tensor) -> list[list[TokenCredit]]:
        found = []
        for group in groups:
            centred = _centred(group)
            divisor = math.sqrt(math.fsum(value * value for value in centred) / max(1, len(centred))) + EPSILON
            found.append([_uniform(one, value / divisor) for one, value in zip(group, centred, strict=True)])
        return found


def pass_at_k(right: int, wrong: int, k: int) -> tuple[float, float, float]:
    """pass@k of a set of verdicts, and what a right and a wrong one of them add to it.

    With N = right + wrong and k at most N, over all subsets of k of the N:

        μ        = 1 - C(wrong, k) / C(N, k)                      the mean of "one of the subset is right"
        A(right) = 1 - μ                                          every subset that holds it has a right one
        A(wrong) = 1 - μ - C(wrong - 1, k - 1) / C(N - 1, k - 1)  the subsets that hold it and a right one

    A is the mean over the subsets that hold the verdict, minus μ (Chen et al., "Pass@k training", arXiv 2508.10751, the
    form without sampling of subsets). Over all N verdicts A sums to 0. For k = 1 it is the verdict minus the mean.

    Returns:
        μ, A(right), A(wrong).
    """
    count = right + wrong
    k = min(k, count)
    missed = math.comb(wrong, k) / math.comb(count, k)
    alone = math.comb(wrong - 1, k - 1) / math.comb(count - 1, k - 1) if wrong else 0.0
    return 1 - missed, missed, missed - alone


@dataclass(frozen=True, slots=True)
class SetCredit:
    """Branches earn what they add to pass@k of the set, plans what their best branch gets, the join what it adds.

    For the responses to one prompt; a branch is a step that states an answer and has a verdict:

    * tokens of a step: A of :func:`pass_at_k` over all branches of the prompt. The innermost step that holds the token
      and states an answer counts. A step whose answer has no verdict is masked.
    * tokens of a guideline: b - mean b, with b = 1 if a branch of the block is right and the response ended by itself,
      else 0, and the mean over the prompt's blocks that have a branch. What never ends has no use for its branches: if
      they counted, plans would learn to open ever more of them.
    * takeaway and answer: the final verdict minus a baseline: with re-joins, for what follows the last block, the mean
      verdict of the conclusions that were sampled again from the same branches; otherwise the mean final verdict of the
      prompt's responses with as many right branches up to there.
    * where no branch has a verdict (sub-task steps, plain text, a block whose verdicts are all missing): the final
      verdict minus its mean, as :class:`OutcomeCredit`.

    All over one divisor, the standard deviation of all verdicts of the whole batch (final, of branches and of
    re-joins): where no branch has a verdict this is PAPO. Branches on pass@k and join on pass@1: ParaGator, arXiv
    2603.18886; annealing of k: PKPO, arXiv 2505.15201; no divisor: Dr. GRPO, arXiv 2503.20783.

    Attributes:
        k: Size of the sets; 0: the mean number of branches in the prompt's blocks, rounded.
        k_until: Optimiser steps after which k is 1; 0: never.
        divide: Whether there is a divisor; without one advantages are differences of verdicts.
    """

    k: int = 0
    k_until: int = 0
    divide: bool = True

    def at(self, step: int) -> SetCredit:
        return replace(self, k=1) if self.k_until and step >= self.k_until else self

    def sums(self, groups: Sequence[Sequence[JudgedRollout]]) -> Tensor:
        every = [one for group in groups for one in group]
        verdicts = [_final(one) for one in every] + [
            float(right) for one in every for right in one.judged_branches.values()
        ]
        verdicts += [_verdict(reward) for one in every for reward in one.rejoin_rewards]
        return moments(torch.tensor(verdicts, dtype=torch.float64))

    def advantages(self, groups: Sequence[Sequence[JudgedRollout]], total: Tensor) -> list[list[TokenCredit]]:
        divisor = std(total) + EPSILON if self.divide else 1.0
        return [self._of_group(group, divisor) for group in groups]

    def _of_group(self, group: Sequence[JudgedRollout], divisor: float) -> list[TokenCredit]:
        verdicts = [right for one in group for right in one.judged_branches.values()]
        of_branch = {True: 0.0, False: 0.0}
        if verdicts:
            right = sum(verdicts)
            k = self.k or _block_size(group)
            _, of_branch[True], of_branch[False] = pass_at_k(right, len(verdicts) - right, k)
        blocks = [_blocks(one) for one in group]
        reached = [best for own in blocks for best in own.values()]
        mean_reached = fmean(reached) if reached else 0.0
        mean_final = fmean(_final(one) for one in group)

        def of(one: JudgedRollout, own: Mapping[int, bool], segment: TokenSegment) -> float | None:
            if segment.kind is TokenKind.STEP:
                branch = one.branch_of(segment.path)
                if branch is not None:
                    return None if branch.right is None else of_branch[branch.right]
            elif segment.kind is TokenKind.GUIDELINE:
                if segment.block in own:
                    return own[segment.block] - mean_reached
            elif own:
                return _final(one) - _join_baseline(group, one, segment.block)
            return _final(one) - mean_final

        return [
            _by_segment(one, [of(one, own, segment) for segment in one.segments], divisor)
            for one, own in zip(group, blocks, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class SampleCredit:
    """:func:`pass_at_k` with the samples of a prompt as the set: what set credit is for sequential decoding.

    Attributes:
        k: Size of the sets.
        k_until: Optimiser steps after which k is 1; 0: never.
        divide: Whether there is a divisor, the standard deviation of the verdicts of the whole batch.
    """

    k: int
    k_until: int = 0
    divide: bool = True

    def at(self, step: int) -> SampleCredit:
        return replace(self, k=1) if self.k_until and step >= self.k_until else self

    def sums(self, groups: Sequence[Sequence[JudgedRollout]]) -> Tensor:
        return moments(torch.tensor([_final(one) for group in groups for one in group], dtype=torch.float64))

    def advantages(self, groups: Sequence[Sequence[JudgedRollout]], total: Tensor) -> list[list[TokenCredit]]:
        divisor = std(total) + EPSILON if self.divide else 1.0
        found = []
        for group in groups:
            right = sum(one.score > 0 for one in group)
            _, of_right, of_wrong = pass_at_k(right, len(group) - right, self.k)
            found.append([_uniform(one, (of_right if one.score > 0 else of_wrong) / divisor) for one in group])
        return found


@dataclass(frozen=True, slots=True)
class ShorterPath:
    """Another credit, and among the right responses of a prompt a little for a critical path below their mean.

    Every token of a right response gets weight · (mean - path) / mean more, the mean being over the right responses of
    the prompt: the additions sum to 0, and a wrong response never gains by being short.

    Attributes:
        credit: What it is added to.
        weight: Of the addition.
    """

    credit: Credit
    weight: float

    def at(self, step: int) -> ShorterPath:
        return replace(self, credit=self.credit.at(step))

    def sums(self, groups: Sequence[Sequence[JudgedRollout]]) -> Tensor:
        return self.credit.sums(groups)

    def advantages(self, groups: Sequence[Sequence[JudgedRollout]], total: Tensor) -> list[list[TokenCredit]]:
        found = []
        for group, credits in zip(groups, self.credit.advantages(groups, total), strict=True):
            paths = [one.finished.usage.critical_path_tokens for one in group if one.score > 0]
            mean = fmean(paths) if paths else 0.0
            own = []
            for one, given in zip(group, credits, strict=True):
                shorter = mean - one.finished.usage.critical_path_tokens
                more = np.float32(self.weight * shorter / mean if one.score > 0 and mean else 0.0)
                own.append(TokenCredit(given.advantages + more, given.trained))
            found.append(own)
        return found


def kind_weights(counts: Sequence[float]) -> list[float]:
    """Factors of the advantages by kind under which each kind that occurs has the same share of the token mean.

    With T tokens in all, T_i of kind i and K kinds that occur: T / (K · T_i), so that the mean over all tokens is the
    mean over the kinds of the mean over their tokens (ParaGator, arXiv 2603.18886, trains branches and join as samples
    of their own). A kind without tokens has 0.

    Args:
        counts: Trained tokens of the whole batch by kind.
    """
    present = sum(count > 0 for count in counts)
    return [sum(counts) / (present * count) if count else 0.0 for count in counts]


def _verdict(reward: float) -> float:
    """A reward on the scale of verdicts: 1 passed, 0 did not."""
    return (reward + 1) / 2


def _final(one: JudgedRollout) -> float:
    """The outcome of a response on the scale of verdicts."""
    return _verdict(one.score)


def _centred(group: Sequence[JudgedRollout]) -> list[float]:
    """Rewards minus their mean, in float64: in float32 the mean of equal rewards like -1.4 is off by 1e-7."""
    rewards = [one.score for one in group]
    mean = fmean(rewards) if rewards else 0.0
    return [value - mean for value in rewards]


def _block_size(group: Sequence[JudgedRollout]) -> int:
    """Mean number of judged branches of a block that has any, rounded (halves up)."""
    sizes: dict[tuple[int, Path, int], int] = defaultdict(int)
    for number, one in enumerate(group):
        for path in one.judged_branches:
            sizes[number, path[:-1], path[-1][0]] += 1
    return max(1, math.floor(fmean(sizes.values()) + 0.5))


def _blocks(one: JudgedRollout) -> dict[int, bool]:
    """By number of the response's own blocks that have a judged branch: whether one is right, and was of use."""
    ended = one.status in JUDGED
    found: dict[int, bool] = {}
    for path, right in one.judged_branches.items():
        found[path[0][0]] = found.get(path[0][0], False) or (right and ended)
    return found


def _join_baseline(group: Sequence[JudgedRollout], one: JudgedRollout, block: int) -> float:
    """What a conclusion is expected to come to, given the branches that it was drawn from."""
    last = max(segment.block for segment in one.segments)
    if one.rejoin_rewards and block == last:
        return _verdict(fmean(one.rejoin_rewards))
    right = one.right_until(block)
    return fmean(_final(other) for other in group if other.judged_branches and other.right_until(block) == right)


def _uniform(one: JudgedRollout, advantage: float) -> TokenCredit:
    return _by_segment(one, [advantage] * len(one.segments), 1.0)


def _by_segment(one: JudgedRollout, values: Sequence[float | None], divisor: float) -> TokenCredit:
    """Spread the values of the segments over their tokens; None masks."""
    sizes = [len(segment) for segment in one.segments]
    numbers = np.array([0.0 if value is None else value / divisor for value in values], dtype=np.float32)
    return TokenCredit(
        np.repeat(numbers, sizes), np.repeat(np.array([v is not None for v in values], dtype=bool), sizes)
    )
