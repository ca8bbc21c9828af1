"""One solve with its limits, metrics and trace: what batch, gRPC, HTTP and the pages solve with."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from espalier.common.callers import ANYONE, Caller
from espalier.common.errors import FieldError, UnansweredError, UnavailableError, first_cause
from espalier.runtime.engine import EngineError, RequestRefused, Tokens
from espalier.solver.core.events import Observer, Solved, SolveEvent, Streamed, fan_out, new_solve_id
from espalier.solver.core.journal import Entry, Journal, NoJournal
from espalier.solver.core.loop import Solver
from espalier.solver.core.policy import Budget
from espalier.solver.core.problem import Problem, recognised
from espalier.solver.core.result import Result
from espalier.solver.core.settings import ServerLimits, SolvePlan
from espalier.solver.core.validation import validate_each
from espalier.solver.session.admission import Admission
from espalier.solver.session.engine_load import EngineLoad
from espalier.solver.session.idempotency import IdempotentCalls
from espalier.solver.session.metrics import SolverMetrics, Tally, ending
from espalier.solver.session.spans import spans
from espalier.solver.session.verifiers import MeasuredVerifiers
from espalier.solver.trace.writer import TraceWriter
from espalier.verifiers.check import Check

MAX_PENDING = 65_536
"""Events that may wait for a slow reader."""

MIN_SECONDS = 0.001
"""What is left of a deadline that has come: the solve still ends in the ordinary way."""

VALIDATION_SECONDS = 10.0
"""Longest time of the validation of a check; one that takes longer is let through."""

MAX_VALID = 1024
"""Checks that are remembered as valid, the newest ones."""

log = structlog.get_logger()


class SolveUnavailableError(UnavailableError):
    """The engine or the verifiers do not work, and that is why there is no answer."""


class SlowReaderError(Exception):
    """The reader of the events cannot keep up."""


@dataclass(frozen=True, slots=True)
class SolveRequest:
    """One solve that is asked for.

    Attributes:
        problem: What to solve.
        plan: How to solve it.
        deadline: When the result must be there, in the time of the event loop; None: there is no deadline.
        caller: Who asks.
        traceparent: The caller's span, as W3C Trace Context writes it; empty: none.
        admitted: It belongs to a call that has been admitted: it waits for a slot, however many wait before it.
        id: Names the solve in events, logs, traces and the engine's requests.
    """

    problem: Problem
    plan: SolvePlan
    deadline: float | None = None
    caller: Caller = ANYONE
    traceparent: str = ""
    admitted: bool = False
    id: str = field(default_factory=new_solve_id)

    def budget(self, now: float) -> Budget:
        """The plan's budget, cut to end by the deadline."""
        budget = self.plan.budget
        if self.deadline is None:
            return budget
        left = max(self.deadline - now, MIN_SECONDS)
        return replace(budget, seconds=left if budget.seconds is None else min(left, budget.seconds))


class SolveSession:
    """Solves requests, each with its admission, metrics, log, spans and trace.

    Args:
        solver: Engine and verifiers.
        limits: Defaults and limits for requests.
        metrics: Counts solves, tokens and verdicts.
        admission: Bounds the solves that run and wait; None where the caller bounds them itself, as a worker does.
        traces: Directory for a trace of each solve; None: no traces.
        show: Makes an observer of each solve for the live pages; None: there are no pages.
    """

    def __init__(
        self,
        solver: Solver,
        limits: ServerLimits,
        metrics: SolverMetrics,
        admission: Admission | None = None,
        traces: Path | None = None,
        show: Callable[[SolveRequest], AbstractContextManager[Observer]] | None = None,
    ) -> None:
        self.limits = limits
        self.metrics = metrics
        self.admission = admission
        self.health_check_requested = asyncio.Event()
        """Set when engine or verifiers failed, so that the server checks its health at once."""
        self.solver = replace(solver, verifiers=MeasuredVerifiers(solver.verifiers, metrics)).within(
            limits.candidate_tokens
        )
        self.calls = IdempotentCalls()
        """Live calls with a key."""
        self._valid: dict[Check, None] = {}
        self._traces = traces
        self._show = show or (lambda _: nullcontext(fan_out()))
        self._running = 0
        metrics.show_load(lambda: self._running, lambda: admission.waiting if admission else 0)
        metrics.registry.register(EngineLoad(lambda: solver.engine.info.details))

    async def solve(
        self,
        request: SolveRequest,
        observer: Observer = fan_out(),
        journal: Journal = NoJournal(),
        entries: Sequence[Entry] = (),
    ) -> Result:
        """Solve, and account for it. Cancelling it aborts the work in the engine.

        Args:
            request: What to solve.
            observer: Is called with every event.
            journal: Keeps finished work.
            entries: What an earlier run of the same request kept.

        Raises:
            AdmissionFullError: Every slot and every place in line is taken.
            DrainingError: The server drains.
            RequestRefused: The problem can never be put to the engine.
            FieldError: No verifier can work with the check.
            SolveUnavailableError: The engine or the verifiers do not work.
        """
        named = {"caller": request.caller.name} if request.caller.name else {}
        with structlog.contextvars.bound_contextvars(solve_id=request.id, **named):
            arrived = time.perf_counter()
            async with self.admission.enter(request.caller, request.admitted) if self.admission else nullcontext():
                if self.admission:
                    self.metrics.waited("live", time.perf_counter() - arrived)
                self._running += 1
                try:
                    return await self._solve(request, observer, journal, entries)
                finally:
                    self._running -= 1

    async def solve_all(self, requests: Sequence[SolveRequest]) -> list[Result]:
        """Solve several requests of one call, side by side; the first failure ends all of them.

        Raises:
            Exception: As `solve`.
        """
        if len(requests) == 1:
            return [await self.solve(requests[0])]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self.solve(request)) for request in requests]
        except BaseExceptionGroup as failed:
            raise first_cause(failed) from failed
        return [task.result() for task in tasks]

    async def validate(self, problem: Problem) -> None:
        """Refuse a check that no answer could ever pass, before anything is generated.

        What the verifiers cannot tell in time is let through: the solve finds out.

        Raises:
            FieldError: No verifier takes such checks, or the one that does cannot work with it.
        """
        check = problem.check
        if check is None or check in self._valid:
            return
        try:
            await self.solver.verifiers.validate_check(check, timeout=VALIDATION_SECONDS)
        except UnansweredError as error:
            log.warning("check not validated", reason=str(error))
            return
        self._valid[check] = None
        while len(self._valid) > MAX_VALID:
            del self._valid[next(iter(self._valid))]

    async def validate_all(
        self, problems: Sequence[Problem], name: Callable[[int], str] = lambda number: f"problems[{number}]."
    ) -> None:
        """:meth:`validate` each problem, equal checks once and several at a time.

        Args:
            problems: All of them.
            name: What stands before the field of a problem, by its number from 0.

        Raises:
            FieldError: Names the first problem that is refused: `problems[3].check…`.
        """
        await validate_each(problems, self.validate, name)

    async def events(self, request: SolveRequest, *, tokens: bool) -> AsyncGenerator[tuple[float, SolveEvent]]:
        """Solve, and yield what happens, each event with its second; the last event is :class:`Solved`.

        Use with `aclosing`: closing the iterator early ends the solve.

        Args:
            request: What to solve.
            tokens: Whether tokens are events.

        Raises:
            SlowReaderError: Too many events wait to be read.
            Exception: As `solve`.
        """
        clock = asyncio.get_running_loop().time
        pending: asyncio.Queue[tuple[float, SolveEvent] | None] = asyncio.Queue()
        start = clock()
        behind = False

        def observe(event: SolveEvent) -> None:
            nonlocal behind
            if isinstance(event, Solved) or (not tokens and _is_tokens(event)):
                return
            if pending.qsize() >= MAX_PENDING:
                behind = True
                solving.cancel()
                return
            pending.put_nowait((clock() - start, event))

        solving = asyncio.create_task(self.solve(request, observe))
        solving.add_done_callback(lambda _: pending.put_nowait(None))
        try:
            while (entry := await pending.get()) is not None:
                yield entry
            if behind:
                raise SlowReaderError(f"{MAX_PENDING} events wait to be read; read faster, or ask for no tokens")
            yield clock() - start, Solved(solving.result())
        finally:
            if solving.cancel():
                await asyncio.wait([solving])
            if not solving.cancelled():
                solving.exception()  # a reader that closes early does not want to know

    async def _solve(
        self, request: SolveRequest, observer: Observer, journal: Journal, entries: Sequence[Entry]
    ) -> Result:
        plan = request.plan
        problem = recognised(request.problem)
        solver = self.solver.within(plan.candidate_tokens, plan.stop)
        tally = Tally()
        loop = asyncio.get_running_loop()
        log.debug("solving", **_described(plan))
        with (
            self._ending(request, tally),
            spans(request.id, request.traceparent) as span,
            self._trace(request) as trace,
            self._show(request) as show,
        ):
            if not entries:  # an earlier run has tried it
                await self.validate(request.problem)
            result = await solver.solve(
                problem,
                plan.policy,
                request.budget(loop.time()),
                seed=plan.seed,
                observer=fan_out(tally.observe, span, trace, show, observer),
                journal=journal,
                entries=entries,
                solve_id=request.id,
                verification=plan.verification,
            )
            if result.trouble:
                self.health_check_requested.set()
                raise SolveUnavailableError(result.trouble)
        loop.call_soon(self._note_end, request, result)  # in the loop's next turn: the reply is sent first
        return result

    def _note_end(self, request: SolveRequest, result: Result) -> None:
        tokens = result.spent.total.new_tokens
        self.metrics.solved(request.plan.policy.name, result)
        self._charge(request.caller, tokens)
        log.info(
            "solved",
            **_described(request.plan),
            end=ending(result.selection),
            decided_by=result.selection.decided_by.value,
            stopped=result.stopped.value,
            candidates=len(result.judged),
            tokens=tokens,
            seconds=round(result.spent.seconds, 4),
        )

    def _charge(self, caller: Caller, tokens: int) -> None:
        if caller.name:
            self.metrics.charged(caller.name, tokens)
        if self.admission is not None:
            self.admission.charge(caller, tokens)

    @contextmanager
    def _ending(self, request: SolveRequest, tally: Tally) -> Iterator[None]:
        """Account for a solve that comes to no result."""
        policy = request.plan.policy.name
        try:
            yield
        except asyncio.CancelledError:
            self._charge(request.caller, tally.usage.new_tokens)
            self.metrics.broken_off(policy, "cancelled", tally)
            log.info("cancelled", **_described(request.plan), candidates=tally.started, tokens=tally.usage.new_tokens)
            raise
        except (FieldError, RequestRefused) as error:  # the client's mistake, not a failure of ours
            self.metrics.broken_off(policy, "refused", tally)
            log.info("refused", error=str(error))
            raise
        except Exception as error:
            self._charge(request.caller, tally.usage.new_tokens)
            self.metrics.broken_off(policy, "failed", tally)
            log.warning("failed", **_described(request.plan), error=f"{type(error).__name__}: {error}")
            if isinstance(error, EngineError):
                self.health_check_requested.set()
                raise SolveUnavailableError(f"the engine failed: {error}") from error
            raise
        finally:
            if tally.first_token is not None:
                self.metrics.first_token(tally.first_token)

    @contextmanager
    def _trace(self, request: SolveRequest) -> Iterator[Observer]:
        """Writes the trace; a trace that cannot be written does not keep a problem from being solved."""
        if self._traces is None:
            yield fan_out()
            return
        path = self._traces / f"{request.id}.jsonl"
        try:
            trace = TraceWriter(path)
        except OSError as error:
            log.warning("no trace", path=str(path), reason=str(error))
            yield fan_out()
            return
        with trace:
            yield trace.observer(request.id)
        if trace.fault:
            log.warning("the trace is not complete", path=str(path), reason=trace.fault)


def _described(plan: SolvePlan) -> dict[str, object]:
    """What the log says of how a problem is solved."""
    return {"policy": plan.policy.name, "k": plan.budget.candidates, "seed": plan.seed}


def _is_tokens(event: SolveEvent) -> bool:
    return isinstance(event, Streamed) and isinstance(event.event, Tokens)
