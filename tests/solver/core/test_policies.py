"""Policies as values: what they ask for, when they stop, and that telling and asking are pure and repeatable."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.common.errors import FieldError
from espalier.runtime.engine import FinishReason, Usage
from espalier.solver.core.candidate import Candidate, Spec
from espalier.solver.core.policies import POLICIES, Adaptive, BestOfK, Greedy, Refine, policy
from espalier.solver.core.policies.rounds import Rounds
from espalier.solver.core.policy import Budget, BudgetError, Outcome, Policy, PolicyState, Stop, begin, stop, tally
from espalier.solver.core.settings import ServerLimits, Settings
from espalier.solver.core.votes import leader_probability, votes_needed
from espalier.verifiers.verdict import Status, Verdict

Tells = Callable[[Spec], tuple[Candidate, Verdict]]


def told(
    spec: Spec,
    status: Status,
    score: float = 0.0,
    group: int | None = None,
    tokens: int = 10,
    branches: tuple[int, ...] = (),
) -> Candidate:
    return Candidate(
        spec=spec,
        text="",
        answer=f"answer {spec.index}",
        branch_answers=(),
        reason=FinishReason.STOP,
        usage=Usage(sampled_tokens=tokens),
        seconds=0.0,
        answer_class=group,
        branches=branches if spec.rejoin is None else (),
    )


def run(
    kind: Policy, budget: Budget, status: Status = Status.FAIL, group: int | None = None
) -> tuple[PolicyState, list[int]]:
    """Tell every candidate the same; the final state and the sizes of the rounds."""
    state, sizes = begin(0, budget), []
    while specs := kind.ask(state):
        sizes.append(len(specs))
        for spec in specs:
            score = 1.0 if status in (Status.PASS, Status.UNKNOWN) else 0.0
            state = kind.tell(state, told(spec, status, group=group), Verdict(status, score, "test", feedback="no"))
    return state, sizes


statuses = st.sampled_from([Status.FAIL, Status.UNKNOWN, Status.ERROR])
kinds = st.sampled_from(list(POLICIES))
budgets = st.builds(
    Budget,
    candidates=st.integers(1, 40),
    tokens=st.none() | st.integers(64, 4000),
    rounds=st.none() | st.integers(1, 6),
    rejoins=st.integers(0, 3),
)


@given(kinds, budgets, st.integers(0, 99), st.data())
def test_any_order_of_tells_keeps_every_limit_and_asks_for_nothing_twice(
    name: str, budget: Budget, seed: int, data: st.DataObject
) -> None:
    kind, state = policy(name), begin(seed, budget)
    started: dict[int, Spec] = {}
    outcomes: dict[int, tuple[Candidate, Verdict]] = {}
    rng = random.Random(seed)
    while specs := kind.ask(state):
        assert kind.ask(state) == specs
        for spec in specs:
            assert started.setdefault(spec.index, spec) == spec
        spec = rng.choice(specs)
        status = data.draw(statuses)
        limit = 200 if spec.max_tokens is None else spec.max_tokens
        branches = rng.choice([(), (1, 2)])
        candidate = told(spec, status, group=rng.choice([None, 0, 1]), tokens=rng.randint(0, limit), branches=branches)
        verdict = Verdict(status, rng.random(), "test", feedback=rng.choice(["", "wrong"]))
        outcomes[spec.index] = (candidate, verdict)
        state = kind.tell(state, candidate, verdict)
        assert kind.tell(state, candidate, verdict) is state
    assert state.stopped is not None
    assert sum(outcome.rejoin is None for outcome in state.outcomes) <= budget.candidates
    rejoins = Counter(outcome.rejoin for outcome in state.outcomes if outcome.rejoin is not None)
    assert all(count <= budget.rejoins for count in rejoins.values())
    assert all(outcomes[source][0].branches for source in rejoins)
    assert budget.tokens is None or state.tokens <= budget.tokens
    assert budget.rounds is None or all(outcome.round < budget.rounds for outcome in state.outcomes)


@given(kinds, budgets, st.integers(0, 99))
def test_a_state_told_again_of_stored_candidates_goes_on_as_before(name: str, budget: Budget, seed: int) -> None:
    kind, state, stored = policy(name), begin(seed, budget), []
    while specs := kind.ask(state):
        resumed = begin(seed, budget)
        for candidate, verdict in reversed(stored):
            resumed = kind.tell(resumed, candidate, verdict)
        assert resumed == state
        assert kind.ask(resumed) == specs
        branches = (1,) if specs[0].index % 3 else ()
        stored.append((told(specs[0], Status.FAIL, branches=branches), Verdict(Status.FAIL, 0.0, "test")))
        state = kind.tell(state, *stored[-1])


@pytest.mark.parametrize("name", POLICIES)
def test_a_pass_stops_every_policy_and_late_tells_change_nothing(name: str) -> None:
    kind = policy(name)
    state = begin(0, Budget(candidates=8))
    first, *late = kind.ask(state)
    state = kind.tell(state, told(first, Status.PASS), Verdict(Status.PASS, 1.0, "test"))
    assert state.stopped is Stop.PASSED
    assert kind.ask(state) == ()
    for spec in late:
        assert kind.tell(state, told(spec, Status.PASS), Verdict(Status.PASS, 1.0, "test")) is state


def rejoined(name: str, budget: Budget, status: Status = Status.FAIL) -> list[list[Spec]]:
    """What a policy asks for where every candidate has branches."""
    kind, state, asked = policy(name), begin(7, budget), []
    while specs := kind.ask(state):
        asked.append(list(specs))
        for spec in specs:
            state = kind.tell(state, told(spec, status, branches=(1,)), Verdict(status, 0.0, "test"))
    return asked


def test_branches_are_concluded_anew_before_another_round_is_paid_for() -> None:
    first, again, second, more = rejoined("adaptive", Budget(candidates=4, rejoins=2))
    assert [(spec.index, spec.rejoin) for spec in first] == [(0, None), (1, None)]
    assert [(spec.index, spec.rejoin, spec.round) for spec in again] == [(4, 0, 0), (5, 1, 0), (8, 0, 0), (9, 1, 0)]
    assert [(spec.index, spec.rejoin) for spec in second] == [(2, None), (3, None)]
    assert [(spec.index, spec.rejoin, spec.round) for spec in more] == [(6, 2, 1), (7, 3, 1), (10, 2, 1), (11, 3, 1)]
    seeds = [spec.seed for specs in (first, again, second, more) for spec in specs]
    assert len(set(seeds)) == len(seeds)


def test_re_joins_of_a_greedy_candidate_are_sampled_or_they_would_repeat_it() -> None:
    (first,), again = rejoined("greedy", Budget(rejoins=2))
    assert first.temperature == 0.0
    assert [spec.temperature for spec in again] == [1.0, 1.0]


def test_re_joins_share_what_the_candidates_of_their_round_have_left() -> None:
    kind, state = policy("best_of_k"), begin(0, Budget(candidates=2, tokens=1000, rejoins=3))
    for spec in kind.ask(state):
        assert spec.max_tokens == 500
        state = kind.tell(state, told(spec, Status.FAIL, tokens=300, branches=(1,)), Verdict(Status.FAIL, 0.0, "test"))
    again = kind.ask(state)
    assert [spec.max_tokens for spec in again] == [66] * 6, "400 tokens are left"
    state = kind.tell(state, told(again[0], Status.FAIL, tokens=60), Verdict(Status.FAIL, 0.0, "test"))
    assert kind.ask(state) == again[1:], "what one has spent does not change the others' shares"


def test_conclusions_of_the_same_branches_share_one_vote() -> None:
    def voted(index: int, group: int, rejoin: int | None = None, score: float = 1.0) -> Outcome:
        return Outcome(index, 0, 10, Status.UNKNOWN, score, "a", group, rejoin=rejoin)

    assert tally([voted(0, 0), voted(8, 0, 0), voted(16, 0, 0)]) == {0: 1.0}
    assert tally([voted(0, 0), voted(8, 1, 0), voted(16, 1, 0), voted(24, 1, 0)]) == {1: 0.75, 0: 0.25}
    assert tally([voted(0, 0), voted(8, 1, 0), voted(1, 1)]) == {1: 1.5, 0: 0.5}
    assert tally([voted(0, 0, score=0.5), voted(8, 0, 0, score=1.0)]) == {0: 0.75}
    silent = Outcome(0, 0, 10, Status.UNKNOWN, 1.0)
    assert tally([silent, voted(8, 0, 0)]) == {0: 1.0}, "a conclusion that votes speaks for those that do not"


def test_re_joins_alone_never_settle_a_vote() -> None:
    once = leader_probability(tally([Outcome(0, 0, 10, Status.UNKNOWN, 1.0, "a", 0)]))
    many = [Outcome(8 * time, 0, 10, Status.UNKNOWN, 1.0, "a", 0, rejoin=0 if time else None) for time in range(9)]
    assert leader_probability(tally(many)) == once


def test_greedy_samples_once_at_temperature_zero() -> None:
    (spec,) = Greedy().ask(begin(0, Budget(candidates=8)))
    assert spec.temperature == 0.0
    assert run(Greedy(), Budget(candidates=8))[1] == [1]


def test_best_of_k_samples_all_at_once() -> None:
    state, sizes = run(BestOfK(), Budget(candidates=5))
    assert (state.stopped, sizes) == (Stop.CANDIDATES, [5])


@pytest.mark.parametrize(("k", "sizes"), [(1, [1]), (2, [2]), (8, [2, 2, 4]), (13, [2, 2, 4, 5]), (16, [2, 2, 4, 8])])
def test_adaptive_doubles_the_candidates_round_by_round(k: int, sizes: list[int]) -> None:
    assert run(Adaptive(), Budget(candidates=k))[1] == sizes


def test_adaptive_stops_when_the_leading_class_is_ahead_with_enough_certainty() -> None:
    # Unanimous votes: P(p > 1/2) under Beta(n + 1, 1) is 1 - 2^-(n + 1): 0.9375 for 3, 0.96875 for 4.
    state, _ = run(Adaptive(), Budget(candidates=64), Status.UNKNOWN, group=0)
    assert (state.stopped, len(state.outcomes)) == (Stop.CONSENSUS, 4)
    state, _ = run(Adaptive(certainty=0.99), Budget(candidates=64), Status.UNKNOWN, group=0)
    assert len(state.outcomes) == 6
    state, _ = run(Adaptive(certainty=0.85), Budget(candidates=64), Status.UNKNOWN, group=0)
    assert len(state.outcomes) == 2


weights = st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.25, 0.5, 1.0])), min_size=1, max_size=20)


@given(weights, st.sampled_from([0.9, 0.95, 0.99]), st.integers(1, 40))
def test_no_fewer_votes_than_are_lacking_can_settle_a_vote_and_as_many_for_the_leader_do(
    votes: list[tuple[int, float]], certainty: float, most: int
) -> None:
    outcomes = tuple(vote(index, *given) for index, given in enumerate(votes))
    missing = votes_needed(tally(outcomes), certainty, most)
    assert 1 <= missing <= most
    for group in range(5):  # also for one without a vote yet
        further = tuple(vote(len(votes) + number, group, 1.0) for number in range(missing))
        if leader_probability(tally(outcomes)) < certainty:
            assert leader_probability(tally(outcomes + further[:-1])) < certainty
    leader = next(iter(tally(outcomes)))
    further = tuple(vote(len(votes) + number, leader, 1.0) for number in range(missing))
    assert missing == most or leader_probability(tally(outcomes + further)) >= certainty


def test_a_round_of_adaptive_is_not_larger_than_the_votes_that_could_settle_it() -> None:
    # 1 : 1 needs 6 : 1, five more; there are two. Then 3 : 1 needs 6 : 1, three of the four that doubling would take.
    assert rounds_of(Adaptive(), [0, 1, 0, 0, 0, 0, 0], 64) == ([2, 2, 3], Stop.CONSENSUS)
    # Four different answers: 1 : 1 : 1 : 1 needs 6 : 1. Then 2 : 1 : … needs four more, and so on up to k.
    assert rounds_of(Adaptive(), [0, 1, 2, 3, 4, 5, 6, 7, 0], 12)[0] == [2, 2, 4, 4]
    # No candidate votes where a check says FAIL: nothing but the doubling limits a round.
    assert run(Adaptive(), Budget(candidates=32))[1] == [2, 2, 4, 8, 16]


def rounds_of(kind: Policy, groups: list[int], k: int) -> tuple[list[int], Stop | None]:
    """Sizes of the rounds while the candidates vote for these classes, the last one for ever; and what ended them."""
    state, sizes = begin(0, Budget(candidates=k)), []
    while specs := kind.ask(state):
        sizes.append(len(specs))
        for spec in specs:
            group = groups[min(spec.index, len(groups) - 1)]
            state = kind.tell(state, told(spec, Status.UNKNOWN, group=group), Verdict(Status.UNKNOWN, 1.0, "test"))
    return sizes, state.stopped


def vote(index: int, group: int, score: float) -> Outcome:
    return Outcome(index, 0, 10, Status.UNKNOWN, score, "x", group)


def test_votes_of_failed_and_broken_verdicts_do_not_count() -> None:
    for status in (Status.FAIL, Status.ERROR):
        state, _ = run(Adaptive(), Budget(candidates=16), status, group=0)
        assert (state.stopped, len(state.outcomes)) == (Stop.CANDIDATES, 16)


def test_best_of_k_is_not_stopped_by_votes() -> None:
    state, _ = run(BestOfK(), Budget(candidates=16), Status.UNKNOWN, group=0)
    assert (state.stopped, len(state.outcomes)) == (Stop.CANDIDATES, 16)


@pytest.mark.parametrize(("share", "repairs"), [(0.0, 0), (0.25, 1), (0.5, 1), (1.0, 2)])
def test_refine_splits_a_round_between_repairs_and_fresh_samples(share: float, repairs: int) -> None:
    kind = Refine(repair_share=share)
    state = begin(0, Budget(candidates=8))
    scores = {0: 0.2, 1: 0.6}
    assert all(spec.repair is None for spec in kind.ask(state))
    for spec in kind.ask(state):
        verdict = Verdict(Status.FAIL, scores[spec.index], "test", feedback=f"feedback on {spec.index}")
        state = kind.tell(state, told(spec, Status.FAIL), verdict)
    specs = kind.ask(state)
    assert [spec.repair is not None for spec in specs] == [True] * repairs + [False] * (len(specs) - repairs)
    for spec in specs[:repairs]:
        assert spec.repair is not None
        assert (spec.repair.candidate, spec.repair.feedback) == (1, "feedback on 1")


def test_refine_without_feedback_samples_afresh() -> None:
    kind, state = Refine(), begin(0, Budget(candidates=8))
    for spec in kind.ask(state):
        state = kind.tell(state, told(spec, Status.FAIL), Verdict(Status.FAIL, 0.0, "test"))
    assert all(spec.repair is None for spec in kind.ask(state))


def test_the_token_budget_is_shared_among_the_candidates_of_a_round() -> None:
    specs = BestOfK().ask(begin(0, Budget(candidates=8, tokens=1000)))
    assert [spec.max_tokens for spec in specs] == [125] * 8
    specs = BestOfK().ask(begin(0, Budget(candidates=8, tokens=200)))
    assert [spec.max_tokens for spec in specs] == [66] * 3


def test_tokens_that_a_round_has_left_over_are_spent_on_further_candidates() -> None:
    state, sizes = run(BestOfK(), Budget(candidates=8, tokens=200))
    assert sizes == [3, 2, 2, 1]  # 66 tokens were set aside for each and 10 were used
    assert state.stopped is Stop.CANDIDATES


def test_limits_that_are_reached_are_named() -> None:
    assert run(Adaptive(), Budget(candidates=64, rounds=2))[0].stopped is Stop.ROUNDS
    assert run(Adaptive(), Budget(candidates=64, tokens=200))[0].stopped is Stop.TOKENS
    assert stop(begin(0, Budget()), Stop.SECONDS).stopped is Stop.SECONDS


def test_temperatures_and_hints_are_handed_out_in_turn() -> None:
    kind = BestOfK(temperatures=(0.5, 1.0), hints=("a", "b", "c"))
    specs = kind.ask(begin(0, Budget(candidates=4)))
    assert [(spec.temperature, spec.hint) for spec in specs] == [(0.5, "a"), (1.0, "b"), (0.5, "c"), (1.0, "a")]


@pytest.mark.parametrize(
    ("field", "value"), [("candidates", 0), ("candidates", 5000), ("tokens", 0), ("seconds", 0.0), ("rounds", -1)]
)
def test_an_impossible_budget_names_the_limit(field: str, value: float) -> None:
    with pytest.raises(BudgetError, match="k must" if field == "candidates" else field):
        Budget(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("adaptive", {"certainty": 0.4}),
        ("adaptive", {"first": 0}),
        ("refine", {"repair_share": 2.0}),
        ("best_of_k", {"temperatures": ()}),
        ("best_of_k", {"temperatures": (-1.0,)}),
        ("greedy", {"certainty": 0.9}),
        ("nonsense", {}),
    ],
)
def test_impossible_settings_are_refused_by_name(kind: str, settings: dict[str, object]) -> None:
    with pytest.raises(
        ValueError, match="|".join([*settings, "unknown policy 'nonsense'"]).replace("temperatures", "temp")
    ):
        policy(kind, **settings)


@pytest.mark.parametrize("name", ["adaptive", "refine"])
def test_the_certainty_of_a_request_comes_before_the_servers(name: str) -> None:
    limits = ServerLimits(policy=name, certainty=0.85)
    assert limits.plan(Settings()).policy == policy(name, certainty=0.85)
    assert limits.plan(Settings(certainty=0.99)).policy == policy(name, certainty=0.99)
    assert ServerLimits(policy=name).plan(Settings()).policy == policy(name)


@pytest.mark.parametrize("name", ["greedy", "best_of_k"])
def test_a_policy_that_does_not_stop_by_votes_refuses_a_certainty_but_for_the_servers_own(name: str) -> None:
    assert ServerLimits(certainty=0.85).plan(Settings(policy=name)).policy == policy(name)
    with pytest.raises(FieldError, match=f"certainty: ends votes, and {name} does not"):
        ServerLimits().plan(Settings(policy=name, certainty=0.85))


def test_every_policy_is_a_frozen_value() -> None:
    for kind in POLICIES.values():
        assert kind() == kind()
        assert isinstance(kind(), Rounds)
        assert hash(kind()) == hash(kind())


def test_a_plan_with_re_joins_has_more_than_one_response() -> None:
    assert ServerLimits().plan(Settings(policy="greedy")).single
    assert ServerLimits().plan(Settings(k=1)).single
    assert not ServerLimits().plan(Settings(policy="greedy", rejoins=1)).single
