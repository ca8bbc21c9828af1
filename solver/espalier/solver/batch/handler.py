"""What a worker does with a job: solve its problem. The worker knows only this port."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from espalier.common.errors import FieldError
from espalier.runtime.engine import EngineUnavailable, RequestRefused
from espalier.solver.core.events import Observer
from espalier.solver.core.loop import Solver
from espalier.solver.core.proto import decode_problem, decode_settings, encode_result
from espalier.solver.core.record import Entry, Journal
from espalier.solver.core.settings import ServerLimits
from espalier.solver.service.admission import Admission
from espalier.solver.session.metrics import Metrics
from espalier.solver.session.session import SolveRequest, SolveSession, Unavailable
from espalier.v1 import solver_pb2 as pb


class JobRefused(Exception):
    """The job can never be done as it is; the message says why."""


class JobHandler(Protocol):
    """Does a job."""

    async def __call__(
        self, job: pb.Job, watch: Observer, journal: Journal, entries: Sequence[Entry]
    ) -> pb.SolveResponse:
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
class SolveJobHandler:
    """Solves at the desk where live requests are solved, too."""

    desk: SolveSession

    async def __call__(
        self, job: pb.Job, watch: Observer, journal: Journal, entries: Sequence[Entry]
    ) -> pb.SolveResponse:
        try:
            plan = self.desk.house.plan(decode_settings(job.settings), "settings.")
            order = SolveRequest(decode_problem(job.problem), plan, id=job.id)
            result = await self.desk.solve(order, watch, journal, entries)
        except (FieldError, RequestRefused) as error:
            raise JobRefused(str(error)) from error
        except Unavailable as error:
            if isinstance(error.__cause__, EngineUnavailable):
                raise error.__cause__ from None
            raise
        return encode_result(job.id, result)


def solving(
    solver: Solver, house: ServerLimits, slots: int, metrics: Metrics, traces: Path | None = None
) -> SolveJobHandler:
    """JobHandler for so many slots, with a desk of its own.

    Args:
        solver: The engine and the verifiers.
        house: Defaults and limits of this side.
        slots: Jobs at a time.
        metrics: Counts.
        traces: Directory for a trace of each job's last delivery; None: no traces.
    """
    return SolveJobHandler(SolveSession(solver, house, metrics, Admission(slots, slots), traces))
