"""Whatever a client sends: the server answers with a status, lives, and is left with nothing to do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import httpx2 as httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from espalier.solver.batch.connection import connect
from espalier.solver.batch.keys import batch_id
from espalier.solver.batch.queue import JobQueue
from espalier.solver.core import proto
from espalier.solver.core.settings import Settings
from espalier.v1 import common_pb2
from espalier.v1 import solver_pb2 as pb
from espalier.verifiers.local import LocalVerifiers, load
from tests.budget import examples
from tests.solver.batch.server import RedisServer
from tests.solver.service.serving import Served, asking, serving, until
from tests.solver.service.telling import Words, free_tokens, telling
from tests.verifiers.strategies import messages, texts

WORDS: list[Words] = [None, "so \\boxed{42}", "nothing", "", "\\boxed{x", "```python\nprint(1)\n```"]
"""What the model says; the first one never ends."""

EXPECTED = frozenset({grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE})
"""What a solve may end with; INTERNAL and UNKNOWN are a defect of the server."""

SERVICE = pb.DESCRIPTOR.services_by_name["Solver"]


@st.composite
def requests(draw: st.DrawFn) -> pb.SolveRequest:
    """Any request; often with a problem and settings that are almost right, so that solves begin."""
    request = draw(messages(pb.SolveRequest.DESCRIPTOR))
    if draw(st.booleans()):
        request.problem.text = draw(texts.filter(str.strip))
        request.ClearField("settings")
        request.settings.k = draw(st.integers(1, 4))
        request.settings.candidate_tokens = draw(st.integers(1, 64))
    if draw(st.booleans()):
        request.problem.ClearField("check")
    return request


@dataclass
class World:
    """A server in an event loop that only runs while an example does, so that hypothesis can shrink what fails."""

    loop: asyncio.AbstractEventLoop
    served: Served
    engine: Any
    before: set[asyncio.Task[Any]]
    words: Words = None

    def run(self, example: Coroutine[Any, Any, None]) -> None:
        """Run an example; afterwards nothing of it is left: no solve, no memory of the engine, no task."""

        async def checked() -> None:
            await example
            admission = self.served.session.admission
            await until(lambda: admission.running + admission.waiting == 0)
            await until(lambda: free_tokens(self.engine) == self.engine.info.details["kv_tokens"])
            await until(lambda: not any(map(_ours, asyncio.all_tasks() - self.before - {asyncio.current_task()})))

        self.loop.run_until_complete(checked())


def _ours(task: asyncio.Task[Any] | None) -> bool:
    """The tasks of a solve; those of gRPC and uvicorn live with their connections."""
    code = getattr(task.get_coro() if task else None, "cr_code", None)
    return code is not None and "/solver/" in code.co_filename and "/tests/" not in code.co_filename


@contextmanager
def a_world(url: str | None = None) -> Iterator[World]:
    """With a queue in the Redis of this address, if one is given."""
    loop = asyncio.new_event_loop()
    stack = AsyncExitStack()

    async def build() -> World:
        engine = await stack.enter_async_context(telling(lambda _: here.words))
        judge = await stack.enter_async_context(LocalVerifiers(load(["math"])))
        queue = JobQueue(await stack.enter_async_context(connect(url, retries=0))) if url else None
        served = await stack.enter_async_context(serving(engine, judge, queue=queue))
        return World(loop, served, engine, asyncio.all_tasks())

    here = loop.run_until_complete(build())
    yield here
    loop.run_until_complete(stack.aclose())
    loop.close()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with a_world() as here:
        yield here


@pytest.fixture(scope="module")
def queueing(server: RedisServer) -> Iterator[World]:
    with a_world(server.url) as here:
        yield here


MANY = settings(suppress_health_check=list(HealthCheck))


@MANY
@given(
    request=requests(),
    words=st.sampled_from(WORDS),
    leave=st.none() | st.floats(0.001, 0.3),
    method=st.sampled_from(["Solve", "SolveOnce"]),
)
def test_no_request_crashes_the_server_or_leaves_a_task_behind(
    world: World, request: pb.SolveRequest, words: Words, leave: float | None, method: str
) -> None:
    world.words = words

    async def example() -> None:
        call = getattr(world.served.stub, method)(request, timeout=5)
        try:
            async with asyncio.timeout(leave):
                if method == "SolveOnce":
                    await call
                else:
                    async for _ in call:
                        pass
        except TimeoutError:
            call.cancel()
        except grpc.aio.AioRpcError as error:
            assert error.code() in EXPECTED, error

    world.run(example())


@settings(max_examples=examples(0.2), suppress_health_check=list(HealthCheck))
@given(events=st.integers(1, 40), deltas=st.booleans())
def test_whenever_a_client_leaves_its_solve_is_cancelled(world: World, events: int, deltas: bool) -> None:
    world.words = None
    request = asking(k=4, policy="best_of_k", candidate_tokens=512, deltas=deltas)
    before = world.served.ended("cancelled")

    async def example() -> None:
        call = world.served.stub.Solve(request)
        for _ in range(events if deltas else min(events, 5)):
            await call.read()
        call.cancel()
        await until(lambda: world.served.ended("cancelled") == before + 1)

    world.run(example())


@MANY
@given(data=st.data(), method=st.sampled_from(["SubmitJob", "GetJob", "CancelJob", "ListJobs", "WatchJob"]))
def test_no_request_about_jobs_crashes_a_server_without_a_queue(world: World, data: st.DataObject, method: str) -> None:
    request = data.draw(messages(SERVICE.methods_by_name[method].input_type))

    async def example() -> None:
        call = getattr(world.served.stub, method)(request)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await (call.read() if method == "WatchJob" else call)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION

    world.run(example())


KNOWN = (f"{batch_id('known')}-0", f"{batch_id('known')}-1")
"""Ids of jobs that are there."""

EDGES = ("0", str((1 << 63) - 1), str((1 << 64) - 1), str(1 << 64), "9" * 200)
NUMBERS = st.lists(st.sampled_from(EDGES) | st.integers(0).map(str), min_size=1, max_size=2).map("-".join)
NEARLY = {"job_id": st.sampled_from(KNOWN), "from_event_id": NUMBERS, "page_token": NUMBERS}
"""Values of fields that may be right, so that the queue is asked."""


@st.composite
def job_requests(draw: st.DrawFn, method: str) -> Any:
    """Any request; often one that is right, or nearly."""
    request = draw(messages(SERVICE.methods_by_name[method].input_type))
    for field, values in NEARLY.items():
        if field in request.DESCRIPTOR.fields_by_name and draw(st.booleans()):
            setattr(request, field, draw(values))
    if method == "SubmitJob" and draw(st.booleans()):
        request.key = ""
        request.ClearField("settings")
        del request.problems[:]
        request.problems.add(text=draw(texts.filter(str.strip)), id=draw(texts))
    return request


ANSWERED = frozenset({grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND})
"""What a call about jobs may end with, beside OK."""


@pytest.mark.parametrize("method", ["SubmitJob", "GetJob", "CancelJob", "ListJobs", "WatchJob"])
@MANY
@given(data=st.data())
def test_no_request_about_jobs_crashes_a_server_with_a_queue_or_leaves_a_task_behind(
    queueing: World, data: st.DataObject, method: str
) -> None:
    request = data.draw(job_requests(method))

    async def example() -> None:
        known = [common_pb2.Problem(text="x"), common_pb2.Problem(text="y")]
        await queueing.served.stub.SubmitJob(pb.SubmitJobRequest(problems=known, key="known"))
        call = getattr(queueing.served.stub, method)(request)
        try:
            if method == "WatchJob":
                await call.read()
                call.cancel()
            else:
                await call
        except grpc.aio.AioRpcError as error:
            assert error.code() in ANSWERED, error

    queueing.run(example())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
FIELDS = (
    "k",
    "policy",
    "check",
    "tokens",
    "seconds",
    "rounds",
    "rejoins",
    "ways",
    "generated_tests",
    "comparisons",
    "certainty",
    "seed",
    "temperature",
    "max_tokens",
    "n",
    "stream_options",
)


@st.composite
def bodies(draw: st.DrawFn) -> Any:
    """Any JSON; often a request with one field of any kind."""
    if draw(st.booleans()):
        return draw(json_values)
    body: dict[str, Any] = {
        "model": "espalier",
        "messages": [{"role": "user", "content": draw(st.text(max_size=20) | json_values)}],
        "max_completion_tokens": 16,
        "k": 1,
        "stream": draw(st.booleans()),
    }
    for field in draw(st.lists(st.sampled_from((*FIELDS, "messages", "model")), max_size=2)):
        body[field] = draw(json_values)
    return body


@MANY
@given(body=bodies(), words=st.sampled_from(WORDS[1:]))
def test_no_body_crashes_the_http_server_or_leaves_a_task_behind(world: World, body: Any, words: Words) -> None:
    world.words = words

    async def example() -> None:
        async with httpx.AsyncClient(base_url=world.served.http, timeout=60) as client:
            content = json.dumps(body).encode("utf-8", "replace")
            headers = {"Content-Type": "application/json"}
            reply = await client.post("/chat/completions", content=content, headers=headers)
            assert reply.status_code in (200, 400, 404), reply.text

    world.run(example())


@given(messages(pb.Settings.DESCRIPTOR))
def test_settings_travel_unchanged(message: Any) -> None:
    decoded = proto.decode_settings(message)
    assert proto.encode_settings(decoded) == message or message != message  # NaN is not itself


@given(st.builds(Settings, k=st.none() | st.integers(0, 2**32 - 1), seed=st.none() | st.integers(0, 2**64 - 1)))
def test_absent_settings_stay_absent(chosen: Settings) -> None:
    assert proto.decode_settings(proto.encode_settings(chosen)) == chosen
