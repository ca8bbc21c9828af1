"""Keys and values in host memory, for branches that have to give up their place on the device.

A step that has joined nothing is computed again from its parent's row. A row that holds joined blocks cannot be: its
tokens did not see each other causally. It is copied to the host bit by bit and comes back the same way.
"""

from __future__ import annotations

import torch

from espalier.runtime.sglang.plugin.compat import Rows
from espalier.runtime.sglang.plugin.state import BranchState, Copied


def copy_to_host(rows: Rows, state: BranchState, slots: torch.Tensor) -> Copied:
    """Copy what the state owns among the slots of its sequence, for a root without a parent the prompt's prefix too.

    Waits for the device.
    """
    start = 0 if state.parent is None else state.start
    data = rows.scheduler.token_to_kv_pool_allocator.get_cpu_copy(slots[start:])
    return Copied(start, len(slots) - start, data)


def room_for(rows: Rows, away: list[BranchState]) -> bool:
    """Whether there are slots for all of it, evicting cached prefixes if need be."""
    scheduler = rows.scheduler
    slots = scheduler.token_to_kv_pool_allocator.available_size() + scheduler.tree_cache.evictable_size()
    return bool(sum(state.host.length for state in away if state.host) <= slots)


def bring_back(rows: Rows, state: BranchState) -> None:
    """Give the state slots again and fill them. Its parent has to be back before it."""
    from sglang.srt.mem_cache.allocation import alloc_token_slots

    copied = state.host
    if copied is None:
        return
    own = alloc_token_slots(rows.scheduler.tree_cache, copied.length).to(torch.int64)
    rows.scheduler.token_to_kv_pool_allocator.load_cpu_copy(copied.data, own)
    state.slots = own if state.parent is None else torch.cat([state.parent.slots, own])
    state.shared = copied.start
    state.host = None
