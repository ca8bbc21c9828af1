"""Who gets rows and slots: prefixes of forked requests, turns when memory is short, and a way out of every jam.

The steps of a block are ordinary requests of the waiting queue: they run together when all fit and in turns when not.
Suspended requests hold memory without running, so a jam is possible in which nobody can go on. Then the oldest request
goes first and all others give up the device: what a row cannot recompute waits in host memory. SGLang admits only
requests that fit into the pool alone, so the oldest can always finish.
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


class Admission:
    """Rows and slots of forked requests."""

    def __init__(self, conductor: ForkJoinScheduler) -> None:
        self._conductor = conductor
        self._rows = conductor.rows
        self._scheduler = conductor.scheduler

    def prefix(self, seat: BranchState) -> None:
        """Set what the request need not compute: its own row, or its parent's."""
        request, rows = seat.request, self._rows
        if self._away(seat):
            slots = torch.empty((0,), dtype=torch.int64)
        elif seat.slots is not None:
            slots = seat.slots
        elif rows.held(request):  # the next chunk of a long step that is computed again
            slots = rows.slots(request, 0, rows.computed(request))
        else:
            slots = self._parent(seat).slots
        rows.set_prefix(request, slots)
        rows.set_shared(request, seat.shared)
        rows.detach(request)

    def admitted(self, seat: BranchState, adder: Any) -> None:
        """Note that the request gets a row with all its slots, if SGLang has taken it into the batch."""
        if adder.can_run_list and adder.can_run_list[-1] is seat.request:
            seat.slots = None

    def refuse(self, seat: BranchState, adder: Any) -> AddReqResult | None:
        """Whether the request has to wait: its keys and values are away, or it would be cut into chunks for nothing."""
        away = self._away(seat)
        if away:
            if adder.can_run_list:
                return AddReqResult.OTHER  # what is free now is promised to those
            if not room_for(self._rows, away):
                return AddReqResult.NO_TOKEN
            for other in away:
                bring_back(self._rows, other)
            self.prefix(seat)
        left, chunk = adder.rem_chunk_tokens, self._scheduler.chunked_prefill_size
        wanted = seat.length - self._rows.prefix_length(seat.request)
        if left is not None and left < wanted <= (chunk or 0):
            return AddReqResult.OTHER
        return None

    def _parent(self, seat: BranchState) -> BranchState:
        if seat.branch.parent is None:
            raise RuntimeError("a forked root has lost its row")
        return seat.tree.seats[seat.branch.parent]

    def _away(self, seat: BranchState) -> list[BranchState]:
        """What has to come back before the request can run: itself, and all branches of its tree that rest."""
        return [
            other for other in seat.tree.seats.values() if other.host is not None and (other is seat or _rests(other))
        ]

    def before_retraction(self, request: Req) -> None:
        """SGLang is about to free a running request: save what could not be computed again."""
        seat, rows = self._conductor.seat_of(request), self._rows
        if seat is None or not seat.joined or request.finished() or not rows.held(request):
            return
        computed = min(rows.computed(request), seat.length - 1)  # one is left to begin again with
        self._save(seat, rows.slots(request, 0, computed))

    def _save(self, seat: BranchState, slots: torch.Tensor) -> None:
        seat.host = copy_to_host(self._rows, seat, slots)
        seat.unlock()

    def make_room(self, running: Sequence[Req]) -> bool:
        """Move all requests with nothing in `running` to the host. Says whether that freed anything."""
        busy = {seat.tree for seat in map(self._conductor.seat_of, running) if seat is not None}
        moved = [self._leave(tree) for tree in self._conductor.trees if tree not in busy]
        return any(moved)

    def _leave(self, tree: ForkedRequest) -> bool:
        resting = [seat for seat in tree.seats.values() if seat.slots is not None]
        for seat in resting:
            self._save(seat, seat.slots)
            self._conductor.free(seat)
        return bool(resting)

    def unjam(self) -> None:
        """Nothing runs and nothing could be admitted: let the oldest waiting tree have the device."""
        scheduler = self._scheduler
        seats = [self._conductor.seat_of(request) for request in scheduler.waiting_queue]
        forked = [seat.tree for seat in seats if seat is not None and seat.forked]
        if not forked or scheduler.chunked_req is not None:
            return
        oldest = min(forked, key=lambda tree: tree.number)
        first = [seat.request for seat in seats if seat is not None and seat.tree is oldest]
        rest = [request for request in scheduler.waiting_queue if not any(request is other for other in first)]
        before = [request.rid for request in scheduler.waiting_queue]
        scheduler.waiting_queue[:] = first + rest
        scheduler.running_batch.batch_is_full = False
        if not self.make_room(first) and before == [request.rid for request in scheduler.waiting_queue]:
            self._conductor.fail(oldest, "it does not fit into the memory for keys and values, even alone")

    def fits(self, check: Callable[..., bool], batch: Any, selected: list[int] | None = None) -> bool:
        """Around SGLang's question whether the next decode fits: for the last request left, all others make room."""
        if check(batch, selected):
            return True
        running = batch.reqs if selected is None else [batch.reqs[index] for index in selected]
        return len(running) <= 1 and self.make_room(batch.reqs) and check(batch, selected)

    def uncounted(self, counted: Sequence[Req]) -> int:
        """Slots that rows hold outside of these batches, for SGLang's leak check of a busy server."""
        known = {id(request) for request in counted}
        total = 0
        for seat in (seat for tree in self._conductor.trees for seat in tree.seats.values()):
            if seat.slots is not None:
                total += len(seat.slots) - seat.shared
            elif id(seat.request) not in known and self._rows.held(seat.request):
                total += self._rows.allocated(seat.request) - self._rows.shared(seat.request)
        return total


def _rests(seat: BranchState) -> bool:
    return isinstance(seat.request.finished_reason, SuspendedReason)
