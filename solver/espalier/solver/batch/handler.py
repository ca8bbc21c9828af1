"""What a worker does with a job: solve its problem. The worker knows only the protocol :class:`JobHandler`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from espalier.common.callers import Caller
from espalier.common.errors import FieldError
from espalier.runtime.engine import EngineUnavailable, RequestRefused
from espalier.solver.core.events import Observer
from espalier.solver.core.journal import Entry, Journal
from espalier.solver.core.proto import decode_problem, decode_settings, encode_result
from espalier.solver.session.session import SolveRequest, SolveSession, SolveUnavailableError
from espalier.v1 import solver_pb2 as pb


class JobRefusedError(Exception):
    """The job can never be done as it is; the message says why."""


class JobHandler(Protocol):
    """Does a job."""

    async def __call__(
        self, job: pb.Job, observer: Observer, journal: Journal, entries: Sequence[Entry]
    ) -> pb.SolveResponse:
        """
        Args:
            job: What to do.
            observer: Is called with every event.
            journal: Keeps finished work.
            entries: What earlier deliveries of the same job kept.

        Raises:
            JobRefusedError: The job can never be done.
            EngineUnavailable: The engine is gone: this worker cannot do any job.
        """
        ...


@dataclass(frozen=True, slots=True)
class SolveJobHandler:
    """Solves jobs in a session, as live requests are solved."""

    session: SolveSession

    async def __call__(
        self, job: pb.Job, observer: Observer, journal: Journal, entries: Sequence[Entry]
    ) -> pb.SolveResponse:
        try:
            plan = self.session.limits.plan(decode_settings(job.settings), "settings.")
            problem, caller = decode_problem(job.problem), Caller(job.caller)
            request = SolveRequest(problem, plan, caller=caller, traceparent=job.traceparent, id=job.id)
            result = await self.session.solve(request, observer, journal, entries)
        except (FieldError, RequestRefused) as error:
            raise JobRefusedError(str(error)) from error
        except SolveUnavailableError as error:
            if isinstance(error.__cause__, EngineUnavailable):
                raise error.__cause__ from None
            raise
        return encode_result(job.id, result)
