"""Keys and values in host memory, for branches that have to give up their place on the device.

A step that has joined nothing is computed again from its parent's row. A row that holds joined blocks cannot be: its
tokens did not see each other causally. It is copied to the host bit by bit and comes back the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from espalier.runtime.sglang.compat import Rows

if TYPE_CHECKING:
    from espalier.runtime.sglang.seat import Seat


@dataclass(frozen=True, slots=True)
class Copied:
    """Keys and values of `length` tokens from index `start` of a row on; `data` is in the KV pool's own form."""

    start: int
    length: int
    data: Any


def copy_to_host(rows: Rows, seat: Seat) -> Copied:
    """Copy what the seat owns of its row (for the root the prompt's prefix too). Waits for the device."""
    request = seat.request
    start = seat.start if seat.branch.path else 0
    end = min(rows.computed(request), seat.length - (1 if seat.wants_token else 0))
    data = rows.scheduler.token_to_kv_pool_allocator.get_cpu_copy(rows.slots(request, start, end))
    return Copied(start, end - start, data)


def room_for(rows: Rows, away: list[Seat], seat: Seat) -> bool:
    """Whether rows and slots are there for what is away, and a row for `seat`; cached prefixes may be evicted."""
    scheduler = rows.scheduler
    tokens = sum(other.host.length for other in away if other.host)
    slots = scheduler.token_to_kv_pool_allocator.available_size() + scheduler.tree_cache.evictable_size()
    free_rows = scheduler.req_to_token_pool.available_size()
    fresh = not rows.held(seat.request) and seat not in away
    return bool(tokens <= slots and len(away) + fresh <= free_rows)


def bring_back(rows: Rows, seat: Seat) -> None:
    """Give the seat a row again and fill it: the parent's part by reference, its own from the host."""
    from sglang.srt.mem_cache.allocation import alloc_token_slots

    copied = seat.host
    if copied is None:
        return
    slots = alloc_token_slots(rows.scheduler.tree_cache, copied.length).to(torch.int64)
    rows.scheduler.token_to_kv_pool_allocator.load_cpu_copy(copied.data, slots)
    rows.take(seat.request, copied.start + copied.length)
    if seat.branch.parent is not None:
        parent = seat.tree.seats[seat.branch.parent]
        rows.write(seat.request, 0, rows.slots(parent.request, 0, copied.start))
    rows.write(seat.request, copied.start, slots)
    rows.set_shared(seat.request, copied.start)
    seat.host = None
