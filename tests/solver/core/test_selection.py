"""Which candidate becomes the answer, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence

from espalier.runtime.engine import FinishReason, Usage
from espalier.solver.core.candidate import Candidate, Spec
from espalier.solver.core.policy import Stop, outcome_of, tally
from espalier.solver.core.problem import Problem
from espalier.solver.core.result import Result, spend
from espalier.solver.core.selection import DecidedBy, Selection, VerifiedCandidate, select
from espalier.verifiers.verdict import Status, Verdict


def judged(
    index: int,
    answer: str | None,
    status: Status,
    *,
    score: float = 1.0,
    group: int | None = None,
    tokens: int = 10,
    reason: FinishReason = FinishReason.STOP,
    number: int = 0,
) -> VerifiedCandidate:
    usage = Usage(prompt_tokens=5, sampled_tokens=tokens, critical_path_tokens=tokens)
    candidate = Candidate(Spec(index, number, index, 1.0), "", answer, (), reason, usage, 0.0, answer_class=group)
    return VerifiedCandidate(candidate, Verdict(status, score, "test"))


def chosen(entries: Sequence[VerifiedCandidate]) -> Selection:
    return select(entries, tally(outcome_of(entry.candidate, entry.verdict) for entry in entries))


def test_a_pass_beats_any_weight_of_votes() -> None:
    votes = [judged(i, "a", Status.UNKNOWN, group=0) for i in range(5)]
    selection = chosen([*votes, judged(5, "b", Status.PASS, tokens=1000)])
    assert (selection.answer, selection.decided_by, selection.verified) == ("b", DecidedBy.CHECK, True)


def test_of_several_passes_the_one_with_fewer_tokens_is_taken() -> None:
    assert chosen([judged(0, "a", Status.PASS, tokens=20), judged(1, "b", Status.PASS, tokens=10)]).answer == "b"


def test_votes_count_by_weight_not_by_number() -> None:
    many = [judged(i, "a", Status.UNKNOWN, score=0.2, group=0) for i in range(3)]
    selection = chosen([*many, judged(3, "b", Status.UNKNOWN, score=0.9, group=1)])
    assert (selection.answer, selection.decided_by, selection.verified) == ("b", DecidedBy.CONSENSUS, False)


def test_of_one_class_the_shortest_response_speaks() -> None:
    selection = chosen([judged(0, "0.5", Status.UNKNOWN, group=0), judged(1, "1/2", Status.UNKNOWN, group=0, tokens=5)])
    assert selection.answer == "1/2"


def test_failed_and_broken_verdicts_are_never_chosen() -> None:
    selection = chosen([judged(0, "a", Status.FAIL), judged(1, "b", Status.ERROR), judged(2, None, Status.UNKNOWN)])
    assert (selection.answer, selection.decided_by) == (None, DecidedBy.NONE)
    assert selection.reason == "of 3 candidates 1 failed the check, 1 gave no answer, 1 could not be judged"


def test_a_single_open_answer_is_not_called_a_consensus() -> None:
    selection = chosen([judged(0, "a", Status.UNKNOWN, group=0), judged(1, "b", Status.FAIL)])
    assert selection.decided_by is DecidedBy.ONLY_CANDIDATE


def test_nothing_at_all_is_no_answer() -> None:
    assert chosen([]).decided_by is DecidedBy.NONE


def test_every_token_has_exactly_one_fate() -> None:
    entries = (
        judged(0, "a", Status.PASS, tokens=7, reason=FinishReason.ABORTED),
        judged(1, "b", Status.FAIL, tokens=11),
        judged(2, None, Status.UNKNOWN, tokens=13, reason=FinishReason.ABORTED),
        judged(3, "c", Status.FAIL, tokens=17, number=1),
    )
    spent = spend(entries, 0, 1.5)
    assert [fate.new_tokens for fate in (spent.accepted, spent.failed, spent.aborted)] == [7, 28, 13]
    assert spent.total.new_tokens == 48
    assert spent.total.prompt_tokens == 20
    assert spent.critical_path_tokens == 13 + 17
    assert spent.speedup == 48 / 30


def test_trouble_is_named_only_when_nothing_else_explains_the_missing_answer() -> None:
    def trouble(*entries: VerifiedCandidate) -> str:
        return Result(Problem("p", "?"), chosen(entries), Stop.CANDIDATES, entries, spend(entries, None, 0), 0).trouble

    assert "test" in trouble(judged(0, "a", Status.ERROR))
    assert "engine" in trouble(judged(0, None, Status.UNKNOWN, reason=FinishReason.ERROR))
    assert trouble(judged(0, "a", Status.ERROR), judged(1, "b", Status.FAIL)) == ""
    assert trouble(judged(0, "a", Status.ERROR), judged(1, "b", Status.PASS)) == ""
