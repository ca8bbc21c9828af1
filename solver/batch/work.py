"""What a worker does with a job: solve its problem. The worker knows only this port."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from espalier.runtime.engine import RequestRefused
from espalier.solver.events import Watch
from espalier.solver.journal import Entry, Journal
from espalier.solver.settings import House
from espalier.solver.solve import Solver
from espalier.solver.wire import decode_problem, decode_settings, encode_result
from espalier.v1 import solver_pb2 as pb
from espalier.verifiers.invalid import FieldError
from espalier.verifiers.math.recognise import recognise


class JobRefused(Exception):
    """The job can never be done as it is; the message says why."""


class Work(Protocol):
    """Does a job."""

    async def __call__(self, job: pb.Job, watch: Watch, journal: Journal, entries: Sequence[Entry]) -> pb.SolveResponse:
        """
        Args:
            job: What to do.
            watch: Is told of everything that happens.
            journal: Keeps finished work.
            entries: What earlier deliveries of the same job kept.

        Raises:
            JobRefused: The job can never be done.
            EngineUnavailable: The engine is gone: this worker cannot do any job.
        """
        ...


@dataclass(frozen=True, slots=True)
class Solving:
    """Solves with an engine and verifiers.

    Attributes:
        solver: The engine and the verifiers.
        house: Defaults and limits of this side.
    """

    solver: Solver
    house: House = House()

    async def __call__(self, job: pb.Job, watch: Watch, journal: Journal, entries: Sequence[Entry]) -> pb.SolveResponse:
        try:
            problem = decode_problem(job.problem)
            plan = self.house.plan(decode_settings(job.settings), "settings.")
            if problem.check is None:
                problem = replace(problem, check=recognise(problem.text))
            generation = self.solver.generation
            limits = replace(generation.limits, max_tokens=plan.candidate_tokens)
            solver = replace(self.solver, generation=replace(generation, limits=limits))
            result = await solver.solve(
                problem, plan.policy, plan.budget, seed=plan.seed, watch=watch, journal=journal, entries=entries
            )
        except (FieldError, RequestRefused) as error:
            raise JobRefused(str(error)) from error
        return encode_result(job.id, result)
