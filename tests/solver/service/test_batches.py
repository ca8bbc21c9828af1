"""Batches over the wire: the stock `openai` client and gRPC, a real Redis, a worker; no client has Redis's password."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio
import httpx2 as httpx
import openai
import pytest
from typer.testing import CliRunner

from espalier.common.callers import Callers
from espalier.common.grpc_errors import field_of
from espalier.common.grpc_server import Listening
from espalier.common.security import ServerSecurity
from espalier.solver.batch.connection import connect
from espalier.solver.batch.handler import JobRefusedError
from espalier.solver.batch.queue import JobQueue
from espalier.solver.cli.batch import app
from espalier.v1 import common_pb2
from espalier.v1 import solver_pb2 as pb
from tests.solver.batch.server import RedisServer
from tests.solver.batch.working import solving, until, working
from tests.solver.scripted import ScriptedEngine, ScriptedJudge, boxed
from tests.solver.service.serving import Served, serving
from tests.solver.service.stock import client

if TYPE_CHECKING:
    from redis.asyncio import Redis

RIGHT = boxed("42")
MULTIPART = "multipart/form-data; boundary=x"
FORM = b'--x\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n{}\r\n--x--\r\n'
ENDPOINT: Any = "/v1/chat/completions"
TOKENS = {name: f"the-token-of-{name}-here" for name in ("alice", "bob")}


def line(name: str, **body: Any) -> dict[str, Any]:
    """A line of an input file, with these fields of the request changed."""
    asked = {"model": "espalier", "messages": [{"role": "user", "content": "What is 6 times 7?"}], **body}
    return {"custom_id": name, "method": "POST", "url": ENDPOINT, "body": asked}


def file_of(*lines: Any) -> bytes:
    return "\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines).encode()


@pytest.fixture
async def served(redis: Redis) -> AsyncIterator[Served]:
    async with serving(ScriptedEngine.of(RIGHT), ScriptedJudge(), queue=JobQueue(redis)) as running:
        yield running


async def submitted(ask: openai.AsyncOpenAI, *lines: Any, **more: Any) -> Any:
    file = await ask.files.create(file=("in.jsonl", file_of(*lines)), purpose="batch")
    return await ask.batches.create(input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h", **more)


async def ended(ask: openai.AsyncOpenAI, batch: str) -> Any:
    async with asyncio.timeout(30):
        while (found := await ask.batches.retrieve(batch)).status in ("in_progress", "cancelling"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return found


async def lines_of(ask: openai.AsyncOpenAI, file: str | None) -> list[dict[str, Any]]:
    assert file is not None
    content = await ask.files.content(file)
    lines = content.text.splitlines()
    assert (await ask.files.retrieve(file)).bytes == len(content.content)
    return [json.loads(line) for line in lines]


async def test_the_stock_client_submits_a_file_and_fetches_its_results(served: Served, server: RedisServer) -> None:
    async with client(served) as ask, working(server, solving(ScriptedEngine.of(RIGHT))):
        batch = await submitted(
            ask, line("a", check="reference:42", k=2), line("b", seed=7), metadata={"day": "monday"}
        )
        assert (batch.status, batch.metadata) == ("in_progress", {"day": "monday"})
        done = await ended(ask, batch.id)
        assert (done.status, done.error_file_id) == ("completed", None)
        assert (done.request_counts.total, done.request_counts.completed, done.request_counts.failed) == (2, 2, 0)
        first, second = await lines_of(ask, done.output_file_id)
        assert (first["custom_id"], second["custom_id"]) == ("a", "b")
        assert first["response"]["status_code"] == 200
        assert first["response"]["body"]["choices"][0]["message"]["content"] == "42"
        assert first["response"]["body"]["metadata"]["outcome"] == "OUTCOME_VERIFIED"
        assert second["response"]["body"]["metadata"]["seed"] == "7"


async def test_the_line_of_a_result_is_what_the_live_endpoint_answers(served: Served, server: RedisServer) -> None:
    asked = {"seed": 7, "check": "reference:42", "policy": "greedy"}
    async with client(served) as ask, working(server, solving(ScriptedEngine.of(RIGHT))):
        live = (await ask._client.post("chat/completions", json=line("a", **asked)["body"])).json()
        done = await ended(ask, (await submitted(ask, line("a", **asked))).id)
        (answer,) = await lines_of(ask, done.output_file_id)
        body = answer["response"]["body"]
        assert (body["choices"], body["usage"]) == (live["choices"], live["usage"])
        assert body.keys() == live.keys()


async def test_a_cancelled_batch_names_what_did_not_run(served: Served) -> None:
    async with client(served) as ask:
        batch = await submitted(ask, line("a"), line("b"))
        await ask.batches.cancel(batch.id)
        gone = await ended(ask, batch.id)
        assert (gone.status, gone.output_file_id) == ("cancelled", None)
        assert gone.cancelled_at is not None
        errors = await lines_of(ask, gone.error_file_id)
        assert [(one["custom_id"], one["response"], one["error"]["code"]) for one in errors] == [
            ("a", None, "batch_cancelled"),
            ("b", None, "batch_cancelled"),
        ]


async def test_what_never_ended_well_is_in_the_file_of_errors_alone(served: Served, server: RedisServer) -> None:
    solve = solving(ScriptedEngine.of(RIGHT))

    async def work(job: pb.Job, *rest: Any) -> pb.SolveResponse:
        if job.problem.id == "b":
            raise JobRefusedError("the prompt is too long")
        return await solve(job, *rest)

    async with client(served) as ask, working(server, work):
        done = await ended(ask, (await submitted(ask, line("a"), line("b"))).id)
        assert [one["custom_id"] for one in await lines_of(ask, done.output_file_id)] == ["a"]
        (failed,) = await lines_of(ask, done.error_file_id)
        assert (failed["custom_id"], failed["error"]["code"]) == ("b", "job_failed")
        assert failed["error"]["message"] == "the prompt is too long"


async def test_files_are_listed_read_and_deleted(served: Served) -> None:
    async with client(served) as ask:
        files = [await ask.files.create(file=(f"{i}.jsonl", b"x" * i), purpose="batch") for i in (1, 2, 3)]
        assert [file.id async for file in ask.files.list(limit=2)] == [file.id for file in reversed(files)]
        assert [file.filename async for file in ask.files.list(order="asc")] == ["1.jsonl", "2.jsonl", "3.jsonl"]
        assert (await ask.files.content(files[1].id)).content == b"xx"
        assert (await ask.files.retrieve(files[1].id)).bytes == 2
        assert (await ask.files.delete(files[1].id)).deleted
        for call in (ask.files.retrieve, ask.files.content, ask.files.delete):
            with pytest.raises(openai.NotFoundError):
                await call(files[1].id)
        with pytest.raises(openai.BadRequestError):
            await ask.batches.create(input_file_id=files[1].id, endpoint=ENDPOINT, completion_window="24h")


async def test_batches_are_listed_page_by_page_newest_first(served: Served) -> None:
    async with client(served) as ask:
        made = [(await submitted(ask, line(name))).id for name in "abc"]
        assert [batch.id async for batch in ask.batches.list(limit=1)] == made[::-1]


async def test_the_same_key_of_a_batch_again_is_the_same_batch(served: Served) -> None:
    async with client(served) as ask:
        file = await ask.files.create(file=("in.jsonl", file_of(line("a"))), purpose="batch")
        once: dict[str, Any] = {"input_file_id": file.id, "endpoint": ENDPOINT, "completion_window": "24h"}
        header = {"Idempotency-Key": "monday"}
        first, again = [await ask.batches.create(**once, extra_headers=header) for _ in range(2)]
        assert first.id == again.id
        with pytest.raises(openai.BadRequestError):
            await ask.batches.create(**once, metadata={"other": "request"}, extra_headers=header)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "has no request in it"),
        (["", "{"], "line 2: line: is not JSON"),
        (["[" * 100_000], "line 1: line: is not JSON"),
        (["[]"], "line 1: line: is not a JSON object"),
        ([line("a"), {**line("b"), "more": 1}], "line 2: more: is no field"),
        ([{**line("a"), "custom_id": ""}], "line 1: custom_id"),
        ([line("x" * 257)], "line 1: custom_id"),
        ([line("\ud800")], "line 1: custom_id"),
        ([line("a"), line("a")], "line 2: custom_id: is also that of line 1"),
        ([{**line("a"), "method": "GET"}], "line 1: method: give 'POST'"),
        ([{**line("a"), "url": "/v1/embeddings"}], "line 1: url: give '/v1/chat/completions'"),
        ([line("a", model="other")], "line 1: body.model"),
        ([line("a", stream=True)], "line 1: body.stream"),
        ([line("a", k=9)], "line 1: body.k"),
        ([line("a", rounds=1 << 32)], "line 1: body.rounds"),
        ([line("a", tokens=1 << 64)], "line 1: body.tokens"),
        ([line("a", messages=[{"role": "user", "content": "\ud800"}])], "line 1: body.messages[0].content"),
        ([line("a", n=2)], "line 1: body.n"),
        ([line("a", nonsense=1)], "line 1: body.nonsense"),
    ],
)
async def test_a_wrong_line_is_named_before_anything_is_queued(
    served: Served, redis: Redis, lines: list[Any], said: str
) -> None:
    async with client(served) as ask:
        with pytest.raises(openai.BadRequestError) as caught:
            await submitted(ask, *lines)
        assert said in str(caught.value)
        assert caught.value.param == "input_file_id"
        assert (await JobQueue(redis).depth()).total == 0


async def test_a_check_that_can_never_work_is_named_by_its_line(redis: Redis, hub: Any) -> None:
    async with (
        serving(ScriptedEngine.of(RIGHT), hub, queue=JobQueue(redis)) as served,
        client(served) as ask,
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            await submitted(ask, line("a"), "", line("b", check={"custom": {"verifier": "absent"}}))
        assert "line 3: body.check.custom.verifier" in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input_file_id": None}, "input_file_id"),
        ({"input_file_id": "file-none"}, "input_file_id"),
        ({"endpoint": "/v1/embeddings"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {str(i): "" for i in range(17)}}, "metadata"),
        ({"metadata": {"a": "x" * 513}}, "metadata"),
        ({"webhook": "https://example.com"}, "webhook"),
        ({"output_expires_after": {}}, "output_expires_after"),
    ],
)
async def test_a_wrong_field_of_a_batch_is_named(served: Served, fields: dict[str, Any], param: str) -> None:
    async with client(served) as ask:
        file = await ask.files.create(file=("in.jsonl", file_of(line("a"))), purpose="batch")
        body = {"input_file_id": file.id, "endpoint": ENDPOINT, "completion_window": "24h", **fields}
        reply = await ask._client.post("batches", json=body)
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{}", "application/json", 415),
        (b"--x\r\nnonsense", MULTIPART, 400),
        (FORM % b"+2AA-", f"{MULTIPART}; charset=utf-7", 415),
        (FORM % b"\\ud800", f"{MULTIPART}; charset=unicode_escape", 415),
        (FORM % b"a", f"{MULTIPART}; charset=undefined", 415),
        (b"", "multipart/form-data", 400),
        (b"--x\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\n" + b" " * (18 << 20), MULTIPART, 413),
    ],
)
async def test_an_upload_that_is_none_is_refused(served: Served, content: bytes, kind: str, status: int) -> None:
    async with client(served) as ask:
        reply = await ask._client.post("files", content=content, headers={"Content-Type": kind})
        assert reply.status_code == status
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
        wrong = await ask._client.post("files", files={"file": ("a", b"x")}, data={"purpose": "vision"})
        assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "purpose")


async def test_what_can_be_fetched_can_be_asked_for_without_its_content(served: Served) -> None:
    async with client(served) as ask:
        file = await ask.files.create(file=("in.jsonl", file_of(line("a"))), purpose="batch")
        for path in ("files", f"files/{file.id}", f"files/{file.id}/content", "batches"):
            reply = await ask._client.head(path)
            assert (reply.status_code, reply.content) == (200, b"")


async def test_another_site_can_neither_upload_nor_submit(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served.http, headers={"Origin": "http://evil.example"}) as evil:
        assert (await evil.post("/files", files={"file": ("a", b"x")}, data={"purpose": "batch"})).status_code == 403
        assert (await evil.post("/batches", json={})).status_code == 403


async def test_a_server_without_a_queue_says_so_in_the_same_shape() -> None:
    async with serving(ScriptedEngine.of(RIGHT), ScriptedJudge()) as served, client(served) as ask:
        with pytest.raises(openai.BadRequestError) as caught:
            await ask.batches.retrieve("batch_x")
        assert caught.value.code == "no_queue"


async def test_a_queue_that_is_away_is_unavailable(own_server: RedisServer) -> None:
    async with connect(own_server.url, retries=0) as gone:
        own_server.kill()
        running = serving(ScriptedEngine.of(RIGHT), ScriptedJudge(), queue=JobQueue(gone))
        async with running as served, client(served) as ask:
            with pytest.raises(openai.InternalServerError) as caught:
                await ask.batches.retrieve("batch_x")
            assert caught.value.status_code == 503


async def test_callers_know_their_own_batches_files_and_jobs_only(redis: Redis, tmp_path: Path) -> None:
    path = tmp_path / "callers.toml"
    path.write_text("".join(f'[{name}]\ntoken = "{token}"\n' for name, token in TOKENS.items()))
    queue = JobQueue(redis)
    shared = serving(
        ScriptedEngine.of(RIGHT),
        ScriptedJudge(),
        queue=queue,
        security=ServerSecurity(callers=Callers(path)),
        warm=False,
    )
    async with shared as served, client(served, TOKENS["alice"]) as alice, client(served, TOKENS["bob"]) as bob:
        batch = await submitted(alice, line("a"), extra_headers={"Idempotency-Key": "monday"})
        for call in (bob.batches.retrieve, bob.batches.cancel):
            with pytest.raises(openai.NotFoundError):
                await call(batch.id)
        for read in (bob.files.retrieve, bob.files.content, bob.files.delete):
            with pytest.raises(openai.NotFoundError):
                await read(batch.input_file_id)
        assert [found.id async for found in bob.batches.list()] == []
        assert [found.id async for found in bob.files.list()] == []
        other = await submitted(bob, line("b"), extra_headers={"Idempotency-Key": "monday"})
        assert other.id != batch.id  # one key, two callers

        as_bob = {"metadata": (("authorization", f"Bearer {TOKENS['bob']}"),)}
        plain, job = batch.id.removeprefix("batch_"), f"{batch.id.removeprefix('batch_')}-0"
        calls = (
            served.stub.GetBatch(pb.GetBatchRequest(batch=plain), **as_bob),
            served.stub.CancelBatch(pb.CancelBatchRequest(batch=plain), **as_bob),
            served.stub.GetJob(pb.GetJobRequest(job_id=job), **as_bob),
            served.stub.CancelJob(pb.CancelJobRequest(job_id=job), **as_bob),
            served.stub.WatchJob(pb.WatchJobRequest(job_id=job), **as_bob).read(),
            served.stub.WatchBatch(pb.GetBatchRequest(batch=plain), **as_bob).read(),
            served.stub.GetBatchResults(pb.GetBatchRequest(batch=plain), **as_bob).read(),
        )
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        jobs = await served.stub.ListJobs(pb.ListJobsRequest(), **as_bob)
        listed = await served.stub.ListBatches(pb.ListBatchesRequest(), **as_bob)
        assert {found.id.rpartition("-")[0] for found in jobs.jobs} == {found.id for found in listed.batches}
        assert [f"batch_{found.id}" for found in listed.batches] == [other.id]
        assert len((await queue.batches())[0]) == 2  # who reads Redis knows all


async def test_a_caller_with_too_many_jobs_is_told_to_come_back(redis: Redis, tmp_path: Path) -> None:
    path = tmp_path / "callers.toml"
    path.write_text(f'[alice]\ntoken = "{TOKENS["alice"]}"\njobs = 2\n')
    security = ServerSecurity(callers=Callers(path))
    running = serving(ScriptedEngine.of(RIGHT), ScriptedJudge(), queue=JobQueue(redis), security=security, warm=False)
    async with running as served, client(served, TOKENS["alice"]) as alice:
        with pytest.raises(openai.RateLimitError) as caught:
            await submitted(alice, line("a"), line("b"), line("c"))
        assert int(caught.value.response.headers["retry-after"]) >= 1
        made = await submitted(alice, line("a"), line("b"), extra_body={"priority": 7})
        request = pb.SubmitJobRequest(problems=[common_pb2.Problem(text="What is 6 times 7?")], priority=-101)
        as_alice = {"metadata": (("authorization", f"Bearer {TOKENS['alice']}"),)}
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await served.stub.SubmitJob(request, **as_alice)
        assert field_of(refused.value).field == "priority"
        request.priority = 0
        with pytest.raises(grpc.aio.AioRpcError) as full:
            await served.stub.SubmitJob(request, **as_alice)
        assert full.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        listed = await served.stub.GetBatch(pb.GetBatchRequest(batch=made.id.removeprefix("batch_")), **as_alice)
        assert (listed.caller, listed.priority) == ("alice", 7)


async def test_a_caller_that_has_stored_too_much_is_told_which_limit_that_is(redis: Redis, tmp_path: Path) -> None:
    path = tmp_path / "callers.toml"
    path.write_text(f'[alice]\ntoken = "{TOKENS["alice"]}"\nstored_mib = 1\n[bob]\ntoken = "{TOKENS["bob"]}"\n')
    security, queue = ServerSecurity(callers=Callers(path)), JobQueue(redis)
    often = Listening("127.0.0.1:0", grace_seconds=5.0, health_seconds=0.05)
    engine, judge = ScriptedEngine.of(RIGHT), ScriptedJudge()
    running = serving(engine, judge, queue=queue, security=security, listening=often, warm=False)
    async with running as served, client(served, TOKENS["alice"]) as alice:
        large = file_of(*(line(f"{number}", user="x" * 100_000) for number in range(6)))
        file = await alice.files.create(file=("in.jsonl", large), purpose="batch")
        with pytest.raises(openai.RateLimitError, match=r"stored_mib: 0\.6 of 1 MiB are stored") as caught:
            await alice.files.create(file=("in.jsonl", large), purpose="batch")
        assert isinstance(caught.value.body, dict)
        assert (caught.value.body["type"], caught.value.body["code"]) == ("rate_limit_error", "rate_limit_exceeded")
        request = pb.SubmitJobRequest(problems=[common_pb2.Problem(text="x" * 90_000)] * 5)
        as_alice = {"metadata": (("authorization", f"Bearer {TOKENS['alice']}"),)}
        with pytest.raises(grpc.aio.AioRpcError, match="stored_mib: ") as full:
            await served.stub.SubmitJob(request, **as_alice)
        assert full.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await served.stub.SubmitJob(request, metadata=(("authorization", f"Bearer {TOKENS['bob']}"),))
        await alice.files.delete(file.id)
        await served.stub.SubmitJob(request, **as_alice)
        stored, registry = await queue.stored(), served.session.metrics.registry
        shown = partial(registry.get_sample_value, "espalier_caller_stored_bytes")
        await until(lambda: {name: shown({"caller": name}) for name in ("alice", "bob")} == stored)


async def test_a_batch_is_watched_over_grpc_until_it_has_ended(served: Served, server: RedisServer) -> None:
    problems = [common_pb2.Problem(id=name, text="What is 6 times 7?") for name in "ab"]
    made = await served.stub.SubmitJob(pb.SubmitJobRequest(problems=problems, key="monday"))
    assert {job.rpartition("-")[0] for job in made.job_ids} == {made.batch_id}
    seen = aiter(served.stub.WatchBatch(pb.GetBatchRequest(batch="monday")))
    first = await anext(seen)
    assert (first.queued, first.HasField("finished")) == (2, False)
    async with working(server, solving(ScriptedEngine.of(RIGHT))):
        rest = [status async for status in seen]
    assert (rest[-1].done, rest[-1].HasField("finished")) == (2, True)


async def test_the_command_line_asks_a_server_without_a_way_to_redis(
    served: Served, server: RedisServer, tmp_path: Path
) -> None:
    file, out = tmp_path / "problems.jsonl", tmp_path / "results.jsonl"
    file.write_text(json.dumps({"id": "a", "text": "What is 6 times 7?", "check": "reference:42"}) + "\n")

    async def espalier(*arguments: object) -> Any:
        nowhere = ["--redis", "redis://127.0.0.1:1/0", "--server", served.address]
        return await asyncio.to_thread(CliRunner().invoke, app, [*map(str, arguments), *nowhere])

    made = await espalier("submit", file, "--key", "monday", "--priority", 3)
    assert (made.exit_code, made.stdout) == (0, "monday\n")
    assert json.loads((await espalier("status", "monday", "--json")).stdout)["queued"] == 1
    (listed,) = (await espalier("list", "--json")).stdout.splitlines()
    assert json.loads(listed)["priority"] == 3
    async with working(server, solving(ScriptedEngine.of(RIGHT))):
        assert (await espalier("watch", "monday")).exit_code == 0
    assert (await espalier("results", "monday", "-o", out)).exit_code == 0
    told = json.loads(out.read_text())
    assert (told["id"], told["state"], told["result"]["answer"]) == ("a", "done", "42")
    assert (await espalier("cancel", "monday")).exit_code == 0
    for wrong, said in ((("status",), "without --server"), (("status", "none"), "no batch none")):
        done = await espalier(*wrong)
        assert (done.exit_code, said in " ".join(done.output.split())) == (2, True)
    other = await espalier("submit", file, "--key", "monday")
    assert other.exit_code == 2
    assert "key" in other.output
