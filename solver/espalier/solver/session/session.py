"""Where every front door brings its problems: one solve each, with all that watches over it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from espalier.runtime.engine import EngineError, RequestRefused, Tokens
from espalier.solver.core.events import Observer, Solved, SolveEvent, Streamed, fan_out
from espalier.solver.core.loop import Solver
from espalier.solver.core.policy import Budget
from espalier.solver.core.problem import Problem, recognised
from espalier.solver.core.record import Entry, Journal, NoJournal
from espalier.solver.core.result import Result
from espalier.solver.core.settings import Plan, ServerLimits
from espalier.solver.service.admission import Admission
from espalier.solver.service.measured import MeasuredJudge
from espalier.solver.session.metrics import Metrics, Tally, ending
from espalier.solver.session.spans import spans
from espalier.solver.trace.writer import Trace

MAX_PENDING = 65_536
"""Events that may wait for a slow reader."""

MIN_SECONDS = 0.001
"""What is left of a deadline that has come: the solve still ends in the ordinary way."""

log = structlog.get_logger()


class Unavailable(Exception):
    """The engine or the verifiers do not work, and that is why there is no answer."""


class SlowReader(Exception):
    """Whoever reads the events cannot keep up."""


@dataclass(frozen=True, slots=True)
class SolveRequest:
    """One solve that is asked for.

    Attributes:
        problem: What to solve.
        plan: How.
        deadline: When the result must be there, in the time of the event loop; None: whenever it is.
        id: Of the solve.
    """

    problem: Problem
    plan: Plan
    deadline: float | None = None
    id: str = field(default_factory=lambda: os.urandom(8).hex())

    def budget(self, now: float) -> Budget:
        """The plan's budget, cut to end by the deadline."""
        budget = self.plan.budget
        if self.deadline is None:
            return budget
        left = max(self.deadline - now, MIN_SECONDS)
        return replace(budget, seconds=left if budget.seconds is None else min(left, budget.seconds))


class SolveSession:
    """Takes orders, as many at a time as admission lets in.

    Args:
        solver: Solves.
        house: Defaults and limits for orders.
        metrics: Counts.
        admission: Who is let in.
        traces: Directory for a trace of each solve; None: no traces.
        show: Makes a watcher for each solve, for people who look on; None: nobody does.
    """

    def __init__(
        self,
        solver: Solver,
        house: ServerLimits,
        metrics: Metrics,
        admission: Admission,
        traces: Path | None = None,
        show: Callable[[SolveRequest], AbstractContextManager[Observer]] | None = None,
    ) -> None:
        self.house = house
        self.metrics = metrics
        self.admission = admission
        self.health_check_requested = asyncio.Event()
        """Set when engine or verifiers failed: whoever watches over health should look."""
        self.solver = replace(solver, judge=MeasuredJudge(solver.judge, metrics)).within(house.candidate_tokens)
        self._traces = traces
        self._show = show or (lambda _: nullcontext(fan_out()))
        metrics.show_load(lambda: admission.running, lambda: admission.waiting)

    async def solve(
        self,
        order: SolveRequest,
        watch: Observer = fan_out(),
        journal: Journal = NoJournal(),
        entries: Sequence[Entry] = (),
    ) -> Result:
        """Solve, and account for it. Cancelling it aborts the work in the engine.

        Args:
            order: What to solve.
            watch: Is told of everything that happens.
            journal: Keeps finished work.
            entries: What an earlier run of the same order kept.

        Raises:
            Full: There is no place in line.
            Closed: The server drains.
            RequestRefused: The problem can never be put to the engine.
            FieldError: No verifier can work with the check.
            Unavailable: The engine or the verifiers do not work.
        """
        with structlog.contextvars.bound_contextvars(solve_id=order.id):
            async with self.admission.enter():
                return await self._solve(order, watch, journal, entries)

    async def events(self, order: SolveRequest, *, tokens: bool) -> AsyncGenerator[tuple[float, SolveEvent]]:
        """Solve, and yield what happens, each with its second; the last event is :class:`Solved`.

        Use with `aclosing`: closing the iterator early ends the solve.

        Args:
            order: What to solve.
            tokens: Whether tokens are events.

        Raises:
            SlowReader: Too many events wait to be read.
            Exception: As `solve`.
        """
        clock = asyncio.get_running_loop().time
        pending: asyncio.Queue[tuple[float, SolveEvent] | None] = asyncio.Queue()
        start = clock()
        behind = False

        def watch(event: SolveEvent) -> None:
            nonlocal behind
            if isinstance(event, Solved) or (not tokens and _is_tokens(event)):
                return
            if pending.qsize() >= MAX_PENDING:
                behind = True
                solving.cancel()
                return
            pending.put_nowait((clock() - start, event))

        solving = asyncio.create_task(self.solve(order, watch))
        solving.add_done_callback(lambda _: pending.put_nowait(None))
        try:
            while (entry := await pending.get()) is not None:
                yield entry
            if behind:
                raise SlowReader(f"{MAX_PENDING} events wait to be read; read faster, or ask for no tokens")
            result = await solving
            yield clock() - start, Solved(result)
        finally:
            solving.cancel()
            await asyncio.wait([solving])
            if not solving.cancelled():
                solving.exception()  # whoever closes early does not want to know

    async def _solve(self, order: SolveRequest, watch: Observer, journal: Journal, entries: Sequence[Entry]) -> Result:
        plan = order.plan
        problem = recognised(order.problem)
        solver = self.solver.within(plan.candidate_tokens)
        tally = Tally()
        loop = asyncio.get_running_loop()
        # Nobody waits for what is only written down: the engine is asked first, and the reply sent.
        loop.call_later(0, self._note_begin, plan)
        with (
            self._ending(plan.policy.name, tally),
            spans(order.id) as span,
            self._trace(order) as trace,
            self._show(order) as show,
        ):
            result = await solver.solve(
                problem,
                plan.policy,
                order.budget(loop.time()),
                seed=plan.seed,
                watch=fan_out(tally.watch, span, trace, show, watch),
                journal=journal,
                entries=entries,
                solve_id=order.id,
            )
            if result.trouble:
                self.health_check_requested.set()
                raise Unavailable(result.trouble)
        loop.call_soon(self._note_end, plan, result)
        return result

    def _note_begin(self, plan: Plan) -> None:
        log.info("solving", policy=plan.policy.name, k=plan.budget.candidates, seed=plan.seed)

    def _note_end(self, plan: Plan, result: Result) -> None:
        self.metrics.solved(plan.policy.name, result)
        log.info(
            "solved",
            end=ending(result.selection),
            decided_by=result.selection.decided_by.value,
            stopped=result.stopped.value,
            candidates=len(result.judged),
            tokens=result.spent.total.new_tokens,
            seconds=round(result.spent.seconds, 4),
        )

    @contextmanager
    def _ending(self, policy: str, tally: Tally) -> Iterator[None]:
        """Account for a solve that comes to no result."""
        try:
            yield
        except asyncio.CancelledError:
            self.metrics.broken_off(policy, "cancelled", tally)
            log.info("cancelled", candidates=tally.started, tokens=tally.usage.new_tokens)
            raise
        except Exception as error:
            self.metrics.broken_off(policy, "failed", tally)
            log.warning("failed", error=f"{type(error).__name__}: {error}")
            if isinstance(error, EngineError) and not isinstance(error, RequestRefused):
                self.health_check_requested.set()
                raise Unavailable(f"the engine failed: {error}") from error
            raise

    @contextmanager
    def _trace(self, order: SolveRequest) -> Iterator[Observer]:
        """A watcher that writes the trace; a trace that cannot be written does not keep a problem from being solved."""
        if self._traces is None:
            yield fan_out()
            return
        path = self._traces / f"{order.id}.jsonl"
        try:
            trace = Trace(path)
        except OSError as error:
            log.warning("no trace", path=str(path), reason=str(error))
            yield fan_out()
            return
        with trace:
            yield trace.watch(order.problem.id or order.id)
        if trace.fault:
            log.warning("the trace is not complete", path=str(path), reason=trace.fault)


def _is_tokens(event: SolveEvent) -> bool:
    return isinstance(event, Streamed) and isinstance(event.event, Tokens)
