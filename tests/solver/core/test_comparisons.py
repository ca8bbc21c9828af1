"""Comparisons of answers: in both orders, where the vote is undecided, and worth no more than their decision."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.runtime.engine import Event, GenerateRequest, Mode, Tokens
from espalier.runtime.open import open_engine, template_of
from espalier.solver.core.answer_comparer import AnswerComparer
from espalier.solver.core.comparison import comparing_pays, gain, next_pair
from espalier.solver.core.events import Compared
from espalier.solver.core.generation import Generation
from espalier.solver.core.json_form import to_json
from espalier.solver.core.loop import Solver
from espalier.solver.core.model_calls import ModelCalls
from espalier.solver.core.policies import Adaptive, BestOfK
from espalier.solver.core.policy import Budget, BudgetError, Outcome, PairComparison, PolicyState, Stop, begin
from espalier.solver.core.problem import Problem
from espalier.solver.core.proto import encode_event
from espalier.solver.core.report import usage_line
from espalier.solver.core.selection import DecidedBy
from espalier.solver.core.verification import VERDICT_TOKENS
from espalier.verifiers.check import ReferenceCheck
from espalier.verifiers.verdict import Status
from tests.solver.core.test_trust import judged
from tests.solver.scripted import FAIL, ScriptedEngine, ScriptedJudge, boxed

OPEN = Problem("p", "What is 6 times 7?")


def state(*classes: int | None, comparisons: tuple[PairComparison, ...] = ()) -> PolicyState:
    outcomes = tuple(
        Outcome(index, 0, 100 + index, Status.UNKNOWN, 1.0, answer="x", answer_class=number)
        for index, number in enumerate(classes)
    )
    return PolicyState(1, Budget(candidates=16, comparisons=9), outcomes, comparisons=comparisons)


def compared(score: float, tokens: int = 2) -> PairComparison:
    return PairComparison((0, 1), (0, 1), score, tokens)


def judging(prefers: Callable[[str, str], str], *answers: str, kind: type[ScriptedEngine] = ScriptedEngine):  # type: ignore[no-untyped-def]
    """Answers candidates in turn, and comparisons by what is shown first and second."""
    told = iter(answers)

    def script(request: GenerateRequest, _: int) -> str:
        if "/compare/" not in request.request_id:
            return boxed(next(told))
        asked = ScriptedEngine.of("").tokenizer.decode(request.prompt)
        _, first, second = asked.split("Solution ")
        return prefers(first, second)

    return kind(script)


def right(first: str, second: str) -> str:
    return "A" if "42" in first else "B"


# Which are compared.


def test_the_leader_is_compared_with_its_strongest_rival_first_and_each_pair_once() -> None:
    now = state(0, 0, 1, 2, 1)
    pairs = []
    while pair := next_pair(now, 0.99):
        pairs.append((pair[0].index, pair[1].index))
        classes = (pair[0].answer_class or 0, pair[1].answer_class or 0)
        now = replace(now, comparisons=(*now.comparisons, PairComparison(pairs[-1], classes, 0.5, 2)))
    assert pairs[0] == (0, 2)
    assert len({frozenset(pair) for pair in pairs}) == len(pairs) >= 6


@pytest.mark.parametrize("classes", [(), (None,), (0,), (0, 0, 0), (0, 0, 0, 0, 0, 1)])
def test_nothing_is_compared_where_nothing_is_open(classes: tuple[int | None, ...]) -> None:
    assert next_pair(state(*classes), 0.9) is None


def test_an_answer_without_a_vote_is_not_compared() -> None:
    now = state(0, 1)
    failed = replace(now.outcomes[1], status=Status.FAIL)
    assert next_pair(replace(now, outcomes=(now.outcomes[0], failed)), 0.95) is None


def test_a_comparison_is_one_vote_that_its_classes_share() -> None:
    assert state(0, 1, 1, comparisons=(compared(0.75),)).votes == {1: 2.25, 0: 1.75}


# What pays.


@given(st.integers(0, 12), st.integers(0, 12))
def test_one_more_vote_never_unsettles_on_the_whole_and_one_of_no_weight_settles_nothing(a: int, b: int) -> None:
    votes = {0: float(max(a, b)), 1: float(min(a, b))}
    assert gain(votes, 1.0) >= 0
    assert gain(votes, 0.0) == pytest.approx(0.0, abs=1e-12)


def test_comparing_pays_until_the_model_contradicts_itself() -> None:
    assert comparing_pays(state(0, 1, 0, 1))
    assert not comparing_pays(state(0, 1, 0, 1, comparisons=(compared(0.5),)))


def test_a_costly_comparison_pays_less_than_a_cheap_candidate() -> None:
    assert not comparing_pays(state(0, 1, 0, 1, comparisons=(compared(0.9, tokens=100_000),)))


def test_a_candidate_costs_its_re_joins_too_which_share_its_vote() -> None:
    alone = state(0, 1, 0, 1, comparisons=(compared(0.9, tokens=400),))
    again = [replace(one, index=one.index + 16, tokens=1000, rejoin=one.index) for one in alone.outcomes]
    rejoined = replace(alone, outcomes=(*alone.outcomes, *again))
    assert rejoined.votes == alone.votes
    assert not comparing_pays(alone)
    assert comparing_pays(rejoined)


def test_before_the_first_candidate_there_is_nothing_to_compare() -> None:
    assert not comparing_pays(begin(1, Budget(comparisons=3)))
    assert Adaptive().compare(begin(1, Budget(comparisons=3))) is None


def test_best_of_k_compares_when_all_are_sampled_and_adaptive_between_rounds() -> None:
    open_vote = state(0, 1)
    assert BestOfK().compare(open_vote) is None
    assert BestOfK().compare(replace(open_vote, stopped=Stop.CANDIDATES)) is not None
    assert Adaptive().compare(open_vote) is not None


@pytest.mark.parametrize("why", [Stop.PASSED, Stop.CONSENSUS, Stop.SECONDS])
def test_what_is_decided_or_out_of_time_is_not_compared(why: Stop) -> None:
    for policy in (BestOfK(), Adaptive()):
        assert policy.compare(replace(state(0, 1), stopped=why)) is None


# In a solve.


async def test_comparisons_decide_a_split_vote_and_prove_nothing() -> None:
    engine = judging(right, "41", "42")
    events: list[object] = []
    result = await Solver(engine, ScriptedJudge()).solve(
        OPEN, BestOfK(), Budget(candidates=2, comparisons=3), observer=events.append
    )
    assert (result.selection.answer, result.selection.decided_by) == ("42", DecidedBy.CONSENSUS)
    assert result.selection.reason.startswith("2 of 3 votes by weight")
    (event,) = (event for event in events if isinstance(event, Compared))
    assert event.comparison.score == 0.0
    message = encode_event("s", event, 0.0, deltas=False)
    assert message is not None
    assert to_json(message)["compared"]["second"] == 1


async def test_a_model_that_prefers_what_comes_first_decides_nothing() -> None:
    engine = judging(lambda *_: "A", "41", "42", "41", "42")
    result = await Solver(engine, ScriptedJudge()).solve(OPEN, BestOfK(), Budget(candidates=4, comparisons=64))
    assert result.selection.reason.startswith("4 of 8 votes by weight")  # four pairs, half a vote each way


async def test_a_model_that_names_none_decides_nothing() -> None:
    engine = judging(lambda *_: "Unsure!", "41", "42")
    events: list[object] = []
    await Solver(engine, ScriptedJudge()).solve(
        OPEN, BestOfK(), Budget(candidates=2, comparisons=1), observer=events.append
    )
    assert [event.comparison.score for event in events if isinstance(event, Compared)] == [0.5]


async def test_the_probability_of_the_letter_is_the_score_where_the_engine_tells_it() -> None:
    class Telling(ScriptedEngine):
        async def generate(self, request: GenerateRequest) -> AsyncIterator[Event]:
            async for event in super().generate(request):
                known = isinstance(event, Tokens)
                yield replace(event, logprobs=(-0.5108256,) * len(event.tokens)) if known else event  # 0.6

    events: list[object] = []
    engine = judging(right, "41", "42", kind=Telling)
    await Solver(engine, ScriptedJudge()).solve(
        OPEN, BestOfK(), Budget(candidates=2, comparisons=1), observer=events.append
    )
    (event,) = (event for event in events if isinstance(event, Compared))
    assert event.comparison.score == pytest.approx(0.4)


async def test_adaptive_compares_before_it_pays_for_candidates() -> None:
    answers = ["41", "42"] * 8
    budget = Budget(candidates=16, comparisons=64)
    result = await Solver(judging(right, *answers), ScriptedJudge()).solve(OPEN, Adaptive(), budget)
    without = await Solver(judging(right, *answers), ScriptedJudge()).solve(OPEN, Adaptive(), Budget(candidates=16))
    assert (result.selection.answer, result.stopped) == ("42", Stop.CONSENSUS)
    assert result.spent.total.new_tokens < without.spent.total.new_tokens


async def test_it_is_off_unless_asked_for_and_where_a_check_decides() -> None:
    for problem, budget in (
        (OPEN, Budget(candidates=2)),
        (Problem("p", OPEN.text, ReferenceCheck("40")), Budget(candidates=2, comparisons=5)),
    ):
        engine = judging(right, "41", "42")
        await Solver(engine, ScriptedJudge({"41": FAIL, "42": FAIL})).solve(problem, BestOfK(), budget)
        assert len(engine.requests) == 2


async def test_tokens_of_comparisons_are_counted_apart_and_kept_free_in_the_limit() -> None:
    engine = judging(right, "41", "42")
    budget = Budget(candidates=2, comparisons=2, tokens=32 + 2 * 64)
    result = await Solver(engine, ScriptedJudge()).solve(OPEN, BestOfK(), budget)
    spent = sum(count for name, count in engine.emitted.items() if "/compare/" in name)
    assert result.spent.verification.new_tokens == spent > 0
    assert result.spent.total.new_tokens == sum(engine.emitted.values()) <= 160
    assert f"{spent} verification" in usage_line(result)
    requests = [request for request in engine.requests if "/compare/" in request.request_id]
    assert {(request.mode, request.limits.max_tokens) for request in requests} == {(Mode.SEQUENTIAL, 8)}
    assert max(request.limits.max_tokens for request in engine.requests) == 64


async def test_a_problem_with_a_check_keeps_no_tokens_free() -> None:
    engine = judging(right, "41")
    checked = Problem("p", OPEN.text, ReferenceCheck("40"))
    await Solver(engine, ScriptedJudge({"41": FAIL})).solve(
        checked, BestOfK(), Budget(candidates=1, comparisons=5, tokens=100)
    )
    assert engine.requests[0].limits.max_tokens == 100


async def test_too_few_tokens_for_both_are_refused() -> None:
    with pytest.raises(BudgetError, match="at least 224 with 10 comparisons"):
        await Solver(judging(right, "41"), ScriptedJudge()).solve(
            OPEN, BestOfK(), Budget(candidates=1, comparisons=10, tokens=223)
        )


async def test_comparisons_end_when_time_is_up() -> None:
    class Slow(ScriptedEngine):
        async def generate(self, request: GenerateRequest) -> AsyncIterator[Event]:
            if "/compare/" in request.request_id:
                await asyncio.Event().wait()
            async for event in super().generate(request):
                yield event

    engine = judging(right, "41", "42", kind=Slow)
    result = await Solver(engine, ScriptedJudge()).solve(
        OPEN, BestOfK(), Budget(candidates=2, comparisons=5, seconds=0.5)
    )
    assert result.selection.answer == "41"
    assert not engine.running


async def test_comparisons_need_no_block_where_candidates_are_constrained() -> None:
    """A response that is kept to the grammar ends behind a block only."""
    seen: dict[str, bool] = {}

    class Watched(ScriptedEngine):
        async def generate(self, request: GenerateRequest) -> AsyncIterator[Event]:
            seen[request.request_id] = request.constrained
            async for event in super().generate(request):
                yield event

    solver = Solver(judging(right, "41", "42", kind=Watched), ScriptedJudge(), generation=Generation(constrained=True))
    await solver.solve(OPEN, BestOfK(), Budget(candidates=2, comparisons=5))
    of_comparisons = {constrained for name, constrained in seen.items() if "/compare/" in name}
    of_candidates = {constrained for name, constrained in seen.items() if "/compare/" not in name}
    assert (of_candidates, of_comparisons) == ({True}, {False})


async def test_the_bundled_model_is_asked_in_both_orders_and_answers_within_its_limit() -> None:
    """Mechanics alone: it has learnt no words but those of its own tasks."""
    async with open_engine("local") as engine:
        comparer = AnswerComparer(ModelCalls(engine, template_of(engine, None), Generation(), OPEN, "solve"), 1)
        answers = judged(("40", 0), ("41", 1))
        first, second = (replace(one.candidate, text=boxed(one.candidate.answer or "")) for one in answers)
        comparison, cost = await comparer.compare(first, second)
    assert 0 <= comparison.score <= 1
    assert 2 <= comparison.tokens <= 2 * VERDICT_TOKENS
    assert cost == comparer.usage
