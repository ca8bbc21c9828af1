"""What operators see and probes ask: health, refusals in one vocabulary, calls in flight, checks that never work."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import grpc
import httpx2 as httpx
import pytest
import structlog
from grpc_reflection.v1alpha import reflection_pb2
from prometheus_client import CollectorRegistry

from espalier.common.callers import Callers
from espalier.common.grpc_errors import field_of
from espalier.common.grpc_server import LIVENESS, REFLECTION_V1
from espalier.common.metrics import metrics_server
from espalier.common.ports import free_port
from espalier.common.security import ServerSecurity
from espalier.solver.batch.connection import check_eviction, connect
from espalier.solver.batch.queue import JobQueue
from espalier.v1 import common_pb2
from espalier.v1 import solver_pb2 as pb
from espalier.verifiers.check import Check
from espalier.verifiers.local import LocalVerifiers
from espalier.verifiers.math.verifier import MathVerifier
from tests.solver.batch.server import RedisServer
from tests.solver.scripted import PASS, ScriptedEngine, ScriptedJudge
from tests.solver.service.serving import Served, asking, serving, until
from tests.solver.service.telling import telling
from tests.verifiers.running import SERVING, health

TOKEN = "a-token-of-some-length"  # noqa: S105
BODY = {"model": "espalier", "messages": [{"role": "user", "content": "What is 6 times 7?"}], "check": "reference:42"}
RIGHT = "so \\boxed{42}"


@asynccontextmanager
async def asked(engine: Any, verifiers: Any, **more: Any) -> AsyncIterator[tuple[Served, httpx.AsyncClient]]:
    async with serving(engine, verifiers, **more) as served:
        base = served.http.removesuffix("/v1")
        async with httpx.AsyncClient(base_url=base, timeout=20) as client:
            yield served, client


def sample(served: Served, name: str, **labels: str) -> float:
    return served.session.metrics.registry.get_sample_value(name, labels) or 0.0


def judge() -> ScriptedJudge:
    return ScriptedJudge({"42": PASS})


async def test_probes_ask_without_a_token_and_learn_only_whether_it_serves() -> None:
    async with asked(ScriptedEngine.of(RIGHT), judge(), security=ServerSecurity(token=TOKEN)) as (served, client):
        await until(lambda: served.server.serving)
        assert (await client.get("/healthz")).json() == {"status": "serving"}
        assert await health(served.channel, LIVENESS) == SERVING
        await served.server.drain()
        assert not served.server.serving


async def test_a_self_check_that_fails_is_a_fault_and_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with asked(ScriptedEngine.of(RIGHT), judge()) as (served, _):
        calls = 0

        async def check() -> dict[str, str]:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise LookupError("no such package")
            return {}

        monkeypatch.setattr(served.server._service, "check", check)
        served.session.health_check_requested.set()
        await until(lambda: not served.server.serving)
        await until(lambda: served.server.serving)
        assert calls >= 2


async def test_a_wrong_method_is_named_with_those_that_work() -> None:
    async with asked(ScriptedEngine.of(RIGHT), judge()) as (_, client):
        reply = await client.get("/v1/chat/completions")
        assert (reply.status_code, reply.headers["allow"]) == (405, "POST")
        assert reply.json()["error"]["code"] == "method_not_allowed"


async def test_requests_that_no_handler_is_for_are_counted_and_logged() -> None:
    async with asked(ScriptedEngine.of(RIGHT), judge()) as (served, client):
        with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
            lost = await client.get("/v1/nothing", headers={"x-request-id": "mine"})
            assert (lost.status_code, lost.headers["x-request-id"]) == (404, "mine")
            assert (await client.get("/v1/chat/completions")).status_code == 405
            await until(lambda: sum(line["event"] == "request" for line in logs) == 2)
        told = [(line["method"], line["status"], line["outcome"]) for line in logs if line["event"] == "request"]
        assert told == [("/v1/nothing", 404, "not_found"), ("/v1/chat/completions", 405, "invalid")]
        assert sample(served, "espalier_refused_total", reason="not_found") == 1
        assert sample(served, "espalier_in_flight") == 0


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer "])
async def test_the_scheme_of_a_token_is_known_in_any_case(scheme: str) -> None:
    security = ServerSecurity(token=TOKEN)
    assert security.admits(f"{scheme} {TOKEN}")
    assert not security.admits(f"{scheme} {TOKEN}x")
    assert not security.admits(f"Basic {TOKEN}")
    assert not security.admits(TOKEN)


async def test_refused_callers_are_counted_and_logged_alike_over_both_protocols() -> None:
    security = ServerSecurity(token=TOKEN)
    async with asked(ScriptedEngine.of(RIGHT), judge(), security=security, warm=False) as (served, client):
        with structlog.testing.capture_logs() as logs:
            refused = await client.get("/v1/models")
            assert (refused.status_code, refused.headers.get("www-authenticate")) == (401, "Bearer")
            with pytest.raises(grpc.aio.AioRpcError):
                await served.stub.SolveOnce(asking())
        assert sample(served, "espalier_refused_total", reason="unauthenticated") == 2
        assert ("request", 401, "unauthenticated") in [
            (line["event"], line.get("status"), line.get("outcome")) for line in logs
        ]
        (call,) = [line for line in logs if line["event"] == "call refused"]
        assert call["reason"] == "unauthenticated"
        assert call["peer"].startswith("ipv4:127.0.0.1:")


async def test_named_callers_are_known_over_both_protocols_and_kept_within_their_limits(tmp_path: Path) -> None:
    file = tmp_path / "callers.toml"
    file.write_text(f'[alice]\ntoken = "{TOKEN}-alice"\n[bob]\ntoken = "{TOKEN}-bob"\ntokens_per_minute = 1\n')
    alice, bob = ({"Authorization": f"Bearer {TOKEN}-{name}"} for name in ("alice", "bob"))
    security = ServerSecurity(callers=Callers(file))
    async with asked(ScriptedEngine.of(RIGHT), judge(), security=security) as (served, client):
        with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
            assert (await client.post("/v1/chat/completions", json=BODY, headers=alice)).status_code == 200
            metadata = (("authorization", alice["Authorization"]),)
            await served.stub.SolveOnce(asking(), metadata=metadata)
            assert (await client.post("/v1/chat/completions", json=BODY, headers=bob)).status_code == 200
            await until(lambda: sample(served, "espalier_caller_solves_total", caller="bob") == 1)
            away = await client.post("/v1/chat/completions", json=BODY, headers=bob)
        assert (away.status_code, int(away.headers["retry-after"]) > 60) == (429, True)
        assert (await client.post("/v1/chat/completions", json=BODY)).status_code == 401
        assert sample(served, "espalier_caller_solves_total", caller="alice") == 2
        assert sample(served, "espalier_caller_tokens_total", caller="alice") > 0
        assert [line["caller"] for line in logs if line["event"] == "solved"] == ["alice", "alice", "bob"]


async def test_one_word_stands_for_a_wrong_field_over_both_protocols() -> None:
    async with asked(ScriptedEngine.of(RIGHT), judge()) as (served, client):
        assert (await client.post("/v1/chat/completions", json={**BODY, "k": 99})).status_code == 400
        with pytest.raises(grpc.aio.AioRpcError):
            await served.stub.SolveOnce(asking(k=99))
        assert sample(served, "espalier_refused_total", reason="invalid") == 2


async def test_a_stream_is_in_flight_until_its_last_chunk() -> None:
    engine = ScriptedEngine.of(None)
    async with asked(engine, judge()) as (served, client):
        with structlog.testing.capture_logs() as logs:
            async with client.stream("POST", "/v1/chat/completions", json={**BODY, "stream": True, "k": 1}) as reply:
                await anext(reply.aiter_lines())
                assert sample(served, "espalier_in_flight") == 1
            await until(lambda: sample(served, "espalier_in_flight") == 0)
        (line,) = [line for line in logs if line["event"] == "request"]
        assert (line["verb"], line["peer"], line["status"]) == ("POST", "127.0.0.1", 200)


@pytest.mark.parametrize(
    ("check", "said"),
    [
        ("reference:\\frac{", "check.reference.answer: cannot be read as mathematics"),
        ({"constraints": {"constraints": [{"domain": "lucky"}]}}, "unknown domain 'lucky'"),
        ({"custom": {"verifier": "absent"}}, "no verifier called 'absent'"),
    ],
)
async def test_a_check_that_can_never_work_is_refused_before_anything_is_generated(check: Any, said: str) -> None:
    engine = ScriptedEngine.of(RIGHT)
    async with LocalVerifiers([MathVerifier()]) as hub, asked(engine, hub) as (served, client):
        before = len(engine.requests)
        reply = await client.post("/v1/chat/completions", json={**BODY, "check": check})
        assert reply.status_code == 400
        assert said in reply.json()["error"]["message"]
        assert len(engine.requests) == before
        assert served.ended("failed") == 0


async def test_a_submission_with_a_check_that_can_never_work_is_refused_whole(hub: LocalVerifiers, redis: Any) -> None:
    queue = JobQueue(redis)
    async with asked(ScriptedEngine.of(RIGHT), hub, queue=queue) as (served, _):
        custom = common_pb2.Check(custom=common_pb2.CustomCheck(verifier="absent"))
        problems = [common_pb2.Problem(text="a"), common_pb2.Problem(text="b", check=custom)]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.stub.SubmitJob(pb.SubmitJobRequest(problems=problems))
        assert field_of(caught.value).field == "problems[1].check.custom.verifier"
        assert (await queue.depth()).total == 0


class Counting(ScriptedJudge):
    """Validates each check in a turn of the loop, and notes how many at once."""

    def __init__(self) -> None:
        super().__init__()
        self.validated, self.running, self.most = 0, 0, 0

    async def validate_check(self, check: Check, *, timeout: float | None = None) -> None:
        self.validated += 1
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1


async def test_checks_of_a_submission_are_validated_several_at_once_and_equal_ones_once(redis: Any) -> None:
    verifiers = Counting()
    async with asked(ScriptedEngine.of(RIGHT), verifiers, queue=JobQueue(redis)) as (served, _):
        checks = [common_pb2.Check(reference=common_pb2.ReferenceCheck(answer=str(i % 100))) for i in range(300)]
        problems = [common_pb2.Problem(id=str(i), text="a", check=check) for i, check in enumerate(checks)]
        await served.stub.SubmitJob(pb.SubmitJobRequest(problems=problems))
    assert (verifiers.validated, verifiers.most) == (100, 64)


async def test_batches_are_listed_cancelled_and_read_over_grpc(redis: Any) -> None:
    queue = JobQueue(redis)
    async with asked(ScriptedEngine.of(RIGHT), judge(), queue=queue) as (served, _):
        problems = [common_pb2.Problem(id=name, text="What is 6 times 7?") for name in "ab"]
        await served.stub.SubmitJob(pb.SubmitJobRequest(problems=problems, key="monday"))
        (listed,) = (await served.stub.ListBatches(pb.ListBatchesRequest())).batches
        assert (listed.key, listed.jobs, listed.queued, listed.HasField("finished")) == ("monday", 2, 2, False)
        assert await served.stub.GetBatch(pb.GetBatchRequest(batch=listed.id)) == listed
        await redis.delete(queue._keys.job(f"{listed.id}-1"))
        ended = await served.stub.CancelBatch(pb.CancelBatchRequest(batch="monday"))
        assert ended.cancelled == 1
        rows = [row async for row in served.stub.GetBatchResults(pb.GetBatchRequest(batch="monday"))]
        assert [(row.problem_id, row.HasField("status")) for row in rows] == [("a", True), ("", False)]
        for call, wrong in (
            (served.stub.GetBatch, pb.GetBatchRequest(batch="none")),
            (served.stub.GetBatch, pb.GetBatchRequest()),
            (served.stub.ListBatches, pb.ListBatchesRequest(page_token="x")),  # noqa: S106 (no password)
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(wrong)
            assert caught.value.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)


async def test_reflection_answers_under_both_of_its_names() -> None:
    async with asked(ScriptedEngine.of(RIGHT), judge(), warm=False) as (served, _):
        for name in (REFLECTION_V1, "grpc.reflection.v1alpha.ServerReflection"):
            call = served.channel.stream_stream(
                f"/{name}/ServerReflectionInfo",
                request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
                response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
            )
            async for response in call(iter([reflection_pb2.ServerReflectionRequest(list_services="")])):
                listed = {service.name for service in response.list_services_response.service}
                assert "espalier.v1.Solver" in listed


def test_metrics_cannot_be_read_while_the_event_loop_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("espalier.common.metrics.LOOP_SECONDS", 0.2)
    registry, port = CollectorRegistry(), free_port()
    hang = threading.Event()

    def read() -> int:
        with closing(urlopen(f"http://127.0.0.1:{port}/metrics")) as reply:
            return int(reply.status)

    async def run() -> tuple[int, object]:
        with metrics_server(registry, f"127.0.0.1:{port}"):
            good = await asyncio.to_thread(read)
            hung: list[object] = []

            def probe() -> None:
                try:
                    hung.append(read())
                except (URLError, OSError) as error:
                    hung.append(error)
                hang.set()

            threading.Thread(target=probe).start()
            hang.wait(10)  # blocks the loop
            return good, hung[0]

    good, hung = asyncio.run(run())
    assert good == 200
    assert hung != 200


async def test_time_in_line_and_time_to_the_first_token_are_measured() -> None:
    async with asked(ScriptedEngine.of(RIGHT), judge()) as (served, client):
        assert (await client.post("/v1/chat/completions", json=BODY)).status_code == 200
        await until(lambda: sample(served, "espalier_first_token_seconds_count") == 1)
        assert sample(served, "espalier_wait_seconds_count", queue="live") == 1
        assert sample(served, "espalier_first_token_seconds_sum") > 0


async def test_a_queue_that_was_away_is_checked_for_eviction_before_its_first_use(own_server: RedisServer) -> None:
    own_server.stop()
    async with connect(own_server.url, retries=0) as client:
        check = partial(check_eviction, client, allowed=False)
        engine, queue = ScriptedEngine.of(RIGHT), JobQueue(client)
        async with asked(engine, judge(), queue=queue, check_queue=check) as (served, _):
            request = pb.SubmitJobRequest(problems=[common_pb2.Problem(text="a")])
            for code, policy in (
                (grpc.StatusCode.UNAVAILABLE, ""),
                (grpc.StatusCode.FAILED_PRECONDITION, "allkeys-lru"),
            ):
                if policy:
                    own_server.start()
                    await client.config_set("maxmemory-policy", policy)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await served.stub.SubmitJob(request)
                assert caught.value.code() is code
            await client.config_set("maxmemory-policy", "noeviction")
            assert (await served.stub.SubmitJob(request)).job_ids


async def test_occupancy_of_the_embedded_engine_is_a_metric(hub: LocalVerifiers) -> None:
    async with telling(None) as engine, serving(engine, hub) as served:  # it never stops talking

        def states(name: str) -> dict[str, float]:
            samples = (found for metric in served.session.metrics.registry.collect() for found in metric.samples)
            return {one.labels["state"]: one.value for one in samples if one.name == f"espalier_engine_{name}"}

        idle = states("kv_tokens")
        assert (idle["used"], states("rows")["used"], states("requests")["running"]) == (0, 0, 0)
        call = served.stub.SolveOnce(asking(k=2))
        await until(lambda: states("rows")["used"] >= 1)
        busy = states("kv_tokens")
        assert busy["used"] > 0
        assert busy["used"] + busy["free"] == idle["free"]
        assert states("requests")["running"] >= 1
        call.cancel()
        await until(lambda: states("kv_tokens") == idle and states("rows")["used"] == 0)


async def test_an_engine_that_tells_nothing_of_its_load_has_no_such_metric() -> None:
    async with asked(ScriptedEngine.of(RIGHT), judge()) as (served, _):
        names = {metric.name for metric in served.session.metrics.registry.collect()}
        assert not {name for name in names if name.startswith("espalier_engine_") and name != "espalier_engine_up"}
