"""Properties of credit. The reference at the end writes the rules down token by token and shares no code with them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from espalier.runtime.engine import Finished, FinishReason, Rollout, Usage
from espalier.runtime.grammar import Tag
from espalier.runtime.layout import Path, layout_of
from espalier.runtime.structure import read
from espalier.solver.core.problem import Problem
from espalier.training.rl.credit import (
    Credit,
    GroupOutcomeCredit,
    OutcomeCredit,
    SampleCredit,
    SetCredit,
    ShorterPath,
    TokenCredit,
    kind_weights,
    moments,
    pass_at_k,
    std,
)
from espalier.training.rl.judged import JudgedBranch, JudgedRollout, Rejoin
from espalier.training.rl.objective import LossInputs, papo_loss
from espalier.training.rl.reward import Reward, RolloutStatus
from espalier.training.rl.segments import TokenKind, TokenSegment, kinds, segments
from espalier.verifiers.verdict import Status, Verdict
from tests.runtime.trees import VOCABULARY, Step, place, responses

Verdicts = Sequence[bool | str | None]
"""Of the steps of a block: right, wrong, no verdict, or "silent" for a step that states no answer."""


def response(
    reward: float,
    *blocks: Verdicts,
    rejoins: tuple[float, ...] = (),
    length: int = 2,
    path: int = 9,
    cut: bool = False,
) -> JudgedRollout:
    """A response of blocks, each run of which has `length` tokens; `cut`: a limit ended it, so it has no answer."""
    found: list[TokenSegment] = []
    branches: dict[Path, bool | None] = {}

    def add(kind: TokenKind, path: Path, block: int) -> None:
        start = found[-1].end if found else 0
        found.append(TokenSegment(start, start + length, kind, path, block))

    for number, block in enumerate(blocks):
        add(TokenKind.GUIDELINE, (), number)
        for step, verdict in enumerate(block, start=1):
            add(TokenKind.STEP, ((number, step),), number)
            if not isinstance(verdict, str):
                branches[((number, step),)] = verdict
        if not cut or number + 1 < len(blocks):
            add(TokenKind.TAKEAWAY, (), number)
    if cut:
        return replace(
            judged(-1.0, found, branches, (), path), reward=Reward(RolloutStatus.TRUNCATED, -1.0, trained=True)
        )
    add(TokenKind.ANSWER, (), len(blocks) - 1)
    return judged(reward, found, branches, rejoins, path)


def judged(
    reward: float,
    parts: Sequence[TokenSegment],
    branches: Mapping[Path, bool | None],
    rejoins: Sequence[float] = (),
    path: int = 9,
) -> JudgedRollout:
    """A response of these segments, with these verdicts on its branches."""
    ended = Finished("", FinishReason.STOP, Usage(critical_path_tokens=path), Rollout((), (), (), (), (), (), 0))
    return JudgedRollout(
        Problem("1", "?"),
        ended,
        tuple(parts),
        None,
        Reward(_status(reward), reward, True),
        tuple(_branch(path, right) for path, right in branches.items()),
        tuple(Rejoin(_status(one), Usage()) for one in rejoins),
    )


def _status(reward: float) -> RolloutStatus:
    return RolloutStatus.PASSED if reward > 0 else RolloutStatus.FAILED


def _branch(path: Path, right: bool | None) -> JudgedBranch:
    status = {True: Status.PASS, False: Status.FAIL, None: Status.UNKNOWN}[right]
    return JudgedBranch(path, "", Verdict(status, 0.0, "fake"))


def verdicts_of(one: JudgedRollout) -> dict[Path, bool | None]:
    """By step that states an answer: whether it is right, None without a verdict."""
    return {branch.path: branch.right for branch in one.branches}


def credit_of(credit: Credit, *groups: Sequence[JudgedRollout]) -> list[list[TokenCredit]]:
    return credit.advantages(groups, credit.sums(groups))


def of_kind(one: JudgedRollout, given: TokenCredit, kind: TokenKind) -> list[float]:
    return [float(given.advantages[s.start]) for s in one.segments if s.kind is kind]


def of_branches(group: Sequence[JudgedRollout], given: Sequence[TokenCredit]) -> list[float]:
    """The advantages of all judged branches."""
    return [
        float(credit.advantages[segment.start])
        for one, credit in zip(group, given, strict=True)
        for segment in one.segments
        if one.judged_branches.get(segment.path) is not None
    ]


PLAIN = SetCredit(divide=False)

verdicts = st.lists(st.sampled_from([True, False, None, "silent"]), min_size=1, max_size=4)
rewards = st.sampled_from([1.0, -1.0])
scored = st.builds(
    lambda reward, blocks, length, rejoins, cut: response(
        reward, *blocks, length=length, rejoins=tuple(rejoins), cut=cut and bool(blocks)
    ),
    rewards,
    st.lists(verdicts, max_size=2),
    st.integers(1, 3),
    st.lists(rewards, max_size=3),
    st.booleans(),
)
group_of = st.lists(scored, min_size=2, max_size=5)


@pytest.mark.parametrize(("right", "wrong"), [(3, 5), (1, 1), (7, 0), (0, 4), (1, 19)])
@pytest.mark.parametrize("k", [1, 2, 3, 8, 30])
def test_pass_at_k_is_the_mean_over_all_subsets(right: int, wrong: int, k: int) -> None:
    every = [True] * right + [False] * wrong
    subsets = [[*chosen] for chosen in combinations(range(len(every)), min(k, len(every)))]
    reached = [any(every[i] for i in chosen) for chosen in subsets]
    mean = sum(reached) / len(reached)
    found, of_right, of_wrong = pass_at_k(right, wrong, k)
    assert found == pytest.approx(mean)
    for member, advantage in ((0, of_right), (len(every) - 1, of_wrong)):
        if (right if member == 0 else wrong) == 0:
            continue
        holding = [one for chosen, one in zip(subsets, reached, strict=True) if member in chosen]
        assert advantage == pytest.approx(sum(holding) / len(holding) - mean)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 9))
def test_the_advantages_of_all_branches_sum_to_zero(right: int, wrong: int, k: int) -> None:
    if right + wrong:
        _, of_right, of_wrong = pass_at_k(right, wrong, k)
        assert right * of_right + wrong * of_wrong == pytest.approx(0, abs=1e-9)


@given(group_of)
def test_the_credit_of_all_judged_branches_of_a_prompt_sums_to_zero(group: list[JudgedRollout]) -> None:
    (given_,) = credit_of(PLAIN, group)
    assert sum(of_branches(group, given_)) == pytest.approx(0, abs=1e-5)


@given(group_of)
def test_for_k_1_a_branch_gets_its_verdict_minus_the_mean(group: list[JudgedRollout]) -> None:
    (given_,) = credit_of(replace(PLAIN, k=1), group)
    found = [float(right) for one in group for right in one.judged_branches.values()]
    assert of_branches(group, given_) == pytest.approx([value - sum(found) / len(found) for value in found], abs=1e-6)


def test_a_right_branch_among_many_right_ones_earns_less_the_larger_the_sets() -> None:
    group = [response(1.0, [True, True, False]), response(-1.0, [True, False, False])]
    earned = []
    for k in (1, 2, 3):
        (given_,) = credit_of(replace(PLAIN, k=k), group)
        earned.append(max(of_branches(group, given_)))
    assert earned == sorted(earned, reverse=True)
    assert earned[-1] == pytest.approx(1 / 20), "1 of the 20 sets of 3 among 6 branches has no right one"


def test_k_is_the_mean_number_of_branches_of_a_block() -> None:
    group = [response(1.0, [True, False, False]), response(-1.0, [False, None, False, False, "silent"])]
    (own,), (given_,) = credit_of(PLAIN, group), credit_of(replace(PLAIN, k=3), group)
    assert all((a.advantages == b.advantages).all() for a, b in zip(own, given_, strict=True))


@given(st.lists(group_of, min_size=1, max_size=2), st.randoms(use_true_random=False))
def test_the_order_of_responses_and_prompts_changes_nothing(groups: list[list[JudgedRollout]], rng: object) -> None:
    given_ = credit_of(SetCredit(), *groups)
    places = [(prompt, index) for prompt, group in enumerate(groups) for index in range(len(group))]
    prompts = list(range(len(groups)))
    rng.shuffle(prompts)  # type: ignore[attr-defined]
    orders = []
    for prompt in prompts:
        order = [index for at, index in places if at == prompt]
        rng.shuffle(order)  # type: ignore[attr-defined]
        orders.append(order)
    turned = credit_of(SetCredit(), *[[groups[p][i] for i in order] for p, order in zip(prompts, orders, strict=True)])
    for prompt, order, found in zip(prompts, orders, turned, strict=True):
        for index, one in zip(order, found, strict=True):
            assert one.advantages == pytest.approx(given_[prompt][index].advantages, abs=1e-5)


@pytest.mark.parametrize("kind", [SetCredit(), SetCredit(k=1), SetCredit(divide=False)])
@given(group_of, st.integers(0, 4))
def test_a_branch_without_a_verdict_changes_no_credit_but_its_own(
    kind: Credit, group: list[JudgedRollout], at: int
) -> None:
    """UNKNOWN and ERROR: as if the step had never been judged, except that its tokens are masked."""
    one = group[at % len(group)]
    steps = [
        segment for segment in one.segments if segment.kind is TokenKind.STEP and segment.path not in verdicts_of(one)
    ]
    assume(steps)
    unjudged = replace(one, branches=(*one.branches, _branch(steps[0].path, None)))
    (before,) = credit_of(kind, group)
    (after,) = credit_of(kind, [unjudged if member is one else member for member in group])
    for member, old, new in zip(group, before, after, strict=True):
        own = np.zeros(len(old.advantages), dtype=bool)
        if member is one:
            own[steps[0].start : steps[0].end] = True
        assert (old.advantages[~own] == new.advantages[~own]).all()
        assert not new.trained[own].any()
        assert (new.trained[~own] == old.trained[~own]).all()


@given(group_of)
def test_only_the_tokens_of_branches_without_a_verdict_are_masked(group: list[JudgedRollout]) -> None:
    (given_,) = credit_of(SetCredit(), group)
    for one, credit in zip(group, given_, strict=True):
        for segment in one.segments:
            masked = verdicts_of(one).get(segment.path, True) is None
            assert (credit.trained[segment.start : segment.end] != masked).all()


@given(st.lists(st.lists(st.tuples(rewards, st.lists(st.integers(1, 3), max_size=2)), min_size=2), min_size=1))
def test_without_branch_verdicts_set_credit_is_papo(shapes: list[list[tuple[float, list[int]]]]) -> None:
    groups = [[response(reward, *[["silent"] * size for size in sizes]) for reward, sizes in group] for group in shapes]
    for found, expected in zip(credit_of(SetCredit(), *groups), credit_of(OutcomeCredit(), *groups), strict=True):
        for one, other in zip(found, expected, strict=True):
            assert one.advantages == pytest.approx(other.advantages, rel=1e-4, abs=1e-6)
            assert one.trained.all()
            assert other.trained.all()


def test_a_block_without_verdicts_falls_back_alone() -> None:
    group = [response(1.0, ["silent", "silent"], [True, False]), response(-1.0, [False, False])]
    (given_,) = credit_of(PLAIN, group)
    first, _ = given_
    # verdict 1 minus the mean 1/2, as PAPO
    assert of_kind(group[0], first, TokenKind.STEP)[:2] == pytest.approx([0.5, 0.5])
    assert of_kind(group[0], first, TokenKind.GUIDELINE) == pytest.approx([0.5, 1 - 0.5])


def test_plans_earn_what_their_best_branch_gets() -> None:
    group = [response(-1.0, [True, False]), response(-1.0, [False, False]), response(-1.0, [False, None])]
    (given_,) = credit_of(PLAIN, group)
    found = [of_kind(one, credit, TokenKind.GUIDELINE) for one, credit in zip(group, given_, strict=True)]
    assert found == [pytest.approx([2 / 3]), pytest.approx([-1 / 3]), pytest.approx([-1 / 3])]


def test_plans_of_a_response_that_was_cut_off_earn_nothing_for_its_branches() -> None:
    """Otherwise a model learns to open block after block: one of many branches is right, and no response ends."""
    group = [response(1.0, [True, False]), response(-1.0, [True, True, True, True], cut=True), response(-1.0, [False])]
    (given_,) = credit_of(PLAIN, group)
    found = [of_kind(one, credit, TokenKind.GUIDELINE) for one, credit in zip(group, given_, strict=True)]
    assert found == [pytest.approx([2 / 3]), pytest.approx([-1 / 3]), pytest.approx([-1 / 3])]
    assert min(of_kind(group[1], given_[1], TokenKind.STEP)) >= 0, "its branches keep what they earn: they are right"


def test_the_join_is_compared_with_joins_of_as_many_right_branches() -> None:
    group = [
        response(1.0, [True, False]),
        response(-1.0, [False, True]),
        response(-1.0, [False, False]),
        response(-1.0, [True, True]),
    ]
    (given_,) = credit_of(PLAIN, group)
    found = [of_kind(one, credit, TokenKind.ANSWER)[0] for one, credit in zip(group, given_, strict=True)]
    assert found == pytest.approx([0.5, -0.5, 0.0, 0.0]), "a lost set is not blamed on the join where all joins lose it"
    assert found == [of_kind(one, credit, TokenKind.TAKEAWAY)[0] for one, credit in zip(group, given_, strict=True)]


def test_re_joins_are_the_baseline_of_the_last_join_and_of_nothing_else() -> None:
    rejoined = response(1.0, [False, True], [True], rejoins=(1.0, -1.0, -1.0, -1.0))
    group = [rejoined, response(-1.0, [True, False], [False])]
    (given_,) = credit_of(PLAIN, group)
    (plain,) = credit_of(PLAIN, [replace(rejoined, rejoins=()), group[1]])
    takeaways = of_kind(rejoined, given_[0], TokenKind.TAKEAWAY)
    assert takeaways == pytest.approx([0.5, 0.75])
    assert of_kind(rejoined, given_[0], TokenKind.ANSWER) == pytest.approx([0.75])
    last = next(s.start for s in rejoined.segments if s.kind is TokenKind.TAKEAWAY and s.block == 1)
    assert (given_[0].advantages[:last] == plain[0].advantages[:last]).all()
    assert (given_[1].advantages == plain[1].advantages).all()


NESTED: tuple[tuple[Path, bool | str | None], ...] = (
    (((0, 1),), "silent"),
    (((0, 1), (0, 1)), True),
    (((0, 1), (0, 2)), None),
    (((0, 2),), False),
    (((0, 2), (0, 1)), "silent"),
    (((0, 2), (0, 2)), True),
)


def test_in_nested_blocks_the_innermost_step_that_states_an_answer_counts() -> None:
    """Two of three verdicts are right, k = 1: a right branch gets 1/3, a wrong one -2/3. The outcome gets 1/2."""
    pieces = [TokenSegment(2 * i, 2 * i + 2, TokenKind.STEP, path, 0) for i, (path, _) in enumerate(NESTED)]
    branches = {path: verdict for path, verdict in NESTED if not isinstance(verdict, str)}
    group = [judged(1.0, pieces, branches), response(-1.0)]
    (given_,) = credit_of(SetCredit(k=1, divide=False), group)
    expected = [0.5, 1 / 3, 0.0, -2 / 3, -2 / 3, 1 / 3]
    assert given_[0].advantages[::2].tolist() == pytest.approx(expected)
    assert given_[0].trained[::2].tolist() == [True, True, False, True, True, True]


def test_k_becomes_1_after_the_steps_that_are_set() -> None:
    credit = SetCredit(k=4, k_until=10)
    assert [credit.at(step).k for step in (0, 9, 10, 99)] == [4, 4, 1, 1]
    assert SetCredit(k=4).at(10**6).k == 4
    assert SampleCredit(4, k_until=1).at(1) == SampleCredit(1, k_until=1)
    assert ShorterPath(SampleCredit(4, k_until=1), 0.1).at(1).credit == SampleCredit(1, k_until=1)


def test_the_samples_of_a_prompt_are_the_set_of_sequential_decoding() -> None:
    group = [response(1.0), response(-1.0), response(-1.0)]
    (given_,) = credit_of(SampleCredit(2, divide=False), group)
    # Of the pairs of three, two hold the right one: mean 2/3.
    assert [float(one.advantages[0]) for one in given_] == pytest.approx([1 / 3, 1 / 2 - 2 / 3, 1 / 2 - 2 / 3])
    (of_one,) = credit_of(SampleCredit(1, divide=False), group)
    assert [float(one.advantages[0]) for one in of_one] == pytest.approx([2 / 3, -1 / 3, -1 / 3])


def test_a_shorter_path_earns_a_little_among_right_responses_and_nothing_among_wrong_ones() -> None:
    group = [response(1.0, path=10), response(1.0, path=30), response(-1.0, path=1), response(-1.0, path=99)]
    (plain,), (given_,) = credit_of(OutcomeCredit(), group), credit_of(ShorterPath(OutcomeCredit(), 0.2), group)
    more = [float(new.advantages[0] - old.advantages[0]) for new, old in zip(given_, plain, strict=True)]
    assert more == pytest.approx([0.1, -0.1, 0.0, 0.0], abs=1e-6)


def test_each_kind_that_occurs_gets_an_equal_share_of_the_mean() -> None:
    assert kind_weights([10, 60, 20, 0]) == pytest.approx([3.0, 0.5, 1.5, 0.0])
    assert sum(w * n for w, n in zip(kind_weights([7, 5, 1, 2]), [7, 5, 1, 2], strict=True)) == pytest.approx(15)


# PAPO and DAPO.

REWARDS = [[1.0, -1.0], [1.0, 1.0]]


def _responses(rewards: Sequence[Sequence[float]]) -> list[list[JudgedRollout]]:
    return [[response(one) for one in group] for group in rewards]


def _firsts(given_: list[list[TokenCredit]]) -> list[float]:
    assert all((one.advantages == one.advantages[0]).all() and one.trained.all() for group in given_ for one in group)
    return [float(one.advantages[0]) for group in given_ for one in group]


def test_papo_divides_by_one_std_of_the_whole_batch() -> None:
    # mean 1/2, mean square 1: deviation sqrt(3/4). Group means 0 and 1.
    expected = [1 / math.sqrt(0.75), -1 / math.sqrt(0.75), 0.0, 0.0]
    assert _firsts(credit_of(OutcomeCredit(), *_responses(REWARDS))) == pytest.approx(expected, abs=1e-5)


def test_dapo_divides_by_the_std_of_each_group() -> None:
    groups = _responses([[3.0, 1.0], [1.0, -1.0], [0.0, 0.0]])
    assert _firsts(credit_of(GroupOutcomeCredit(), *groups)) == pytest.approx([1, -1, 1, -1, 0, 0], abs=1e-4)


@pytest.mark.parametrize("size", [3, 7, 16])
@pytest.mark.parametrize("reward", [-1.0, 0.6, -1.4, 0.8])
def test_a_group_of_equal_rewards_contributes_nothing(reward: float, size: int) -> None:
    """Also where the sum of the rewards is rounded."""
    for credit in (OutcomeCredit(), GroupOutcomeCredit()):
        found = _firsts(credit_of(credit, *_responses([[reward] * size])))
        assert max(map(abs, found)) < 1e-6


def test_the_std_of_two_ranks_is_that_of_their_union() -> None:
    rewards = torch.tensor([1.0, -1.0, 1.0, 1.0])
    whole = std(moments(rewards))
    assert whole == pytest.approx(math.sqrt(0.75))
    assert std(moments(rewards[:1]) + moments(rewards[1:])) == pytest.approx(whole)
    assert std(moments(rewards[:0]) + moments(rewards)) == pytest.approx(whole)
    assert std(moments(rewards[:0])) == 0.0


# Segments.


@settings(deadline=None)
@given(responses())
def test_segments_tell_every_token_what_it_is_there_for(tree: Step) -> None:
    """On random trees, against the tags of the response's own text."""
    prompt = (40, 41)
    tokens = [placed.token for placed in place(tree, prompt)]
    structure = read(tokens, len(prompt), VOCABULARY)
    laid_out = layout_of(structure, len(tokens))
    paths = [laid_out.branches[branch].path for branch in laid_out.branch[len(prompt) :]]
    found = segments(paths, structure, len(prompt))
    assert [s.start for s in found] == [0, *[s.end for s in found[:-1]]]
    assert found[-1].end == len(paths)
    of_token = kinds(found)
    block, kind = 0, TokenKind.GUIDELINE
    more = len([b for b in structure.blocks if b.depth == 0])
    for at, (token, path) in enumerate(zip(tokens[len(prompt) :], paths, strict=True)):
        if path:
            assert of_token[at] == TokenKind.STEP
            continue
        if VOCABULARY.tags.get(token) is Tag.TAKEAWAY:
            kind = TokenKind.TAKEAWAY
        assert of_token[at] == kind, (at, token)
        assert next(s.block for s in found if s.start <= at < s.end) == min(block, more - 1)
        if VOCABULARY.tags.get(token) is Tag.END_TAKEAWAY:
            block += 1
            kind = TokenKind.GUIDELINE if block < more else TokenKind.ANSWER


def test_a_response_that_was_decoded_sequentially_is_one_answer() -> None:
    structure = read([40, 31, 32, 8], 1, VOCABULARY)
    assert segments([(), (), ()], structure, 1) == (TokenSegment(0, 3, TokenKind.ANSWER, (), -1),)
    assert segments([], structure, 1) == ()


# The reference.


def reference(groups: list[list[JudgedRollout]], k: int | None) -> list[list[list[float]]]:
    """Advantages by token, from the rules as they are said: subsets are enumerated, means are taken in the open."""
    pool = [(one.score + 1) / 2 for group in groups for one in group]
    pool += [1.0 if v else 0.0 for group in groups for one in group for v in verdicts_of(one).values() if v is not None]
    pool += [(reward + 1) / 2 for group in groups for one in group for reward in one.rejoin_rewards]
    spread = float(np.std(pool)) + 1e-6
    result = []
    for group in groups:
        branches = [(i, p, v) for i, one in enumerate(group) for p, v in verdicts_of(one).items() if v is not None]
        members: dict[tuple[int, Path, int], int] = {}
        for i, p, _ in branches:
            members[i, p[:-1], p[-1][0]] = members.get((i, p[:-1], p[-1][0]), 0) + 1
        size = k or (int(sum(members.values()) / len(members) + 0.5) if members else 1)
        size = min(size, len(branches))
        subsets = list(combinations(range(len(branches)), size)) if branches else []
        got_there = [any(branches[b][2] for b in chosen) for chosen in subsets]

        of_branch: dict[tuple[int, Path], float] = {}
        for at, (i, p, _) in enumerate(branches):
            holding = [one for chosen, one in zip(subsets, got_there, strict=True) if at in chosen]
            of_branch[i, p] = sum(holding) / len(holding) - sum(got_there) / len(got_there)
        best: dict[tuple[int, int], float] = {}
        for i, p, v in branches:
            worth = 1.0 if v and group[i].status is not RolloutStatus.TRUNCATED else 0.0
            best[i, p[0][0]] = max(best.get((i, p[0][0]), 0.0), worth)
        final = [(one.score + 1) / 2 for one in group]
        rows = []
        for i, one in enumerate(group):
            row = []
            for segment in one.segments:
                value = final[i] - sum(final) / len(final)
                if segment.kind == TokenKind.STEP:
                    if verdicts_of(one).get(segment.path) is not None:
                        value = of_branch[i, segment.path]
                    elif segment.path in verdicts_of(one):
                        value = math.nan
                elif segment.kind == TokenKind.GUIDELINE:
                    if (i, segment.block) in best:
                        value = best[i, segment.block] - sum(best.values()) / len(best)
                elif any(j == i for j, _, _ in branches):
                    if one.rejoin_rewards and segment.block == one.segments[-1].block:
                        value = final[i] - sum((r + 1) / 2 for r in one.rejoin_rewards) / len(one.rejoin_rewards)
                    else:
                        rights = [
                            sum(bool(v) for j, p, v in branches if j == other and p[0][0] <= segment.block)
                            for other in range(len(group))
                        ]
                        alike = [
                            final[other]
                            for other in range(len(group))
                            if any(j == other for j, _, _ in branches) and rights[other] == rights[i]
                        ]
                        value = final[i] - sum(alike) / len(alike)
                row += [value / spread] * (segment.end - segment.start)
            rows.append(row)
        result.append(rows)
    return result


@settings(deadline=None)
@given(st.lists(group_of, min_size=1, max_size=3), st.sampled_from([None, 1, 2]), st.integers(1, 3))
def test_any_number_of_ranks_gives_the_gradient_of_one_big_batch(
    groups: list[list[JudgedRollout]], k: int | None, ranks: int
) -> None:
    credit = SetCredit(k=k or 0)
    shares = [groups[rank::ranks] for rank in range(ranks)]
    total = torch.stack([credit.sums(share) for share in shares]).sum(0)
    found = [credit.advantages(share, total) for share in shares]
    tokens = sum(int(one.trained.sum()) for share in found for group in share for one in group)
    gradients: dict[int, Tensor] = {}
    for rank, share in enumerate(found):
        for at, group in enumerate(share):
            advantages = torch.from_numpy(np.concatenate([one.advantages for one in group]))
            mask = torch.from_numpy(np.concatenate([one.trained for one in group]))
            logprobs = torch.full_like(advantages, -1.0, requires_grad=True)
            loss, _ = papo_loss(LossInputs(logprobs, logprobs.detach(), advantages, mask), max(1, tokens))
            (gradients[rank + at * ranks],) = torch.autograd.grad(loss, logprobs)
    expected = [[value for row in rows for value in row] for rows in reference(groups, k)]
    count = sum(not math.isnan(value) for row in expected for value in row)
    assert count == tokens
    for number, row in enumerate(expected):
        # d(-Σ A log π / T) / d log π = -A / T
        wanted = [0.0 if math.isnan(value) else -value / count for value in row]
        assert gradients[number].tolist() == pytest.approx(wanted, abs=1e-5)
