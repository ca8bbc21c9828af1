"""The calls about jobs over a real Redis, with a worker where something has to be done."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from espalier.common.grpc_errors import field_of
from espalier.solver.batch.connection import connect
from espalier.solver.batch.queue import JobQueue
from espalier.v1 import common_pb2
from espalier.v1 import solver_pb2 as pb
from tests.solver.batch.server import RedisServer
from tests.solver.batch.working import NoWork, problems, working
from tests.solver.scripted import ScriptedJudge
from tests.solver.service.serving import Served, serving
from tests.solver.service.telling import telling

if TYPE_CHECKING:
    from redis.asyncio import Redis


@pytest.fixture
async def served(redis: Redis) -> AsyncIterator[Served]:
    async with telling("") as engine, serving(engine, ScriptedJudge(), queue=JobQueue(redis)) as running:
        yield running


async def test_jobs_are_submitted_once_by_key_and_answered_by_a_worker(
    served: Served,
    server: RedisServer,
) -> None:
    request = pb.SubmitJobRequest(problems=problems(3), key="k-1")
    submitted = await served.stub.SubmitJob(request)
    again = await served.stub.SubmitJob(request)
    assert (list(again.job_ids), again.repeated_key) == (list(submitted.job_ids), True)
    async with working(server, NoWork()):
        watched = [event async for event in served.stub.WatchJob(pb.WatchJobRequest(job_id=submitted.job_ids[0]))]
    assert watched[-1].status.state == pb.JOB_STATE_DONE
    got = await served.stub.GetJob(pb.GetJobRequest(job_id=submitted.job_ids[0]))
    assert got.result.answer == "What is 0 + 1?"


async def test_watching_goes_on_from_an_event(served: Served, server: RedisServer) -> None:
    job = (await served.stub.SubmitJob(pb.SubmitJobRequest(problems=problems(1)))).job_ids[0]
    async with working(server, NoWork()):
        first = [event async for event in served.stub.WatchJob(pb.WatchJobRequest(job_id=job))]
    resumed = pb.WatchJobRequest(job_id=job, from_event_id=first[0].event_id)
    assert [event.event_id async for event in served.stub.WatchJob(resumed)] == [e.event_id for e in first[1:]]


async def test_jobs_are_listed_and_cancelled(served: Served) -> None:
    jobs = (await served.stub.SubmitJob(pb.SubmitJobRequest(problems=problems(3)))).job_ids
    cancelled = await served.stub.CancelJob(pb.CancelJobRequest(job_id=jobs[1]))
    assert cancelled.status.state == pb.JOB_STATE_CANCELLED
    queued = await served.stub.ListJobs(pb.ListJobsRequest(states=[pb.JOB_STATE_QUEUED], page_size=1))
    rest = await served.stub.ListJobs(
        pb.ListJobsRequest(states=[pb.JOB_STATE_QUEUED], page_token=queued.next_page_token)
    )
    assert [job.id for job in (*queued.jobs, *rest.jobs)] == [jobs[2], jobs[0]]


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("SubmitJob", pb.SubmitJobRequest(), "problems"),
        ("SubmitJob", pb.SubmitJobRequest(problems=[*problems(1), common_pb2.Problem()]), "problems[1].text"),
        ("SubmitJob", pb.SubmitJobRequest(problems=problems(1), settings=pb.Settings(k=0)), "settings.k"),
        ("SubmitJob", pb.SubmitJobRequest(problems=problems(1), key="x" * 257), "key"),
        ("SubmitJob", pb.SubmitJobRequest(problems=[common_pb2.Problem(text="x", id="i" * 257)]), "problems[0].id"),
        ("SubmitJob", pb.SubmitJobRequest(problems=[common_pb2.Problem(text="x" * 100_001)]), "problems[0].text"),
        ("GetJob", pb.GetJobRequest(), "job_id"),
        ("CancelJob", pb.CancelJobRequest(job_id="x" * 257), "job_id"),
        ("WatchJob", pb.WatchJobRequest(job_id="x", from_event_id="yesterday"), "from_event_id"),
        ("WatchJob", pb.WatchJobRequest(job_id="x", from_event_id="٣-٣"), "from_event_id"),
        ("WatchJob", pb.WatchJobRequest(job_id="x", from_event_id="18446744073709551616-0"), "from_event_id"),
        ("ListJobs", pb.ListJobsRequest(page_size=0), "page_size"),
        ("ListJobs", pb.ListJobsRequest(page_size=1001), "page_size"),
        ("ListJobs", pb.ListJobsRequest(page_token="x"), "page_token"),  # noqa: S106
        ("ListJobs", pb.ListJobsRequest(states=[99]), "states[0]"),  # type: ignore[list-item]
    ],
)
async def test_a_bad_request_names_its_field(served: Served, method: str, request_: Any, field: str) -> None:
    call = getattr(served.stub, method)(request_)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (call.read() if method == "WatchJob" else call)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field_of(caught.value).field == field


async def test_a_key_for_other_problems_is_a_bad_request(served: Served) -> None:
    await served.stub.SubmitJob(pb.SubmitJobRequest(problems=problems(1), key="k-1"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.stub.SubmitJob(pb.SubmitJobRequest(problems=problems(2), key="k-1"))
    assert field_of(caught.value).field == "key"


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("GetJob", pb.GetJobRequest(job_id="absent-1")),
        ("CancelJob", pb.CancelJobRequest(job_id="absent-1")),
        ("WatchJob", pb.WatchJobRequest(job_id="absent-1")),
    ],
)
async def test_a_job_that_nobody_knows_is_not_found(served: Served, method: str, request_: Any) -> None:
    call = getattr(served.stub, method)(request_)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (call.read() if method == "WatchJob" else call)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_queue_that_is_away_is_unavailable_and_solving_goes_on(own_server: RedisServer) -> None:
    async with connect(own_server.url, retries=0) as gone:
        own_server.kill()
        async with (
            telling("so \\boxed{42}") as engine,
            serving(engine, ScriptedJudge(), queue=JobQueue(gone)) as served,
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await served.stub.GetJob(pb.GetJobRequest(job_id="x"))
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            request = pb.SolveRequest(problem=common_pb2.Problem(text="What is 6 times 7?"))
            assert (await served.stub.SolveOnce(request)).answer == "42"
