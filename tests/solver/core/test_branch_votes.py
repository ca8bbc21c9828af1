"""Answers of steps share the vote of their candidate, where they attempt the whole problem: one vote and no more."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.runtime.engine import FinishReason, Usage
from espalier.solver.core.answer_classes import AnswerClasses
from espalier.solver.core.candidate import BranchAnswer, Candidate, Spec, attempt_the_whole
from espalier.solver.core.candidate import voted as classes_voted
from espalier.solver.core.confidence import other_ways
from espalier.solver.core.journal import Entry
from espalier.solver.core.loop import Solver
from espalier.solver.core.policies import Adaptive, BestOfK, Greedy
from espalier.solver.core.policy import Budget, Outcome, Stop, outcome_of, tally
from espalier.solver.core.problem import Problem
from espalier.solver.core.selection import DecidedBy, VerifiedCandidate, select, votes_on
from espalier.verifiers.local import LocalVerifiers
from espalier.verifiers.verdict import Status, Verdict
from tests.solver.service.telling import Words, telling

OPEN = Problem("p", "How many are there?")


def candidate(answer: str | None, *steps: tuple[int, str], index: int = 0, tokens: int = 10) -> Candidate:
    """One that concludes so, with a step for each answer, in the block that is given with it."""
    stated = tuple(BranchAnswer(((block, number),), text) for number, (block, text) in enumerate(steps, start=1))
    usage = Usage(sampled_tokens=tokens)
    return Candidate(Spec(index, 0, 0, 1.0), "", answer, stated, FinishReason.STOP, usage, 0.0)


class FakeEquivalence:
    """Numbers are equivalent by value; counts what it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def equivalent(self, a: str, b: str, *, timeout: float | None = None) -> Verdict:
        self.asked += 1
        return Verdict(Status.PASS if float(a) == float(b) else Status.FAIL, 1.0, "fake")


def fresh(verifier: FakeEquivalence | None = None) -> AnswerClasses:
    return AnswerClasses(verifier or FakeEquivalence(), lambda: 1.0)


def shared(*candidates: Candidate) -> list[tuple[int, ...]]:
    """Classes that the vote of each is shared between."""
    whole = attempt_the_whole(candidates)
    return [classes_voted(one, whole) for one in candidates]


@pytest.mark.parametrize(
    ("answer", "steps", "voted"),
    [
        ("5", [], ["5"]),
        ("5", [(0, "5"), (0, "5.0"), (0, "4")], ["5", "5", "5", "4"]),
        ("10", [(0, "4"), (0, "6")], ["10"]),  # its steps work out parts
        ("10", [(0, "4"), (0, "6"), (1, "10"), (1, "9")], ["10", "10", "9"]),  # and then the whole
        (None, [(0, "5"), (0, "5")], []),  # who concludes nothing has no vote
    ],
)
async def test_steps_share_the_vote_where_one_of_their_block_states_the_conclusion(
    answer: str | None, steps: list[tuple[int, str]], voted: list[str]
) -> None:
    classes = fresh()
    classed = await classes.classed(candidate(answer, *steps), steps=True)
    assert [classes.representatives[number] for number in shared(classed)[0]] == voted


@pytest.mark.parametrize(
    ("told", "voted"),
    [
        # Most conclude with what a step states, so a third misreads its steps.
        (
            [("5", "5", "4"), ("4", "4", "4"), ("9", "5", "5")],
            [["5", "5", "4"], ["4", "4", "4"], ["9", "5", "5"]],
        ),
        # One of two is not most: nobody can tell.
        ([("5", "5", "4"), ("9", "5", "5")], [["5", "5", "4"], ["9"]]),
        # Steps work out parts, one of which is by chance what a candidate concludes.
        ([("10", "4", "6"), ("4", "4", "6"), ("10", "5", "5")], [["10"], ["4", "4", "6"], ["10"]]),
        # Who concludes nothing, and who has no steps, tells nothing.
        ([(None, "5", "5"), ("7",), ("5", "5", "4"), (None, "4")], [[], ["7"], ["5", "5", "4"], []]),
    ],
)
async def test_steps_share_every_vote_where_most_candidates_conclude_with_what_a_step_states(
    told: list[tuple[str | None, ...]], voted: list[list[str]]
) -> None:
    classes = fresh()
    candidates = [
        await classes.classed(candidate(answer, *((0, step) for step in steps if step)), steps=True)
        for answer, *steps in told
    ]
    assert [[classes.representatives[number] for number in one] for one in shared(*candidates)] == voted


async def test_of_steps_that_do_not_state_the_conclusion_those_of_the_last_block_may_share_the_vote() -> None:
    classed = await fresh().classed(candidate("9", (0, "1"), (0, "2"), (1, "5"), (1, "6")), steps=True)
    assert [found.answer_class for found in classed.branch_answers] == [None, None, 1, 2]


async def test_without_steps_that_count_a_candidate_votes_as_it_concludes() -> None:
    classed = await fresh().classed(candidate("5", (0, "5"), (0, "4")), steps=False)
    assert (classed.answer_class, classed.branch_classes) == (0, ())


async def test_of_a_step_the_answer_counts_that_it_stated_last() -> None:
    path = ((0, 1),)
    first, last, other = BranchAnswer(path, "4"), BranchAnswer(path, "5"), BranchAnswer(((0, 2),), "6")
    stated = Candidate(Spec(0, 0, 0, 1.0), "", "5", (first, other, last), FinishReason.STOP, Usage(), 0.0)
    classed = await fresh().classed(stated, steps=True)
    assert [found.answer_class for found in classed.branch_answers] == [None, 1, 0]


async def test_a_known_text_is_not_compared_again() -> None:
    verifier = FakeEquivalence()
    classes = fresh(verifier)
    first = await classes.classed(candidate("5", (0, "5"), (0, "5"), (0, "4")), steps=True)
    before = verifier.asked
    assert [await classes.classed(candidate("5", (0, "4"), (0, "5")), steps=True) for _ in range(20)]
    assert verifier.asked == before
    assert shared(first) == [(0, 0, 0, 1)]


async def test_restored_classes_keep_their_numbers_and_texts() -> None:
    verifier = FakeEquivalence()
    earlier = fresh()
    stored = await earlier.classed(candidate("5", (0, "5.0"), (0, "4")), steps=True)
    classes = fresh(verifier)
    classes.restore(stored)
    assert classes.representatives == earlier.representatives
    assert (await classes.of("4"), await classes.of("5.0"), verifier.asked) == (1, 0, 0)
    assert await classes.of("6") == 2


def voted(index: int, answer_class: int, *steps: int, score: float = 1.0, rejoin: int | None = None) -> Outcome:
    return Outcome(index, 0, 10, Status.UNKNOWN, score, "x", answer_class, rejoin=rejoin, branch_classes=steps)


def test_a_vote_is_shared_in_equal_parts_as_heavy_as_its_candidates_score() -> None:
    assert tally([voted(0, 0, 0, 1, 1)]) == {0: 0.5, 1: 0.5}
    assert tally([voted(0, 0, 0, 1, 1, score=0.5), voted(1, 1)]) == {1: 1.25, 0: 0.25}
    assert tally([voted(0, 0, 0, 1, 1), voted(8, 1, rejoin=0)]) == {1: 0.75, 0: 0.25}


outcomes = st.lists(
    st.builds(
        lambda answer, steps, score: (answer, tuple(steps), score),
        st.integers(0, 3),
        st.lists(st.integers(0, 5), max_size=5),
        st.sampled_from([0.25, 0.5, 1.0]),
    ),
    max_size=12,
)


@given(outcomes, st.booleans())
def test_no_candidate_has_more_than_its_one_vote(given_: list[tuple[int, tuple[int, ...], float]], again: bool) -> None:
    told = [voted(index, answer, *steps, score=score) for index, (answer, steps, score) in enumerate(given_)]
    rejoined = [voted(100 + one.index, 0, 1, 2, score=one.score, rejoin=one.index) for one in told] if again else []
    assert sum(tally([*told, *rejoined]).values()) == pytest.approx(sum(one.score for one in told))


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.25, 0.5, 1.0])), max_size=12))
def test_candidates_without_steps_vote_as_they_always_did(given_: list[tuple[int, float]]) -> None:
    plain: Counter[int] = Counter()
    for answer, score in given_:
        plain[answer] += score  # type: ignore[assignment]
    weights = tally(voted(index, answer, score=score) for index, (answer, score) in enumerate(given_))
    assert list(weights.items()) == sorted(plain.items(), key=lambda item: (-item[1], item[0]))


def judged(*candidates: Candidate) -> list[VerifiedCandidate]:
    return [VerifiedCandidate(one, Verdict(Status.UNKNOWN, 1.0, "x")) for one in candidates]


async def test_a_calibration_sees_the_shares_and_no_negative_agreement_of_ways() -> None:
    classes = fresh()
    told = judged(
        await classes.classed(candidate("5", (0, "5"), (0, "4"), (0, "4"), (0, "4")), steps=True),
        await classes.classed(candidate("6", (0, "6"), (0, "4"), (0, "4"), (0, "4"), index=1), steps=True),
    )
    seen = votes_on(told, tally(outcome_of(one.candidate, one.verdict) for one in told))
    assert seen.weights == pytest.approx((1.2, 0.4, 0.4))
    assert (seen.silent, seen.ways) == (0, 0.0)
    four = next(iter(tally(outcome_of(one.candidate, one.verdict) for one in told)))
    assert other_ways(shared(*(one.candidate for one in told)), ["a", "b"], four) == 1.0


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 3, 0, 1)])
async def test_of_equal_votes_a_calibration_sees_the_ways_of_the_chosen_in_any_order_of_arrival(
    order: tuple[int, ...],
) -> None:
    classes = fresh()
    went = [("5", "words"), ("5", "words"), ("6", "words"), ("6", "program")]
    told = []
    for index in order:
        answer, way = went[index]
        one = candidate(answer, index=index)
        told += judged(await classes.classed(replace(one, spec=replace(one.spec, way=way)), steps=False))
    votes = tally(outcome_of(one.candidate, one.verdict) for one in told)
    assert (select(told, votes).answer, votes_on(told, votes).ways) == ("6", 1.0)


async def test_a_candidate_whose_vote_weighs_nothing_is_no_further_way_that_agrees() -> None:
    classes = fresh()

    async def told(index: int, answer: str, way: str, score: float) -> VerifiedCandidate:
        one = candidate(answer, index=index)
        one = await classes.classed(replace(one, spec=replace(one.spec, way=way)), steps=False)
        return VerifiedCandidate(one, Verdict(Status.UNKNOWN, score, "x"))

    heard = [await told(0, "5", "words", 1.0), await told(1, "6", "program", 0.5)]
    for score, agreeing in ((0.0, 0.0), (0.1, 1.0)):
        judged = [*heard, await told(2, "5", "program", score)]
        votes = tally(outcome_of(one.candidate, one.verdict) for one in judged)
        selection = select(judged, votes)
        assert (selection.answer, "from 2 ways of solving" in selection.reason) == ("5", agreeing == 1.0)
        assert votes_on(judged, votes).ways == agreeing


async def test_of_equal_votes_what_a_candidate_concludes_with_wins() -> None:
    told = judged(await fresh().classed(candidate("5", (0, "5"), (0, "4"), (0, "4")), steps=True))
    selection = select(told, tally(outcome_of(one.candidate, one.verdict) for one in told))
    assert (selection.answer, selection.decided_by) == ("5", DecidedBy.ONLY_CANDIDATE)


async def test_equal_sums_of_different_shares_are_equal_votes_and_the_shorter_response_wins() -> None:
    classes = fresh()
    long = [
        await classes.classed(candidate("5", (0, "5"), (0, text), index=index, tokens=90), steps=True)
        for index, text in enumerate(["1", "2", "3"])
    ]
    short = [await classes.classed(candidate("6", index=3 + index, tokens=5), steps=True) for index in range(2)]
    told = judged(*long, *short)
    assert select(told, tally(outcome_of(one.candidate, one.verdict) for one in told)).answer == "6"


async def test_candidates_whose_vote_weighs_nothing_do_not_say_how_the_others_vote() -> None:
    """All equalities of theirs are false: the tally does not hear them, and neither does the selection."""
    classes = fresh()

    async def told(answer: str, *steps: str, score: float = 1.0) -> VerifiedCandidate:
        classed = await classes.classed(candidate(answer, *((0, step) for step in steps)), steps=True)
        return VerifiedCandidate(classed, Verdict(Status.UNKNOWN, score, "x"))

    heard = [await told("5", "5", *(f"{ten}{one}" for one in range(8))) for ten in (1, 2, 3)]
    heard += [await told(answer, *["6"] * 9) for answer in ("8", "9")]
    weightless = [await told("7", "70", score=0.0) for _ in range(3)]
    votes = tally(outcome_of(one.candidate, one.verdict) for one in [*heard, *weightless])
    assert classes.representatives[next(iter(votes))] == "6"
    selection = select([*heard, *weightless], votes)
    assert (selection.answer, selection.reason) == ("6", select(heard, votes).reason)


# The whole loop, with the real engine and the real verifiers.


def forked(*steps: str, answer: str) -> Words:
    plans = "".join(f"<plan>{i}: way {i}</plan>" for i in range(1, len(steps) + 1))
    words = {((0, i),): f" so \\boxed{{{step}}}</step>" for i, step in enumerate(steps, start=1)}
    return {(): f"<guideline>{plans}</guideline>compare</takeaway>\\boxed{{{answer}}}", **words}


async def test_an_answer_that_only_steps_state_wins_by_their_votes(hub: LocalVerifiers) -> None:
    said = [forked("1/2", "0.5", "1/2", "5", answer="5"), forked("0.5", "1/2", "6", answer="6")]
    async with telling(lambda number: said[number % 2]) as engine:
        result = await Solver(engine, hub).solve(OPEN, BestOfK(), Budget(candidates=2))
    selection = result.selection
    assert (selection.answer, selection.decided_by, selection.candidate) == ("0.5", DecidedBy.CONSENSUS, 1)
    assert selection.reason == (
        "1.1 of 2 votes by weight, of steps whose candidates conclude otherwise; no check has confirmed it"
    )
    winner = result.judged[1].candidate
    assert winner.answer == "6", "its own conclusion stays its own"
    assert "\\boxed{0.5}" in winner.text


async def test_steps_that_work_out_parts_change_no_vote(hub: LocalVerifiers) -> None:
    said = [forked("4", "6", answer="10"), forked("4", "6", answer="10"), forked("4", "6", answer="4")]
    async with telling(lambda number: said[number % 3]) as engine:
        result = await Solver(engine, hub).solve(OPEN, BestOfK(), Budget(candidates=3))
    assert result.selection.answer == "10"
    assert result.selection.reason.startswith("2 of 3 votes by weight")


async def test_steps_of_one_response_may_outvote_its_conclusion_and_are_no_consensus(hub: LocalVerifiers) -> None:
    async with telling(forked("4", "4", "4", "5", answer="5")) as engine:
        result = await Solver(engine, hub).solve(OPEN, Greedy())
    assert (result.selection.answer, result.selection.decided_by) == ("4", DecidedBy.ONLY_CANDIDATE)
    assert result.selection.reason.startswith("more of its steps state it than what they conclude with")


async def test_steps_that_agree_settle_a_vote_no_sooner_and_those_that_do_not_later(hub: LocalVerifiers) -> None:
    async with telling(forked("4", "4", "4", answer="4")) as engine:
        agreed = await Solver(engine, hub).solve(OPEN, Adaptive(), Budget(candidates=8))
    async with telling(forked("4", "5", "6", answer="4")) as engine:
        split = await Solver(engine, hub).solve(OPEN, Adaptive(), Budget(candidates=8))
    assert (agreed.stopped, len(agreed.judged)) == (Stop.CONSENSUS, 4)
    assert (split.stopped, len(split.judged)) == (Stop.CANDIDATES, 8)


async def test_a_resumed_solve_counts_the_stored_shares_and_asks_for_none_again(hub: LocalVerifiers) -> None:
    said = [forked("4", "4", "5", answer="5"), forked("4", "6", answer="6")]
    async with telling(lambda number: said[number % 2]) as engine:
        first = await Solver(engine, hub).solve(OPEN, BestOfK(), Budget(candidates=2))
        entries = [Entry(one.candidate, one.verdict) for one in first.judged]
        again = await Solver(engine, hub).solve(OPEN, BestOfK(), Budget(candidates=2), entries=entries)
    assert [one.candidate for one in again.judged] == [one.candidate for one in first.judged]
    assert (again.selection.answer, again.selection.reason) == (first.selection.answer, first.selection.reason)
