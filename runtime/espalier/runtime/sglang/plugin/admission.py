"""Which requests get rows and slots: prefixes of forked requests, turns when memory is short, ends of deadlocks.

The steps of a block are ordinary requests of the waiting queue: they run together when all fit and in turns when not.
Suspended requests hold memory without running, so a deadlock is possible, in which none can go on. Then the oldest
request goes first and all others give up the device: what a row cannot recompute waits in host memory. SGLang admits
only requests that fit into the pool alone, so the oldest can always finish.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from sglang.srt.managers.schedule_batch import Req
from sglang.srt.managers.schedule_policy import AddReqResult

from espalier.runtime.sglang.plugin.fork_join import ForkJoinScheduler
from espalier.runtime.sglang.plugin.kv_offload import bring_back, copy_to_host, room_for
from espalier.runtime.sglang.plugin.state import BranchState, ForkedRequest
from espalier.runtime.sglang.plugin.suspended import SuspendedReason

logger = logging.getLogger(__name__)


class ForkAdmission:
    """Rows and slots of forked requests."""

    def __init__(self, fork_join: ForkJoinScheduler) -> None:
        self._fork_join = fork_join
        self._rows = fork_join.rows
        self._scheduler = fork_join.scheduler

    def prefix(self, state: BranchState) -> None:
        """Set what the request need not compute: its own row, or its parent's."""
        request, rows = state.request, self._rows
        if self._away(state):
            slots = torch.empty((0,), dtype=torch.int64)
        elif state.slots is not None:
            slots = state.slots
        elif rows.held(request):  # the next chunk of a long step that is computed again
            slots = rows.slots(request, 0, rows.computed(request))
        else:
            slots = self._parent(state).slots
        rows.set_prefix(request, slots)
        rows.set_shared(request, state.shared)
        rows.detach(request)

    def admitted(self, state: BranchState, adder: Any) -> None:
        """Note that the request gets a row with all its slots, if SGLang has taken it into the batch."""
        if adder.can_run_list and adder.can_run_list[-1] is state.request:
            state.slots = None

    def refuse(self, state: BranchState, adder: Any) -> AddReqResult | None:
        """Whether the request has to wait: its keys and values are away, or it would be cut into chunks for nothing."""
        away = self._away(state)
        if away:
            if adder.can_run_list:
                return AddReqResult.OTHER  # what is free now is promised to those
            if not room_for(self._rows, away):
                return AddReqResult.NO_TOKEN
            for other in away:
                bring_back(self._rows, other)
            self.prefix(state)
        left, chunk = adder.rem_chunk_tokens, self._scheduler.chunked_prefill_size
        wanted = state.length - self._rows.prefix_length(state.request)
        if left is not None and left < wanted <= (chunk or 0):
            return AddReqResult.OTHER
        return None

    def _parent(self, state: BranchState) -> BranchState:
        if state.parent is None:
            raise RuntimeError("a forked root has lost its row")
        return state.parent

    def _away(self, state: BranchState) -> list[BranchState]:
        """What has to come back before the request can run: itself, all branches of its tree that rest, and what they
        begin with."""
        given = [] if state.tree.given is None else [state.tree.given.root]
        return [
            other
            for other in (*given, *state.tree.states.values())
            if other.host is not None and (other is state or _rests(other))
        ]

    def before_retraction(self, request: Req) -> None:
        """SGLang is about to free a running request: save what could not be computed again."""
        state, rows = self._fork_join.state_of(request), self._rows
        if state is None or not state.joined or request.finished() or not rows.held(request):
            return
        computed = min(rows.computed(request), state.length - 1)  # one is left to begin again with
        self._save(state, rows.slots(request, 0, computed))

    def _save(self, state: BranchState, slots: torch.Tensor) -> None:
        state.host = copy_to_host(self._rows, state, slots)
        state.unlock()

    def preempt(self, running: Sequence[Req]) -> bool:
        """Move all requests with nothing in `running` to the host. Says whether that freed anything."""
        busy = {state.tree for state in map(self._fork_join.state_of, running) if state is not None}
        busy |= {tree.given for tree in busy if tree.given is not None}
        moved = [self._leave(tree) for tree in self._fork_join.trees if tree not in busy]
        return any(moved)

    def _leave(self, tree: ForkedRequest) -> bool:
        resting = [state for state in tree.states.values() if state.slots is not None]
        for state in resting:
            self._save(state, state.slots)
            self._fork_join.free(state)
        return bool(resting)

    def resolve_deadlock(self) -> None:
        """Nothing runs and nothing could be admitted: let the oldest waiting tree have the device."""
        scheduler = self._scheduler
        states = [self._fork_join.state_of(request) for request in scheduler.waiting_queue]
        forked = [state.tree for state in states if state is not None and state.forked]
        if not forked or scheduler.chunked_req is not None:
            return
        oldest = min(forked, key=lambda tree: tree.number)
        first = [state.request for state in states if state is not None and state.tree is oldest]
        rest = [request for request in scheduler.waiting_queue if not any(request is other for other in first)]
        before = [request.rid for request in scheduler.waiting_queue]
        scheduler.waiting_queue[:] = first + rest
        scheduler.running_batch.batch_is_full = False
        if not self.preempt(first) and before == [request.rid for request in scheduler.waiting_queue]:
            self._fork_join.fail(oldest, "it does not fit into the memory for keys and values, even alone")

    def fits(self, check: Callable[..., bool], batch: Any, selected: list[int] | None = None) -> bool:
        """Around SGLang's question whether the next decode fits: for the last request left, all others make room."""
        if check(batch, selected):
            return True
        running = batch.reqs if selected is None else [batch.reqs[index] for index in selected]
        return len(running) <= 1 and self.preempt(batch.reqs) and check(batch, selected)

    def uncounted(self, counted: Sequence[Req]) -> int:
        """Slots that rows hold outside of these batches, for SGLang's leak check of a busy server."""
        known = {id(request) for request in counted}
        total = 0
        for state in (state for tree in self._fork_join.trees for state in tree.states.values()):
            if state.slots is not None:
                total += len(state.slots) - state.shared
            elif id(state.request) not in known and self._rows.held(state.request):
                total += self._rows.allocated(state.request) - self._rows.shared(state.request)
        return total


def _rests(state: BranchState) -> bool:
    return isinstance(state.request.finished_reason, SuspendedReason)
