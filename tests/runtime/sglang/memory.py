"""What a scheduler holds when it is idle, for tests: SGLang does not report it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Memory:
    """Slots and rows of an idle scheduler."""

    slots: int
    free_slots: int
    rows: int
    free_rows: int
    trees: int
    retracted: int
    saved: int
    """How often keys and values went to the host."""

    @property
    def clean(self) -> bool:
        return (self.free_slots, self.free_rows, self.trees) == (self.slots, self.rows, 0)


def watch_memory(path: Path, prepare: Callable[[], None]) -> Callable[[], None]:
    """`prepare`, and a hook that writes :class:`Memory` into a file whenever the scheduler is idle."""

    def register() -> None:
        from sglang.srt.plugins.hook_registry import HookRegistry, HookType

        import espalier.runtime.sglang.plugin.admission as admission

        prepare()
        count = {"retracted": 0, "saved": 0}
        copy_to_host = admission.copy_to_host

        def counted_copy(*args: Any) -> Any:
            count["saved"] += 1
            return copy_to_host(*args)

        def retract(original: Any, **kwargs: Any) -> Any:
            count["retracted"] += 1
            return original(**kwargs)

        def write(_result: None, scheduler: Any) -> None:
            slots = scheduler.token_to_kv_pool_allocator.available_size() + scheduler.tree_cache.evictable_size()
            pool = scheduler.req_to_token_pool
            hooks = type(scheduler).process_batch_result.__closure__
            trees = next(cell.cell_contents for cell in hooks if hasattr(cell.cell_contents, "__self__")).__self__
            fork_join = trees._fork_join
            memory = Memory(
                scheduler.max_total_num_tokens,
                int(slots),
                pool.size,
                len(pool.free_slots),
                0 if fork_join is None else len(fork_join.trees),
                **count,
            )
            fresh = path.with_suffix(f".{os.getpid()}")  # every rank writes, the last one wins
            fresh.write_text(json.dumps(asdict(memory)))
            fresh.replace(path)

        admission.copy_to_host = counted_copy
        HookRegistry.register("sglang.srt.managers.schedule_batch.release_req", retract, HookType.AROUND)
        HookRegistry.register("sglang.srt.managers.scheduler.Scheduler.on_idle", write, HookType.AFTER)

    return register


def memory_when_idle(path: Path, timeout: float = 60) -> Memory:
    """Wait for the scheduler to be idle and report what it holds."""
    path.unlink(missing_ok=True)
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if path.exists():
            return Memory(**json.loads(path.read_text()))
        time.sleep(0.1)
    raise TimeoutError("the scheduler does not become idle")
