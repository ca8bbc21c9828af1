"""Many streams at once: readers that do not read cost the others nothing, and lose nothing themselves."""

from __future__ import annotations

import asyncio

import grpc.aio
import pytest

from espalier.solver.core.settings import ServerLimits
from espalier.v1 import solver_pb2 as pb
from espalier.v1 import solver_pb2_grpc
from tests.budget import FULL
from tests.solver.scripted import PASS, ScriptedEngine, ScriptedJudge, boxed
from tests.solver.service.serving import asking, serving, until

STREAMS, SLOW = (200, 64) if FULL else (60, 20)
LONG = "a long problem " * 40
LETTERS = 1200
"""Of a response to a long problem: more than gRPC keeps for a reader that does not read."""


@pytest.mark.slow
async def test_streams_end_although_a_third_of_the_readers_do_not_read() -> None:
    engine = ScriptedEngine(
        lambda request, _: ("w" * LETTERS if len(request.prompt) >= len(LONG) else "") + boxed("42")
    )
    judge = ScriptedJudge({"42": PASS})
    limits = ServerLimits(candidate_tokens=8192)
    async with serving(engine, judge, limits=limits, slots=STREAMS, places=0) as served:
        once = {"policy": "greedy", "deltas": True}
        async with grpc.aio.insecure_channel(served.address) as channel:
            stub = solver_pb2_grpc.SolverStub(channel)  # type: ignore[no-untyped-call]
            slow = [aiter(stub.Solve(asking(LONG, **once))) for _ in range(SLOW)]
            for stream in slow:
                assert (await anext(stream)).HasField("accepted")

            async def read() -> pb.SolveEvent:
                events = [event async for event in served.stub.Solve(asking(**once))]
                return events[-1]

            async with asyncio.timeout(120):
                ends = await asyncio.gather(*(read() for _ in range(STREAMS - SLOW)))
            assert all(end.solved.answer == "42" for end in ends)
            held = served.session.metrics.registry.get_sample_value("espalier_in_flight")
            assert held is not None
            assert held > SLOW / 2  # they wait to be read
            for stream in slow:
                rest = [event async for event in stream]
                assert sum(len(event.delta.token_ids) for event in rest) >= LETTERS
                assert rest[-1].solved.answer == "42"
        await until(lambda: served.session.admission is not None and served.session.admission.running == 0)
        assert served.ended("verified") == STREAMS
