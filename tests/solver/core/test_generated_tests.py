"""Programs that no check judges: tests of the model's own decide among them, in the real sandbox, and prove nothing."""

from __future__ import annotations

from functools import partial

import pytest

from espalier.runtime.engine import GenerateRequest, RequestRefused
from espalier.solver.core.events import AnswerJudged, WrittenTests
from espalier.solver.core.journal import Entry
from espalier.solver.core.json_form import to_json
from espalier.solver.core.loop import Solver
from espalier.solver.core.policies import Adaptive, BestOfK
from espalier.solver.core.policy import Budget, BudgetError, Stop
from espalier.solver.core.problem import Problem
from espalier.solver.core.program_evidence import TESTS_WAY
from espalier.solver.core.proto import decode_entry, encode_entry, encode_event, encode_result
from espalier.solver.core.report import usage_line, verdict_line
from espalier.solver.core.selection import DecidedBy
from espalier.solver.core.verification import TEST_TOKENS, TOKENS_SHARE, Verification
from espalier.verifiers.check import AssertCase, ProgramCheck
from espalier.verifiers.local import LocalVerifiers
from espalier.verifiers.verdict import Status
from tests.solver.core.programs import engine_of as programs_engine
from tests.solver.core.programs import sandboxed
from tests.solver.core.test_loop import MemoryJournal
from tests.solver.scripted import ScriptedEngine, ScriptedJudge

__all__ = ["sandboxed"]

TWICE = Problem("p", "Write a Python function double(x) that gives twice x.")
RIGHT = "```python\ndef double(x):\n    return 2 * x\n```"
ALSO_RIGHT = "```python\ndef double(x):\n    return x + x\n```"
SQUARE = "```python\ndef double(x):\n    return x * x\n```"
BROKEN = "```python\ndef double(x):\n    return y\n```"
TESTS = "```python\nassert double(1) == 2\nassert double(2) == 4\nassert double(3) == 6\nassert double(5) == 11\n```"

engine_of = partial(programs_engine, tests=TESTS)


@pytest.mark.bwrap
async def test_the_programs_that_agree_with_each_other_and_the_tests_win_and_prove_nothing(
    sandboxed: LocalVerifiers,
) -> None:
    engine = engine_of(SQUARE, BROKEN, SQUARE, RIGHT, ALSO_RIGHT)
    events: list[object] = []
    result = await Solver(engine, sandboxed).solve(
        TWICE,
        BestOfK(),
        Budget(candidates=5),
        verification=Verification(generated_tests=10),
        observer=events.append,
    )
    selection = result.selection
    assert selection.answer in (RIGHT[10:-3], ALSO_RIGHT[10:-3])
    assert (selection.decided_by, selection.verified) == (DecidedBy.CONSENSUS, False)
    assert selection.reason.startswith("2 of 5 programs agree: each passes 3 of 4 tests")
    assert {entry.verdict.status for entry in result.judged} == {Status.UNKNOWN}
    scores = [entry.verdict.score for entry in result.judged]
    assert scores == pytest.approx([1 / 16, 0, 1 / 16, 9 / 16, 9 / 16])
    classes = [entry.candidate.answer_class for entry in result.judged]
    assert classes[0] == classes[2]
    assert classes[3] == classes[4]
    assert len(set(classes)) == 3
    judged = [event for event in events if isinstance(event, AnswerJudged)]
    assert sorted(event.repeated for event in judged) == [False] * 4 + [True]


@pytest.mark.bwrap
async def test_a_program_that_passes_all_its_models_tests_is_still_not_verified(sandboxed: LocalVerifiers) -> None:
    solver = Solver(engine_of(*[RIGHT] * 8, tests="assert double(1) == 2"), sandboxed)
    result = await solver.solve(TWICE, Adaptive(), Budget(candidates=8), verification=Verification(generated_tests=5))
    assert (result.stopped, result.selection.verified) == (Stop.CONSENSUS, False)
    assert "not verified" in verdict_line(result)


@pytest.mark.bwrap
async def test_tokens_of_tests_are_counted_apart_and_told_everywhere(sandboxed: LocalVerifiers) -> None:
    engine = engine_of(RIGHT, RIGHT)
    events: list[object] = []
    result = await Solver(engine, sandboxed).solve(
        TWICE, BestOfK(), Budget(candidates=2), verification=Verification(generated_tests=7), observer=events.append
    )
    written = sum(count for name, count in engine.emitted.items() if "/tests/" in name)
    assert result.spent.verification.new_tokens == written > 0
    assert result.spent.total.new_tokens == sum(engine.emitted.values())
    assert f"{written} verification" in usage_line(result)
    assert to_json(encode_result("s", result))["spent"]["verification"]["sampled_tokens"] == written
    (event,) = (event for event in events if isinstance(event, WrittenTests))
    message = encode_event("s", event, 0.0, deltas=False)
    assert message is not None
    first = to_json(message)["written_tests"]["tests"][0]
    assert first == {"source": "assert double(1) == 2", "count": 2}


async def test_so_many_responses_write_tests_as_bring_the_number_asked_for() -> None:
    engine = engine_of(RIGHT)
    verification = Verification(generated_tests=11)
    await Solver(engine, ScriptedJudge()).solve(TWICE, BestOfK(), Budget(candidates=1), verification=verification)
    requests = [request for request in engine.requests if "/tests/" in request.request_id]
    assert [request.limits.max_tokens for request in requests] == [TEST_TOKENS] * 3
    assert len({request.sampling.seed for request in requests}) == 3


async def test_a_limit_of_tokens_holds_for_candidates_and_tests_together() -> None:
    engine = engine_of(*["x" * 4000] * 4, tests="y" * 4000)
    result = await Solver(engine, ScriptedJudge()).solve(
        TWICE, BestOfK(), Budget(candidates=4, tokens=1000), verification=Verification(generated_tests=10)
    )
    assert result.spent.verification.new_tokens == 250
    assert result.spent.total.new_tokens <= 1000


async def test_too_few_tokens_for_both_are_refused() -> None:
    with pytest.raises(BudgetError, match=r"at least 256 with generated tests"):
        Verification(generated_tests=1).divide(Budget(tokens=TOKENS_SHARE * 64 - 1), 1024)


async def test_a_problem_with_a_check_needs_no_tests() -> None:
    engine = engine_of(RIGHT)
    check = ProgramCheck((AssertCase("assert double(1) == 2"),))
    result = await Solver(engine, ScriptedJudge()).solve(
        Problem("p", TWICE.text, check), BestOfK(), Budget(candidates=1), verification=Verification(generated_tests=10)
    )
    assert len(engine.requests) == 1
    assert result.spent.verification.new_tokens == 0


async def test_without_a_readable_test_no_program_has_a_vote() -> None:
    engine = engine_of(RIGHT, SQUARE, tests="I would rather not.")
    result = await Solver(engine, ScriptedJudge()).solve(
        TWICE, BestOfK(), Budget(candidates=2), verification=Verification(generated_tests=5)
    )
    assert [entry.candidate.answer_class for entry in result.judged] == [None, None]
    assert "wrote no test" in result.judged[0].verdict.evidence[0].detail


async def test_a_request_for_tests_that_is_too_long_brings_none_and_the_solve_goes_on() -> None:
    class Refusing(ScriptedEngine):
        async def generate(self, request: GenerateRequest):  # type: ignore[no-untyped-def]
            if "/tests/" in request.request_id:
                raise RequestRefused("too long")
            async for event in super().generate(request):
                yield event

    engine = Refusing(lambda *_: RIGHT)
    result = await Solver(engine, ScriptedJudge()).solve(
        TWICE, BestOfK(), Budget(candidates=1), verification=Verification(generated_tests=5)
    )
    assert result.selection.answer is not None


async def test_when_time_is_up_the_writing_of_tests_ends_in_the_engine_and_its_tokens_count() -> None:
    engine = ScriptedEngine(lambda request, _: None if "/tests/" in request.request_id else RIGHT)
    result = await Solver(engine, ScriptedJudge()).solve(
        TWICE, BestOfK(), Budget(candidates=1, seconds=0.3), verification=Verification(generated_tests=5)
    )
    assert result.stopped is Stop.SECONDS
    assert not engine.running
    assert result.spent.verification.new_tokens == sum(n for name, n in engine.emitted.items() if "/tests/" in name)


async def test_a_resumed_solve_writes_no_test_again_that_was_paid_for() -> None:
    journal, verification = MemoryJournal(), Verification(generated_tests=11)
    first = await Solver(engine_of(RIGHT), ScriptedJudge()).solve(
        TWICE, BestOfK(), Budget(candidates=1), journal=journal, verification=verification
    )
    kept = [entry for entry in journal.entries.values() if entry.candidate.spec.way == TESTS_WAY]
    assert len(kept) == 3
    events: list[object] = []
    again = engine_of(RIGHT, tests="assert double(7) == 14")
    second = await Solver(again, ScriptedJudge()).solve(
        TWICE,
        BestOfK(),
        Budget(candidates=1),
        entries=[decode_entry(encode_entry(entry)) for entry in kept[:2]],
        observer=events.append,
        verification=verification,
    )
    assert len([request for request in again.requests if "/tests/" in request.request_id]) == 1
    (written,) = (event for event in events if isinstance(event, WrittenTests))
    assert written.tests.sources[:2] == ("assert double(1) == 2", "assert double(2) == 4")
    assert written.tests.sources[-1] == "assert double(7) == 14"
    paid = sum(entry.candidate.usage.new_tokens for entry in kept[:2]) + sum(
        count for name, count in again.emitted.items() if "/tests/" in name
    )
    assert second.spent.verification.new_tokens == paid < first.spent.verification.new_tokens


@pytest.mark.bwrap
async def test_a_resumed_solve_asks_tests_again_of_the_programs_that_it_has(sandboxed: LocalVerifiers) -> None:
    engine = engine_of(SQUARE, RIGHT, ALSO_RIGHT)
    verification = Verification(generated_tests=5)
    first = await Solver(engine, sandboxed).solve(TWICE, BestOfK(), Budget(candidates=3), verification=verification)
    entries = [Entry(entry.candidate, entry.verdict) for entry in first.judged[:2]]
    again = engine_of(ALSO_RIGHT)
    second = await Solver(again, sandboxed).solve(
        TWICE, BestOfK(), Budget(candidates=3), entries=entries, verification=verification
    )
    assert len([request for request in again.requests if "/tests/" not in request.request_id]) == 1
    assert [entry.verdict.score for entry in second.judged] == [entry.verdict.score for entry in first.judged]
    assert second.selection.reason == first.selection.reason
