from __future__ import annotations

import asyncio

import httpx2 as httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from redis.asyncio import Redis

from espalier.common.tracing import traceparent
from espalier.runtime.engine import Tokens
from espalier.solver.batch.queue import JobQueue
from espalier.solver.core.candidate import Spec
from espalier.solver.core.events import CandidateStarted, Streamed
from espalier.solver.session.spans import ENDPOINTS, export, spans
from espalier.v1 import common_pb2
from espalier.v1 import solver_pb2 as pb
from tests.solver.batch.server import RedisServer
from tests.solver.batch.working import ended, solving, working
from tests.solver.scripted import PASS, ScriptedEngine, ScriptedJudge
from tests.solver.service.serving import asking, serving, until
from tests.solver.service.telling import telling


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    memory = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return memory


def finished(exporter: InMemorySpanExporter) -> list[ReadableSpan]:
    return list(exporter.get_finished_spans())


async def test_a_solve_is_a_span_with_one_below_it_for_each_candidate(exporter: InMemorySpanExporter) -> None:
    async with telling("\\boxed{42}") as engine, serving(engine, ScriptedJudge({"42": PASS})) as served:
        result = await served.stub.SolveOnce(asking(k=2))
    *candidates, solve = finished(exporter)
    assert (solve.name, {span.name for span in candidates}) == ("solve", {"candidate"})
    assert solve.attributes is not None
    assert solve.attributes["espalier.solve_id"] == result.solve_id
    assert solve.attributes["espalier.decided_by"] == "check"
    assert len(candidates) == 2
    assert all(span.parent is not None and span.parent.span_id == solve.context.span_id for span in candidates)


async def test_a_cancelled_solve_leaves_no_span_open(exporter: InMemorySpanExporter) -> None:
    async with telling(None) as engine, serving(engine, ScriptedJudge()) as served:
        call = served.stub.SolveOnce(asking(policy="best_of_k", k=3))
        await until(lambda: engine.info.details["running"] == 3)
        call.cancel()
        await until(lambda: served.session.admission.running == 0)
    *candidates, solve = finished(exporter)
    assert solve.name == "solve"
    reasons = [span.attributes["espalier.finish_reason"] for span in candidates if span.attributes]
    assert reasons == ["aborted"] * 3
    assert solve.attributes is not None
    tokens = [span.attributes["espalier.tokens"] for span in candidates if span.attributes]
    assert sum(tokens) == solve.attributes["espalier.tokens"]


def test_a_solve_that_is_broken_off_shows_the_tokens_that_it_has_taken(exporter: InMemorySpanExporter) -> None:
    tokens = Tokens("a", (), (1, 2, 3), (0.0,) * 3, (False,) * 3, (0, 1, 2))
    with pytest.raises(asyncio.CancelledError), spans("solve-1") as watch:
        watch(CandidateStarted(Spec(0, 0, 7, 1.0), None, ()))
        watch(Streamed(0, tokens))
        raise asyncio.CancelledError
    candidate, solve = finished(exporter)
    for span in (candidate, solve):
        assert span.attributes is not None
        assert span.attributes["espalier.tokens"] == 3


@pytest.mark.parametrize("protocol", ["grpc", "http"])
async def test_a_solve_is_below_the_callers_span(exporter: InMemorySpanExporter, protocol: str) -> None:
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    sent = {"traceparent": f"00-{trace}-{span}-01"}
    async with telling("\\boxed{42}") as engine, serving(engine, ScriptedJudge({"42": PASS})) as served:
        if protocol == "grpc":
            await served.stub.SolveOnce(asking(k=1), metadata=tuple(sent.items()))
        else:
            body = {"model": "espalier", "messages": [{"role": "user", "content": "What is 6 times 7?"}], "k": 1}
            async with httpx.AsyncClient(timeout=60) as client:
                reply = await client.post(f"{served.http}/chat/completions", json=body, headers=sent)
            assert reply.status_code == 200
    *_, solve = finished(exporter)
    assert solve.parent is not None
    assert (f"{solve.context.trace_id:032x}", f"{solve.parent.span_id:016x}") == (trace, span)


async def test_the_span_of_a_job_is_below_the_one_that_submitted_it(
    exporter: InMemorySpanExporter, redis: Redis, server: RedisServer
) -> None:
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    queue = JobQueue(redis)
    async with serving(ScriptedEngine.of("x"), ScriptedJudge(), queue=queue) as served:
        request = pb.SubmitJobRequest(problems=[common_pb2.Problem(text="a")], settings=pb.Settings(k=1))
        submitted = await served.stub.SubmitJob(request, metadata=(("traceparent", f"00-{trace}-{span}-01"),))
    async with working(server, solving(ScriptedEngine.of("\\boxed{42}"))):
        await ended(redis, submitted.job_ids[0])
    *_, solve = finished(exporter)
    assert solve.parent is not None
    assert (f"{solve.context.trace_id:032x}", f"{solve.parent.span_id:016x}") == (trace, span)


async def test_a_call_to_a_verifier_server_names_the_span_of_its_solve(exporter: InMemorySpanExporter) -> None:
    assert traceparent() == ()
    with spans("solve-1"):
        ((name, value),) = traceparent()
    (solve,) = finished(exporter)
    assert name == "traceparent"
    assert value.split("-")[1:3] == [f"{solve.context.trace_id:032x}", f"{solve.context.span_id:016x}"]


async def test_a_traceparent_that_cannot_be_read_is_none(exporter: InMemorySpanExporter) -> None:
    async with telling("\\boxed{42}") as engine, serving(engine, ScriptedJudge({"42": PASS})) as served:
        await served.stub.SolveOnce(asking(k=1), metadata=(("traceparent", "00-nonsense"),))
    *_, solve = finished(exporter)
    assert solve.parent is None


def test_spans_are_exported_only_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENDPOINTS:
        monkeypatch.delenv(name, raising=False)
    assert export() is False
    monkeypatch.setenv(ENDPOINTS[0], "http://127.0.0.1:4318")
    monkeypatch.setattr("espalier.solver.session.spans.find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"\[otel\]"):
        export()
