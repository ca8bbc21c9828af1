"""gRPC, engine and verifiers are real; only the model's words are chosen."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import structlog
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from espalier.common.grpc_errors import delay_of, field_of
from espalier.common.grpc_server import Listening
from espalier.common.security import ServerSecurity, UnsafeAddressError
from espalier.runtime.local import LocalEngine
from espalier.solver.cli.options import diversity
from espalier.solver.core.settings import ServerLimits
from espalier.solver.service.servicer import SERVICE_NAME
from espalier.v1 import common_pb2
from espalier.v1 import solver_pb2 as pb
from espalier.verifiers.local import LocalVerifiers
from tests.solver.scripted import ERROR, ScriptedJudge
from tests.solver.service.serving import LIMITS, asking, serving, until
from tests.solver.service.telling import free_tokens, telling
from tests.verifiers.doubles import ScriptedVerifier
from tests.verifiers.running import NOT_SERVING, SERVING, health, until_health

RIGHT = "so \\boxed{42}"
WRONG = "so \\boxed{41}"
ENDLESS = None
FORKED = {
    (): "<guideline><plan>1: six</plan><plan>2: seven</plan></guideline>both</takeaway>so \\boxed{42}",
    ((0, 1),): "six is 6</step>",
    ((0, 2),): "seven is 7</step>",
}
TOKEN = "a-token-of-enough-length"  # noqa: S105


async def code_of(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


async def test_a_right_answer_is_verified(hub: LocalVerifiers) -> None:
    async with telling(RIGHT) as engine, serving(engine, hub) as served:
        result = await served.stub.SolveOnce(asking(seed=7))
    assert (result.outcome, result.answer, result.seed) == (pb.SolveResponse.OUTCOME_VERIFIED, "42", 7)
    assert result.decided_by == pb.SolveResponse.DECIDED_BY_CHECK
    assert result.verdict.status == common_pb2.STATUS_PASS
    assert result.spent.accepted.sampled_tokens > 0


async def test_a_wrong_answer_is_ok_with_fail_and_unsolved(hub: LocalVerifiers) -> None:
    async with telling(WRONG) as engine, serving(engine, hub) as served:
        result = await served.stub.SolveOnce(asking(k=2))
    assert (result.outcome, result.answer) == (pb.SolveResponse.OUTCOME_UNSOLVED, "")
    assert not result.HasField("candidate")
    assert [candidate.verdict.status for candidate in result.candidates] == [common_pb2.STATUS_FAIL] * 2


async def test_votes_never_count_as_verified(hub: LocalVerifiers) -> None:
    answers = ["\\boxed{1/2}", "\\boxed{0.5}", "\\boxed{3}", "\\boxed{\\frac{1}{2}}"]
    async with telling(lambda number: answers[number]) as engine, serving(engine, hub) as served:
        result = await served.stub.SolveOnce(asking("Which share is it?", None, policy="best_of_k", k=4))
    assert result.outcome == pb.SolveResponse.OUTCOME_ANSWERED
    assert result.decided_by == pb.SolveResponse.DECIDED_BY_CONSENSUS


@pytest.mark.parametrize(("certainty", "candidates"), [(None, 4), (0.85, 2)])
async def test_a_request_chooses_how_certain_a_vote_has_to_be(
    hub: LocalVerifiers, certainty: float | None, candidates: int
) -> None:
    async with telling("\\boxed{1/2}") as engine, serving(engine, hub) as served:
        result = await served.stub.SolveOnce(asking("Which share is it?", None, k=8, certainty=certainty))
    assert (result.stopped, len(result.candidates)) == ("consensus", candidates)


async def test_a_request_chooses_ways_and_comparisons(hub: LocalVerifiers) -> None:
    async with telling(RIGHT) as engine, serving(engine, hub) as served:
        asked = asking(reference=None, policy="best_of_k", k=2, ways=["words", "program"], comparisons=3)
        events = [event async for event in served.stub.Solve(asked)]
    started = [event.candidate_started.spec for event in events if event.WhichOneof("kind") == "candidate_started"]
    assert sorted(spec.way for spec in started) == ["program", "words"]
    assert events[0].accepted.budget.comparisons == 3


async def test_a_request_chooses_re_joins_and_events_and_result_tell_them(hub: LocalVerifiers) -> None:
    """One set of branches that come to a wrong end, and two further conclusions, of which the second is right."""
    wrong = {
        (): "<guideline><plan>a</plan><plan>b</plan></guideline>so</takeaway>\\boxed{41}",
        ((0, 1),): " six times seven</step>",
        ((0, 2),): " seven times six</step>",
    }
    again = {1: "hm</takeaway>\\boxed{40}", 2: "ah</takeaway>\\boxed{42}"}
    async with telling(lambda number: again.get(number, wrong)) as engine, serving(engine, hub) as served:
        asked = asking(policy="greedy", k=1, rejoins=2)
        events = [event async for event in served.stub.Solve(asked)]
    assert events[0].accepted.budget.rejoins == 2
    started = [event.candidate_started.spec for event in events if event.WhichOneof("kind") == "candidate_started"]
    assert [(spec.index, spec.HasField("rejoin")) for spec in started] == [(0, False), (1, True), (2, True)]
    result = events[-1].solved
    assert (result.outcome, result.answer, result.candidate) == (pb.SolveResponse.OUTCOME_VERIFIED, "42", 2)
    spent = sum(one.usage.sampled_tokens + one.usage.forced_tokens for one in result.candidates[1:])
    assert result.spent.rejoin_tokens == spent
    assert not any(one.branches for one in result.candidates), "these are for the queue's own store"


async def test_re_joins_that_the_engine_does_not_know_are_refused_by_name(
    hub: LocalVerifiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = LocalEngine.info.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(LocalEngine, "info", property(lambda engine: replace(known(engine), rejoins=False)))
    async with telling(RIGHT) as engine, serving(engine, hub) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.stub.SolveOnce(asking(rejoins=1))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field_of(caught.value).field == "settings.rejoins"


async def test_a_check_that_the_text_states_is_recognised(hub: LocalVerifiers) -> None:
    problem = "Using the numbers 19, 36, 55 and 7, each exactly once, make 65."
    async with telling("\\boxed{55 + 36 - 19 - 7}") as engine, serving(engine, hub) as served:
        events = [event async for event in served.stub.Solve(asking(problem, None))]
    assert events[0].accepted.problem.check.WhichOneof("kind") == "constraints"
    assert events[-1].solved.outcome == pb.SolveResponse.OUTCOME_VERIFIED


async def test_a_stream_tells_the_whole_story_in_order(hub: LocalVerifiers) -> None:
    async with telling(FORKED) as engine, serving(engine, hub) as served:
        events = [event async for event in served.stub.Solve(asking(policy="greedy", deltas=True))]
    kinds = [event.WhichOneof("kind") for event in events]
    assert list(dict.fromkeys(kinds)) == [
        "accepted",
        "candidate_started",
        "delta",
        "branch_opened",
        "branch_closed",
        "joined",
        "response_finished",
        "answer_judged",
        "candidate_finished",
        "round_finished",
        "solved",
    ]
    assert [event.branch_opened.plan for event in events if event.HasField("branch_opened")] == ["1: six", "2: seven"]
    steps = [
        turn.step for event in events if event.HasField("branch_closed") for turn in event.branch_closed.path.turns
    ]
    assert sorted(steps) == [1, 2]
    second = "".join(e.delta.text for e in events if e.delta.path.turns and e.delta.path.turns[0].step == 2)
    assert "seven is 7" in second
    assert any(any(event.delta.forced) for event in events)
    seconds = [event.seconds for event in events]
    assert seconds == sorted(seconds)
    solved = events[-1].solved
    assert solved.solve_id == events[0].solve_id
    assert solved.candidates[0].forked
    assert solved.candidates[0].well_formed


async def test_tokens_travel_only_when_asked_for(hub: LocalVerifiers) -> None:
    async with telling(RIGHT) as engine, serving(engine, hub) as served:
        kinds = {event.WhichOneof("kind") async for event in served.stub.Solve(asking())}
    assert "delta" not in kinds
    assert "solved" in kinds


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.SolveRequest(), "problem.text"),
        (asking(" "), "problem.text"),
        (asking("x" * 100_001), "problem.text"),
        (asking(reference=" "), "problem.check.reference.answer"),
        (pb.SolveRequest(problem=common_pb2.Problem(text="x", check=common_pb2.Check())), "problem.check.kind"),
        (asking(policy="guess"), "settings.policy"),
        (asking(k=0), "settings.k"),
        (asking(k=9), "settings.k"),
        (asking(max_tokens=1), "settings.max_tokens"),
        (asking(seconds=0), "settings.seconds"),
        (asking(seconds=61), "settings.seconds"),
        (asking(seconds=float("nan")), "settings.seconds"),
        (asking(rounds=0), "settings.rounds"),
        (asking(max_tokens=1 << 32), "settings.max_tokens"),
        (asking(temperature=-1), "settings.temperature"),
        (asking(temperature=float("nan")), "settings.temperature"),
        (asking(temperature=float("inf")), "settings.temperature"),
        (asking(rejoins=17), "settings.rejoins"),
        (asking(candidate_tokens=0), "settings.candidate_tokens"),
        (asking(candidate_tokens=513), "settings.candidate_tokens"),
        (asking(generated_tests=201), "settings.generated_tests"),
        (asking(comparisons=65), "settings.comparisons"),
        (asking(certainty=1), "settings.certainty"),
        (asking(policy="best_of_k", certainty=0.9), "settings.certainty"),
        (asking(comparisons=10, max_tokens=200), "settings.max_tokens"),
        (asking(ways=["guess"]), "settings.ways"),
        (asking(ways=["words"], generated_tests=1), "settings.ways"),
        (asking(generated_tests=1, max_tokens=255), "settings.max_tokens"),
        (asking("many words " * 3000), "problem.text"),
        (
            pb.SolveRequest(
                problem=common_pb2.Problem(
                    text="x", check=common_pb2.Check(custom=common_pb2.CustomCheck(verifier="absent"))
                )
            ),
            "problem.check.custom.verifier",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_bad_request_names_its_field(hub: LocalVerifiers, request_: pb.SolveRequest, field: str) -> None:
    async with telling(RIGHT) as engine, serving(engine, hub) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.stub.SolveOnce(request_)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert field_of(caught.value).field == field
        detail = error_details_pb2.BadRequest()
        assert rpc_status.from_call(caught.value).details[0].Unpack(detail)
        await until(lambda: free_tokens(engine) == engine.info.details["kv_tokens"])


@pytest.mark.parametrize("method", ["Solve", "SolveOnce"])
async def test_a_client_that_cancels_frees_the_engine(hub: LocalVerifiers, method: str) -> None:
    async with telling(ENDLESS) as engine, serving(engine, hub) as served:
        all_free = free_tokens(engine)
        call = getattr(served.stub, method)(asking(k=4, policy="best_of_k", candidate_tokens=512))
        reading = asyncio.ensure_future(call.read()) if method == "Solve" else None
        await until(lambda: free_tokens(engine) < all_free)
        call.cancel()
        if reading:
            await asyncio.wait([reading])
        await until(lambda: free_tokens(engine) == all_free)
        await until(lambda: served.session.admission.running == 0)
        assert served.ended("cancelled") == 1


async def test_a_result_arrives_before_the_deadline_of_a_solve_that_takes_longer(hub: LocalVerifiers) -> None:
    limits = ServerLimits(k=2, seconds=60, candidate_tokens=1900)
    async with telling(ENDLESS, 1 << 15) as engine, serving(engine, hub, limits=limits) as served:
        all_free = free_tokens(engine)
        result = await served.stub.SolveOnce(asking(), timeout=2.0)
        assert (result.outcome, result.stopped) == (pb.SolveResponse.OUTCOME_UNSOLVED, "seconds")
        assert result.spent.aborted.sampled_tokens > 0
        await until(lambda: free_tokens(engine) == all_free)


async def test_a_deadline_that_passes_in_the_line_leaves_nothing_behind(hub: LocalVerifiers) -> None:
    async with telling(ENDLESS) as engine, serving(engine, hub, slots=1) as served:
        all_free = free_tokens(engine)
        first = served.stub.SolveOnce(asking(candidate_tokens=512, k=1))
        await until(lambda: free_tokens(engine) < all_free)
        assert await code_of(served.stub.SolveOnce(asking(), timeout=0.05)) is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: served.session.admission.waiting == 0)
        first.cancel()
        await until(lambda: free_tokens(engine) == all_free)
        await until(lambda: served.ended("cancelled") == 1)


async def test_a_full_server_says_when_to_come_back_and_serves_those_in_line(hub: LocalVerifiers) -> None:
    judge = ScriptedJudge(gate=asyncio.Event())
    async with telling(RIGHT) as engine, serving(engine, judge, slots=1, places=1) as served:
        inside = [asyncio.ensure_future(served.stub.SolveOnce(asking(policy="greedy"))) for _ in range(2)]
        await until(lambda: served.session.admission.running == 1 and served.session.admission.waiting == 1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.stub.SolveOnce(asking())
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        delay = delay_of(caught.value)
        assert delay is not None
        assert 0 < delay <= 30
        judge.gate.set()
        assert [result.answer for result in await asyncio.gather(*inside)] == ["42", "42"]


async def test_an_engine_that_is_gone_is_unavailable(hub: LocalVerifiers) -> None:
    async with telling(RIGHT) as engine, serving(engine, hub) as served:
        await engine.close()
        assert await code_of(served.stub.SolveOnce(asking())) is grpc.StatusCode.UNAVAILABLE
        await until_health(served.channel, NOT_SERVING, SERVICE_NAME)


async def test_an_engine_that_goes_away_on_the_way_is_unavailable(hub: LocalVerifiers) -> None:
    async with telling(ENDLESS) as engine, serving(engine, hub) as served:
        all_free = free_tokens(engine)
        call = asyncio.ensure_future(served.stub.SolveOnce(asking(candidate_tokens=512)))
        await until(lambda: free_tokens(engine) < all_free)
        await engine.close()
        assert await code_of(call) is grpc.StatusCode.UNAVAILABLE


async def test_verifiers_that_are_down_are_unavailable_and_no_verdict_on_the_answer() -> None:
    judge = ScriptedJudge({"42": ERROR})
    async with telling(RIGHT) as engine, serving(engine, judge) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.stub.SolveOnce(asking(k=2))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "the box died" in str(caught.value.details())


async def test_health_waits_for_engine_and_verifiers() -> None:
    class Slow(ScriptedVerifier):
        async def self_check(self) -> tuple[str, ...]:
            await self.release.wait()
            return ()

    verifier = Slow()
    async with telling(RIGHT) as engine, serving(engine, LocalVerifiers([verifier]), warm=False) as served:
        for service in ("", SERVICE_NAME):
            assert await health(served.channel, service) == NOT_SERVING
        verifier.release.set()
        for service in ("", SERVICE_NAME):
            await until_health(served.channel, SERVING, service)


async def test_health_is_not_serving_while_the_engine_generates_nothing() -> None:
    async with telling(RIGHT) as engine:
        await engine.close()
        async with serving(engine, ScriptedJudge(), warm=False) as served:
            faults = await served.server._service.check()
            assert "engine" in faults
            assert await health(served.channel) == NOT_SERVING


async def test_reflection_knows_the_service(hub: LocalVerifiers) -> None:
    async with telling(RIGHT) as engine, serving(engine, hub) as served:
        stub = reflection_pb2_grpc.ServerReflectionStub(served.channel)
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        replies = [reply async for reply in call]
    assert SERVICE_NAME in {service.name for service in replies[0].list_services_response.service}


async def test_drain_turns_health_off_refuses_new_solves_and_finishes_old_ones() -> None:
    judge = ScriptedJudge(gate=asyncio.Event())
    async with telling(RIGHT) as engine, serving(engine, judge) as served:
        old = asyncio.ensure_future(served.stub.SolveOnce(asking(policy="greedy")))
        await until(lambda: served.session.admission.running == 1)
        draining = asyncio.ensure_future(served.server.drain())
        await until_health(served.channel, NOT_SERVING)
        assert await code_of(served.stub.SolveOnce(asking())) is grpc.StatusCode.UNAVAILABLE
        judge.gate.set()
        assert (await old).answer == "42"
        await draining


async def test_drain_cuts_what_outlasts_the_grace_period_and_frees_the_engine(hub: LocalVerifiers) -> None:
    listening = Listening("127.0.0.1:0", grace_seconds=0.05)
    async with telling(ENDLESS) as engine, serving(engine, hub, listening=listening) as served:
        all_free = free_tokens(engine)
        call = asyncio.ensure_future(served.stub.SolveOnce(asking(candidate_tokens=512)))
        await until(lambda: free_tokens(engine) < all_free)
        await served.server.drain()
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            await call
        await until(lambda: free_tokens(engine) == all_free)
        assert served.ended("cancelled") == 1


async def test_a_drain_that_is_told_to_hurry_does_not_wait_for_the_grace_period(hub: LocalVerifiers) -> None:
    listening = Listening("127.0.0.1:0", grace_seconds=3600.0)
    async with telling(ENDLESS) as engine, serving(engine, hub, listening=listening) as served:
        all_free = free_tokens(engine)
        call = asyncio.ensure_future(served.stub.SolveOnce(asking(candidate_tokens=512)))
        await until(lambda: free_tokens(engine) < all_free)
        draining = asyncio.ensure_future(served.server.drain())
        await until_health(served.channel, NOT_SERVING)
        served.server.force_stop()
        await draining
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            await call
        await until(lambda: free_tokens(engine) == all_free)
        assert served.ended("cancelled") == 1


async def test_a_reader_that_cannot_keep_up_is_told_so(monkeypatch: pytest.MonkeyPatch, hub: LocalVerifiers) -> None:
    monkeypatch.setattr("espalier.solver.session.session.MAX_PENDING", 3)
    async with telling(ENDLESS) as engine, serving(engine, hub) as served:
        all_free = free_tokens(engine)
        call = served.stub.Solve(asking(deltas=True, candidate_tokens=512, policy="best_of_k", k=8))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in call:
                pass
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await until(lambda: free_tokens(engine) == all_free)
        assert served.ended("cancelled") == 1


async def test_a_token_is_asked_of_everything_but_health(hub: LocalVerifiers) -> None:
    security = ServerSecurity(token=TOKEN)
    async with telling(RIGHT) as engine, serving(engine, hub, security=security) as served:
        await health(served.channel)
        for metadata in ((), (("authorization", f"Bearer {TOKEN}x"),)):
            call = served.stub.SolveOnce(asking(), metadata=metadata)
            assert await code_of(call) is grpc.StatusCode.UNAUTHENTICATED
        result = await served.stub.SolveOnce(asking(), metadata=(("authorization", f"Bearer {TOKEN}"),))
        assert result.answer == "42"


async def test_an_open_address_without_protection_is_refused(hub: LocalVerifiers) -> None:
    async with telling(RIGHT) as engine:
        with pytest.raises(UnsafeAddressError, match="--insecure"):
            async with serving(engine, hub, listening=Listening("0.0.0.0:0")):
                pass


async def test_a_message_beyond_the_limit_is_refused_and_the_server_lives(hub: LocalVerifiers) -> None:
    listening = Listening("127.0.0.1:0", max_message_mib=1)
    async with telling(RIGHT) as engine, serving(engine, hub, listening=listening) as served:
        assert await code_of(served.stub.SolveOnce(asking("x" * (2 << 20)))) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (await served.stub.SolveOnce(asking())).answer == "42"


async def test_metrics_account_for_solves_tokens_and_verdicts(hub: LocalVerifiers, unused_tcp_port: int) -> None:
    listening = Listening("127.0.0.1:0", metrics=f"127.0.0.1:{unused_tcp_port}")
    async with (
        telling(lambda number: RIGHT if number else WRONG) as engine,
        serving(engine, hub, listening=listening) as served,
    ):
        result = await served.stub.SolveOnce(asking(policy="adaptive", k=2))
        url = f"http://127.0.0.1:{unused_tcp_port}/metrics"
        page = await asyncio.to_thread(lambda: urllib.request.urlopen(url).read().decode())
    lines = dict(line.rsplit(" ", 1) for line in page.splitlines() if line.startswith("espalier"))
    assert lines['espalier_solves_total{end="verified",policy="adaptive"}'] == "1.0"
    assert lines['espalier_solve_seconds_count{policy="adaptive"}'] == "1.0"
    assert lines['espalier_solve_candidates_sum{policy="adaptive"}'] == "2.0"
    assert lines['espalier_verdicts_total{kind="reference",status="pass"}'] == "1.0"
    assert lines['espalier_verify_seconds_count{kind="reference"}'] == "2.0"
    accepted = float(lines['espalier_tokens_total{fate="accepted",origin="sampled"}'])
    assert accepted == result.spent.accepted.sampled_tokens
    assert lines["espalier_solves_running"] == "0.0"
    assert lines['espalier_queue_depth{queue="live"}'] == "0.0"


async def test_what_a_cancelled_solve_generated_is_counted_as_aborted(hub: LocalVerifiers) -> None:
    async with telling(ENDLESS) as engine, serving(engine, hub) as served:
        all_free = free_tokens(engine)
        call = served.stub.SolveOnce(asking(policy="best_of_k", k=3, candidate_tokens=512))
        await until(lambda: free_tokens(engine) < all_free - 3 * 64)
        call.cancel()
        await until(lambda: served.session.admission.running == 0)
        read = served.session.metrics.registry.get_sample_value
        assert read("espalier_aborts_total") == 3
        assert read("espalier_solves_total", {"policy": "best_of_k", "end": "cancelled"}) == 1
        assert (read("espalier_tokens_total", {"fate": "aborted", "origin": "sampled"}) or 0) > 0


async def test_logs_carry_request_and_solve(hub: LocalVerifiers) -> None:
    async with telling(RIGHT) as engine, serving(engine, hub) as served:
        with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
            result = await served.stub.SolveOnce(asking(k=3), metadata=(("x-request-id", "r-17"),))
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("solving", "debug"),
        ("solved", "info"),
        ("call", "info"),
    ]
    solving, solved, call = logs
    assert {line["request_id"] for line in logs} == {"r-17"}
    assert solving["solve_id"] == solved["solve_id"] == result.solve_id
    assert (solved["policy"], solved["k"], solved["seed"]) == ("adaptive", 3, result.seed)
    assert (call["method"], call["outcome"]) == ("SolveOnce", "ok")


async def test_every_solve_leaves_a_trace(hub: LocalVerifiers, tmp_path: Path) -> None:
    async with telling(RIGHT) as engine, serving(engine, hub, traces=tmp_path) as served:
        result = await served.stub.SolveOnce(asking())
    lines = [json.loads(line) for line in (tmp_path / f"{result.solve_id}.jsonl").read_text().splitlines()]
    assert "accepted" in lines[0]
    assert "solved" in lines[-1]


async def test_the_house_hands_out_temperatures_and_strategies_in_turn(hub: LocalVerifiers, tmp_path: Path) -> None:
    diverse = ServerLimits(k=3, candidate_tokens=512, policy_settings=diversity([0.5, 1.0], ["Draw it.", "Guess."]))
    async with telling(WRONG) as engine, serving(engine, hub, limits=diverse, traces=tmp_path) as served:
        result = await served.stub.SolveOnce(asking(policy="best_of_k"))
    lines = map(json.loads, (tmp_path / f"{result.solve_id}.jsonl").read_text().splitlines())
    started = [line["candidate_started"] for line in lines if "candidate_started" in line]
    assert [line["spec"]["temperature"] for line in started] == [0.5, 1.0, 0.5]
    assert [line["question"].rpartition("\n\n")[2] for line in started] == ["Draw it.", "Guess.", "Draw it."]


async def test_a_trace_that_cannot_be_written_does_not_keep_a_problem_from_being_solved(hub: LocalVerifiers) -> None:
    async with telling(RIGHT) as engine, serving(engine, hub, traces=Path("/proc/none")) as served:
        assert (await served.stub.SolveOnce(asking())).answer == "42"


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("SubmitJob", pb.SubmitJobRequest(problems=[common_pb2.Problem(text="x")])),
        ("GetJob", pb.GetJobRequest(job_id="x")),
        ("CancelJob", pb.CancelJobRequest(job_id="x")),
        ("ListJobs", pb.ListJobsRequest()),
    ],
)
async def test_jobs_need_a_queue_and_say_so(hub: LocalVerifiers, method: str, request_: Any) -> None:
    async with telling(RIGHT) as engine, serving(engine, hub) as served:
        with pytest.raises(grpc.aio.AioRpcError, match="--redis") as caught:
            await getattr(served.stub, method)(request_)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_the_house_checks_its_own_defaults() -> None:
    with pytest.raises(ValueError, match="default k"):
        ServerLimits(k=9, max_k=8)
    with pytest.raises(ValueError, match="default policy"):
        ServerLimits(policy="guess")
    assert LIMITS.k <= LIMITS.max_k
