"""Checks of patches travel as any other: through the queue to a worker, which has the repository in its store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from espalier.solver.batch.handler import SolveJobHandler
from espalier.solver.batch.queue import JobQueue
from espalier.solver.core.loop import Solver
from espalier.solver.core.settings import ServerLimits
from espalier.solver.session.metrics import SolverMetrics
from espalier.solver.session.session import SolveSession
from espalier.v1 import common_pb2
from espalier.v1 import solver_pb2 as pb
from espalier.verifiers.local import LocalVerifiers
from espalier.verifiers.proto import encode_check
from tests.solver.batch.server import RedisServer
from tests.solver.batch.working import ended, working
from tests.solver.scripted import ScriptedEngine
from tests.verifiers.patch.shops import FIX, check_in, verifier_of, with_hidden

if TYPE_CHECKING:
    from redis.asyncio import Redis


@pytest.mark.bwrap
async def test_a_patch_is_found_by_a_worker(redis: Redis, server: RedisServer, tmp_path: Path) -> None:
    check = with_hidden(check_in(tmp_path / "repositories"))
    problem = common_pb2.Problem(id="cart", text="Mend the cart.", check=encode_check(check))
    (job,) = (await JobQueue(redis).submit([problem], pb.Settings(policy="best_of_k", k=2, seed=1))).job_ids
    wrong, right = (f"```diff\n{patch}```\n" for patch in (FIX.replace("had + quantity", "had + 1"), FIX))
    async with verifier_of("bwrap", tmp_path) as verifier:
        solver = Solver(ScriptedEngine.of(wrong, right), LocalVerifiers([verifier]))
        handler = SolveJobHandler(SolveSession(solver, ServerLimits(candidate_tokens=1 << 16), SolverMetrics()))
        async with working(server, handler):
            done = await ended(redis, job, seconds=120)
    assert (done.result.outcome, done.result.answer) == (pb.SolveResponse.OUTCOME_VERIFIED, FIX)
