"""The solving loop, against scripted engines and judges."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from espalier.common.errors import FieldError
from espalier.runtime.engine import (
    EngineInfo,
    EngineUnavailable,
    FinishReason,
    GenerateRequest,
    Limits,
    Mode,
    RequestRefused,
)
from espalier.runtime.prompt import ChatMessage
from espalier.solver.core.candidate import Candidate
from espalier.solver.core.events import (
    AnswerJudged,
    CandidateFinished,
    CandidateStarted,
    RoundFinished,
    Solved,
    SolveEvent,
)
from espalier.solver.core.generation import Generation
from espalier.solver.core.journal import Entry
from espalier.solver.core.loop import Solver
from espalier.solver.core.policies import Adaptive, BestOfK, Greedy, Refine
from espalier.solver.core.policy import Budget, Stop
from espalier.solver.core.problem import Problem
from espalier.solver.core.proto import decode_entry, encode_entry
from espalier.solver.core.result import Result
from espalier.solver.core.selection import DecidedBy
from espalier.v1 import solver_pb2 as pb
from espalier.verifiers.check import ReferenceCheck, StepCheck
from espalier.verifiers.verdict import Status, Verdict
from tests.solver.scripted import EOS, ERROR, FAIL, PASS, UNKNOWN, ScriptedEngine, ScriptedJudge, boxed, response

CHECKED = Problem("p", "What is 6 times 7?", ReferenceCheck("42"))
OPEN = Problem("p", "What is 6 times 7?")
JUDGE = {"42": PASS, "41": FAIL, "40": FAIL}


def solver(engine: ScriptedEngine, judge: ScriptedJudge | None = None, **generation: Any) -> Solver:
    return Solver(engine, judge or ScriptedJudge(JUDGE), generation=Generation(**generation))


async def test_a_right_answer_is_verified() -> None:
    engine = ScriptedEngine.of(response("6*7=42", "7*6=42", answer=boxed("42")))
    result = await solver(engine).solve(CHECKED, Greedy(), Budget(candidates=1))
    assert (result.selection.answer, result.selection.decided_by) == ("42", DecidedBy.CHECK)
    assert result.selection.verified
    assert result.stopped is Stop.PASSED
    assert result.judged[0].candidate.forked
    assert result.judged[0].candidate.well_formed


async def test_a_second_end_of_turn_is_no_part_of_the_text() -> None:
    engine = ScriptedEngine.of(boxed("42"), info=EngineInfo("scripted", 1 << 20, parallel=True, end_of_turn=(EOS,)))
    engine.tokenizer.eos_token_id = 10_000
    result = await solver(engine).solve(CHECKED, Greedy(), Budget(candidates=1))
    assert result.judged[0].candidate.text == boxed("42")


async def test_the_solve_id_leads_the_ids_of_engine_requests_and_two_runs_of_it_never_share_one() -> None:
    engine = ScriptedEngine.of(boxed("41"))
    for _ in range(2):
        await solver(engine).solve(CHECKED, BestOfK(), Budget(candidates=3), solve_id="a-job")
    ids = [request.request_id for request in engine.requests]
    assert len(set(ids)) == 6
    assert all(name.startswith("a-job/") for name in ids)


async def test_a_wrong_answer_is_no_answer() -> None:
    result = await solver(ScriptedEngine.of(boxed("41"))).solve(CHECKED, BestOfK(), Budget(candidates=3))
    assert result.selection.answer is None
    assert result.selection.decided_by is DecidedBy.NONE
    assert result.stopped is Stop.CANDIDATES
    assert result.trouble == ""


async def test_the_first_pass_aborts_the_losers_in_the_engine_and_counts_their_tokens() -> None:
    engine = ScriptedEngine.of(boxed("42"), None)
    result = await solver(engine, limits=Limits(max_tokens=1 << 20)).solve(CHECKED, BestOfK(), Budget(candidates=4))
    assert result.selection.candidate == 0
    assert len(engine.aborted) == 3
    assert not engine.running
    losers = [entry.candidate for entry in result.judged[1:]]
    assert [loser.reason for loser in losers] == [FinishReason.ABORTED] * 3
    assert result.spent.aborted.new_tokens == sum(loser.usage.new_tokens for loser in losers) > 0
    assert result.spent.total.new_tokens == sum(engine.emitted.values())


async def test_a_right_answer_inside_a_step_ends_the_response() -> None:
    engine = ScriptedEngine.of(response(boxed("42"), "long " * 500, answer=boxed("41")))
    judge = ScriptedJudge(JUDGE)
    result = await solver(engine, judge).solve(CHECKED, Greedy())
    candidate = result.judged[0].candidate
    assert (result.selection.answer, candidate.reason) == ("42", FinishReason.ABORTED)
    assert result.spent.accepted == candidate.usage
    assert judge.asked == {"42": 1}
    assert candidate.usage.new_tokens < 200


async def test_a_right_answer_inside_a_step_wins_over_a_wrong_final_one() -> None:
    engine = ScriptedEngine.of(response(boxed("42"), "x", answer=boxed("41")))
    result = await solver(engine, ScriptedJudge(JUDGE, seconds=0.05)).solve(CHECKED, Greedy())
    assert result.selection.answer == "42"


async def test_the_same_answer_is_judged_once() -> None:
    engine = ScriptedEngine.of(response(boxed("41"), boxed("41"), answer=boxed("41")))
    judge = ScriptedJudge(JUDGE)
    events: list[object] = []
    await solver(engine, judge).solve(CHECKED, BestOfK(), Budget(candidates=3), observer=events.append)
    assert judge.asked == {"41": 1}
    judged = [event for event in events if isinstance(event, AnswerJudged)]
    assert len(judged) == 9
    assert sum(not event.repeated for event in judged) == 1


async def test_without_a_check_votes_decide_and_nothing_is_called_verified() -> None:
    engine = ScriptedEngine.of(boxed("42"), boxed("41"), boxed("42.0"))
    judge = ScriptedJudge(same=[frozenset({"42", "42.0"})])
    result = await solver(engine, judge).solve(OPEN, BestOfK(), Budget(candidates=3))
    assert (result.selection.answer, result.selection.decided_by) == ("42", DecidedBy.CONSENSUS)
    assert not result.selection.verified
    assert {type(check) for check in judge.checks} == {StepCheck}


async def test_a_single_unchecked_answer_is_called_what_it_is() -> None:
    result = await solver(ScriptedEngine.of(boxed("42")), ScriptedJudge()).solve(OPEN, Greedy())
    assert (result.selection.answer, result.selection.decided_by) == ("42", DecidedBy.ONLY_CANDIDATE)


async def test_unanimous_votes_stop_the_adaptive_policy_early() -> None:
    engine = ScriptedEngine.of(boxed("42"))
    result = await solver(engine, ScriptedJudge()).solve(OPEN, Adaptive(), Budget(candidates=64))
    assert result.stopped is Stop.CONSENSUS
    assert len(engine.requests) == 4


async def test_an_error_is_left_out_of_the_votes() -> None:
    engine = ScriptedEngine.of(boxed("1"), boxed("1"), boxed("2"))
    judge = ScriptedJudge({boxed("1"): ERROR})
    result = await solver(engine, judge).solve(OPEN, BestOfK(), Budget(candidates=3))
    assert result.selection.answer == "2"


async def test_a_verifier_that_only_fails_is_trouble_not_a_wrong_answer() -> None:
    result = await solver(ScriptedEngine.of(boxed("42")), ScriptedJudge({"42": ERROR})).solve(CHECKED, Greedy())
    assert result.selection.answer is None
    assert "the box died" in result.trouble


async def test_no_answer_at_all_is_an_honest_unsolved() -> None:
    engine = ScriptedEngine.of("I am not sure what to say about any of this because it is " + "really " * 20)
    result = await solver(engine, ScriptedJudge()).solve(OPEN, BestOfK(), Budget(candidates=2))
    assert result.selection.answer is None
    assert "2 gave no answer" in result.selection.reason


async def test_the_deadline_is_hard_and_every_request_ends_in_the_engine() -> None:
    engine = ScriptedEngine.of(None)
    result = await solver(engine, limits=Limits(max_tokens=1 << 20)).solve(
        CHECKED, BestOfK(), Budget(candidates=3, seconds=0.1)
    )
    assert result.stopped is Stop.SECONDS
    assert len(engine.aborted) == 3
    assert not engine.running
    assert result.spent.aborted.new_tokens == sum(engine.emitted.values())


async def test_the_deadline_does_not_wait_for_verdicts_and_says_that_the_answer_is_unconfirmed() -> None:
    judge = ScriptedJudge(JUDGE, seconds=60.0)
    result = await solver(ScriptedEngine.of(boxed("42")), judge).solve(CHECKED, Greedy(), Budget(seconds=1.0))
    assert result.stopped is Stop.SECONDS
    assert (result.selection.answer, result.selection.decided_by) == ("42", DecidedBy.ONLY_CANDIDATE)


async def test_an_engine_that_ignores_aborts_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("espalier.solver.core.loop.ABORT_SECONDS", 0.05)
    engine = ScriptedEngine.of(boxed("42"), None, deaf=True)
    result = await solver(engine, limits=Limits(max_tokens=1 << 20)).solve(CHECKED, BestOfK(), Budget(candidates=2))
    assert result.selection.answer == "42"
    assert result.judged[1].candidate.reason is FinishReason.ABORTED
    assert result.judged[1].candidate.usage.new_tokens > 0
    assert not engine.running


async def test_cancelling_leaves_nothing_behind() -> None:
    engine = ScriptedEngine.of(None)
    before = asyncio.all_tasks()
    task = asyncio.create_task(
        solver(engine, limits=Limits(max_tokens=1 << 20)).solve(CHECKED, BestOfK(), Budget(candidates=4))
    )
    await engine.busy.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not engine.running
    assert asyncio.all_tasks() == before


async def test_an_engine_that_is_gone_is_an_error() -> None:
    with pytest.raises(EngineUnavailable):
        await solver(ScriptedEngine.of(boxed("42"), fails_after=3)).solve(CHECKED, BestOfK())


async def test_the_token_budget_is_never_exceeded() -> None:
    engine = ScriptedEngine.of("word " * 200 + boxed("41"))
    result = await solver(engine).solve(CHECKED, Adaptive(), Budget(candidates=64, tokens=1000))
    assert result.stopped is Stop.TOKENS
    assert sum(engine.emitted.values()) <= 1000


async def test_every_candidate_samples_with_its_own_seed_and_rung() -> None:
    engine = ScriptedEngine.of(boxed("41"))
    await solver(engine).solve(CHECKED, BestOfK(temperatures=(0.5, 1.0)), Budget(candidates=4), seed=7)
    assert [request.sampling.temperature for request in engine.requests] == [0.5, 1.0, 0.5, 1.0]
    assert len({request.sampling.seed for request in engine.requests}) == 4
    again = ScriptedEngine.of(boxed("41"))
    await solver(again).solve(CHECKED, BestOfK(temperatures=(0.5, 1.0)), Budget(candidates=4), seed=7)
    assert [request.sampling for request in engine.requests] == [request.sampling for request in again.requests]


async def test_a_repair_attempt_is_told_what_was_wrong() -> None:
    engine = ScriptedEngine.of(boxed("41"), boxed("41"), boxed("42"))
    result = await solver(engine).solve(CHECKED, Refine(), Budget(candidates=4))
    prompts = [engine.tokenizer.decode(request.prompt) for request in engine.requests]
    assert "it is wrong" not in prompts[0] + prompts[1]
    assert "it is wrong" in prompts[2]
    assert result.selection.answer == "42"


async def test_a_repair_attempt_that_does_not_fit_the_context_is_one_candidate_less() -> None:
    engine = ScriptedEngine.of(boxed("41"), boxed("41"), boxed("42"), context=130)
    result = await solver(engine).solve(CHECKED, Refine(), Budget(candidates=4))
    assert result.selection.answer == "42"
    refused = next(entry.candidate for entry in result.judged if entry.candidate.reason is FinishReason.ERROR)
    assert refused.spec.repair is not None
    assert refused.usage.new_tokens == 0


async def test_a_problem_that_does_not_fit_the_context_is_refused() -> None:
    with pytest.raises(RequestRefused, match="the context holds 10"):
        await solver(ScriptedEngine.of(boxed("42"), context=10)).solve(CHECKED, BestOfK())


async def test_an_engine_without_tags_decodes_sequentially() -> None:
    engine = ScriptedEngine.of(boxed("42"), info=EngineInfo("plain", 1 << 20, parallel=False))
    result = await solver(engine).solve(CHECKED, Greedy())
    assert engine.requests[0].mode is Mode.SEQUENTIAL
    assert result.selection.verified


class MemoryJournal:
    """Keeps what it is told, and says when."""

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}
        self.log: list[str] = []

    async def generated(self, candidate: Candidate) -> None:
        self.log.append(f"generated {candidate.spec.index}")
        self.entries[candidate.spec.index] = Entry(candidate)

    async def judged(self, candidate: Candidate, verdict: Verdict) -> None:
        self.log.append(f"judged {candidate.spec.index}")
        self.entries[candidate.spec.index] = Entry(candidate, verdict)


async def test_what_is_stored_is_neither_generated_nor_judged_again() -> None:
    journal = MemoryJournal()
    await solver(ScriptedEngine.of(boxed("40"), boxed("41"))).solve(
        CHECKED, BestOfK(), Budget(candidates=4), journal=journal
    )
    assert sorted(journal.log) == sorted(f"{what} {i}" for what in ("generated", "judged") for i in range(4))
    kept = [journal.entries[0], replace(journal.entries[1], verdict=None), journal.entries[3]]
    engine, judge = ScriptedEngine.of(boxed("42")), ScriptedJudge(JUDGE)
    result = await solver(engine, judge).solve(CHECKED, BestOfK(), Budget(candidates=4), entries=kept)
    assert len(engine.requests) == 1
    assert engine.requests[0].request_id.endswith("/2")
    assert judge.asked == {"41": 1, "42": 1}
    assert result.selection.candidate == 2
    assert len(result.judged) == 4


async def test_the_right_step_of_a_stored_candidate_that_was_not_judged_any_more_still_counts() -> None:
    journal = MemoryJournal()
    judge = ScriptedJudge({"42": UNKNOWN, "41": FAIL})  # it says PASS only later, so that the response ends by itself
    engine = ScriptedEngine.of(response(boxed("42"), "x", answer=boxed("41")))
    await solver(engine, judge).solve(CHECKED, Greedy(), journal=journal)
    kept = replace(journal.entries[0], verdict=None)
    assert kept.candidate.answer == "41"
    again = ScriptedEngine.of(None)
    result = await solver(again).solve(CHECKED, Greedy(), entries=[kept])
    assert (result.selection.answer, result.selection.verified) == ("42", True)
    assert not again.requests + again.aborted


async def test_classes_of_answers_stay_apart_when_an_earlier_one_was_lost() -> None:
    """Candidate 0 had opened class 0, but the worker died before its verdict was stored."""
    journal = MemoryJournal()
    said = ScriptedEngine.of(boxed("0"), boxed("1"), boxed("2"), boxed("0"))
    await solver(said, ScriptedJudge()).solve(OPEN, BestOfK(), Budget(candidates=2), journal=journal)
    kept = [replace(journal.entries[0], verdict=None), journal.entries[1]]
    assert kept[1].candidate.answer_class == 1
    engine = ScriptedEngine.of(boxed("2"), boxed("0"))
    result = await solver(engine, ScriptedJudge()).solve(OPEN, BestOfK(), Budget(candidates=4), entries=kept)
    classes = [(entry.candidate.answer, entry.candidate.answer_class) for entry in result.judged]
    assert len(set(classes)) == len({number for _, number in classes}) == 3
    assert result.selection.answer == "0"


async def test_a_stored_pass_ends_the_solve_at_once() -> None:
    journal = MemoryJournal()
    await solver(ScriptedEngine.of(boxed("42"))).solve(CHECKED, Greedy(), journal=journal)
    engine = ScriptedEngine.of(None)
    result = await solver(engine).solve(CHECKED, Greedy(), entries=list(journal.entries.values()))
    assert result.selection.verified
    assert not engine.requests


async def test_events_tell_the_whole_story() -> None:
    events: list[object] = []
    engine = ScriptedEngine.of(boxed("41"), boxed("41"), boxed("42"))
    result: Result = await solver(engine).solve(CHECKED, Adaptive(), Budget(candidates=4), observer=events.append)
    assert [event.round for event in events if isinstance(event, RoundFinished)] == [0, 1]
    assert sum(isinstance(event, CandidateFinished) for event in events) == len(result.judged)
    assert isinstance(events[-1], Solved)
    verdicts = [event.verdict.status for event in events if isinstance(event, CandidateFinished)]
    assert verdicts.count(Status.FAIL) == 2


async def test_those_who_watch_are_told_the_vote_that_decides_and_not_those_that_came_too_late() -> None:
    journal = MemoryJournal()
    await solver(ScriptedEngine.of(boxed("42")), ScriptedJudge()).solve(
        OPEN, BestOfK(), Budget(candidates=16), journal=journal
    )
    seen: list[SolveEvent] = []
    result = await solver(ScriptedEngine.of(boxed("42")), ScriptedJudge()).solve(
        OPEN, Adaptive(), Budget(candidates=16), entries=list(journal.entries.values()), observer=seen.append
    )
    told = [dict(event.votes) for event in seen if isinstance(event, CandidateFinished)]
    heard = [votes for votes in told if votes]
    assert told == [{0: float(number)} for number in range(1, len(heard) + 1)] + [{}] * (16 - len(heard))
    assert result.selection.reason.startswith(f"{len(heard)} of {len(heard)} votes by weight")
    assert len(heard) < 16


async def test_a_response_without_an_answer_fails_the_check_and_casts_no_vote() -> None:
    silent = "I am not sure what to say about any of this because it is " + "really " * 20
    result = await solver(ScriptedEngine.of(silent)).solve(CHECKED, BestOfK(), Budget(candidates=1))
    (entry,) = result.judged
    assert (entry.verdict.status, entry.verdict.decided_by) == (Status.FAIL, "no_answer")
    result = await solver(ScriptedEngine.of(silent)).solve(OPEN, BestOfK(), Budget(candidates=1))
    (entry,) = result.judged
    assert (entry.verdict.status, entry.candidate.answer_class) == (Status.UNKNOWN, None)


@pytest.mark.parametrize("deaf", [False, True])
async def test_a_stop_ends_a_response_before_it_but_not_inside_of_steps(deaf: bool) -> None:
    told = response("END is near", "7*6=42", answer=f"{boxed('42')} END {boxed('41')}")
    engine = ScriptedEngine.of(told, deaf=deaf)
    result = await solver(engine, stop=("never", " END")).solve(CHECKED, Greedy(), Budget(candidates=1))
    (entry,) = result.judged
    assert entry.candidate.text == told.partition(" END " + boxed("41")[:3])[0]
    assert (entry.candidate.reason, result.selection.answer) == (FinishReason.STOP, "42")
    assert len(engine.aborted) == 1


async def test_what_stops_inside_of_a_takeaway_is_no_conclusion() -> None:
    told = response("six times seven", "7*6=42", takeaway="plan 2 gives 42, so it is right", answer=boxed("42"))
    result = await solver(ScriptedEngine.of(told), stop=("42, so",)).solve(OPEN, Greedy(), Budget(candidates=1))
    (entry,) = result.judged
    assert entry.candidate.text.endswith("plan 2 gives ")
    assert (entry.candidate.reason, entry.candidate.answer) == (FinishReason.STOP, None)


async def test_what_was_said_before_is_put_to_the_model_alone() -> None:
    engine = ScriptedEngine.of(boxed("42"))
    problem = replace(CHECKED, context=(ChatMessage("user", "Hello"), ChatMessage("assistant", "Hello!")))
    await solver(engine).solve(problem, Greedy(), Budget(candidates=1))
    assert engine.tokenizer.decode(engine.requests[0].prompt) == "[Hello][Hello!][What is 6 times 7?]"


REJOINING = EngineInfo("scripted", 1 << 20, parallel=True, rejoins=True)
SETS = response("six times seven", "seven times six", answer=boxed("41"))


def concluding(*answers: str, whole: str = SETS) -> ScriptedEngine:
    """Every candidate says the same; the n-th re-join comes to the n-th answer, the last one to those that follow."""
    said = iter([*answers[:-1], *[answers[-1]] * 100])

    def script(request: GenerateRequest, _: int) -> str:
        return whole if request.given is None else f"once more</takeaway>{boxed(next(said))}"

    return ScriptedEngine(script, info=REJOINING)


async def test_a_re_join_concludes_the_same_branches_anew_and_costs_its_conclusion_alone() -> None:
    engine, seen = concluding("40", "42"), []
    result = await solver(engine).solve(CHECKED, Greedy(), Budget(candidates=1, rejoins=2), observer=seen.append)
    assert (result.selection.answer, result.selection.decided_by) == ("42", DecidedBy.CHECK)
    first, *again = (entry.candidate for entry in result.judged)
    assert [candidate.spec.rejoin for candidate in again] == [0, 0]
    for request in engine.requests[1:]:
        assert request.given is not None
        assert engine.tokenizer.decode(request.given.tokens) + "<takeaway>\n" == SETS[: SETS.index("compare")]
    for candidate in again:
        assert candidate.text.startswith(SETS[: SETS.index("compare")])
        assert candidate.forked
        assert candidate.well_formed
        assert candidate.usage.new_tokens < 40 < first.usage.new_tokens
    spent = sum(candidate.usage.new_tokens for candidate in again)
    assert result.spent.rejoin_tokens == spent
    assert result.spent.total.new_tokens == first.usage.new_tokens + spent
    longest = max(candidate.usage.critical_path_tokens for candidate in again)
    assert result.spent.critical_path_tokens == first.usage.critical_path_tokens + longest
    started = [event.spec.rejoin for event in seen if isinstance(event, CandidateStarted)]
    assert started == [None, 0, 0]


async def test_a_pass_ends_the_other_re_joins_and_no_further_candidate_is_paid_for() -> None:
    engine = concluding("42")
    result = await solver(engine).solve(CHECKED, Adaptive(first=1), Budget(candidates=8, rejoins=3))
    assert result.selection.verified
    assert sum(request.given is None for request in engine.requests) == 1
    assert not engine.running


async def test_an_answer_of_a_step_is_judged_once_and_not_again_in_re_joins() -> None:
    judge = ScriptedJudge(JUDGE)
    engine = concluding("40", whole=response(boxed("41"), "other", answer=boxed("41")))
    result = await solver(engine, judge).solve(CHECKED, Greedy(), Budget(rejoins=2))
    assert judge.asked == {"41": 1, "40": 1}
    assert [len(entry.candidate.branch_answers) for entry in result.judged] == [1, 0, 0]


async def test_a_response_without_branches_is_not_concluded_anew() -> None:
    engine = concluding("42", whole=boxed("41"))
    result = await solver(engine).solve(CHECKED, Greedy(), Budget(rejoins=2))
    assert len(result.judged) == len(engine.requests) == 1


async def test_conclusions_of_the_same_branches_are_no_consensus() -> None:
    engine = concluding("7", whole=response("a", "b", answer=boxed("7")))
    result = await solver(engine, ScriptedJudge()).solve(OPEN, Adaptive(first=1), Budget(candidates=1, rejoins=8))
    assert result.selection.decided_by is DecidedBy.ONLY_CANDIDATE
    assert result.stopped is Stop.CANDIDATES
    assert len(result.judged) == 9


async def test_stored_branches_are_concluded_anew_by_the_run_that_goes_on() -> None:
    journal, budget = MemoryJournal(), Budget(candidates=1, rejoins=2)
    whole = await solver(concluding("40")).solve(CHECKED, Greedy(), budget, journal=journal)
    stored = [encode_entry(journal.entries[index]).SerializeToString() for index in (0, 1)]  # of 0, 1 and 2
    kept = [decode_entry(pb.Candidate.FromString(data)) for data in stored]
    engine = concluding("42")
    result = await solver(engine).solve(CHECKED, Greedy(), budget, entries=kept)
    assert [entry.candidate.spec for entry in result.judged] == [entry.candidate.spec for entry in whole.judged]
    (request,) = engine.requests
    assert request.given is not None
    assert result.selection.verified


@pytest.mark.parametrize(
    ("info", "generation"),
    [
        (EngineInfo("plain", 1 << 20, parallel=False), {}),
        (EngineInfo("older", 1 << 20, parallel=True), {}),
        (REJOINING, {"mode": Mode.SEQUENTIAL}),
    ],
)
async def test_re_joins_are_refused_by_name_before_anything_is_generated(info: EngineInfo, generation: Any) -> None:
    engine = ScriptedEngine.of(SETS, info=info)
    with pytest.raises(FieldError, match=f"rejoins: is 1, but {info.model} has no branches here"):
        await solver(engine, **generation).solve(CHECKED, Greedy(), Budget(rejoins=1))
    assert not engine.requests


async def test_a_re_join_that_does_not_fit_the_engine_is_one_conclusion_less() -> None:
    def script(request: GenerateRequest, _: int) -> str:
        if request.given is not None:
            raise RequestRefused("prompt with the given branches has 90 tokens; the key-value memory holds 80")
        return SETS

    result = await solver(ScriptedEngine(script, info=REJOINING)).solve(CHECKED, Greedy(), Budget(rejoins=1))
    assert [entry.candidate.reason for entry in result.judged] == [FinishReason.STOP, FinishReason.ERROR]
    assert not result.trouble
