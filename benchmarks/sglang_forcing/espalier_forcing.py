"""A second plugin for benchmarks: puts tags where a script wants them, bans them elsewhere, and counts.

A model with random weights writes no structure of its own. A request brings its script as JSON text in
`custom_params["script"]`: per branch path a map from the index of a token within the branch's row to the token's id.
Every other token is the model's own choice among all that are no tags. Found by SGLang through the entry point beside
this file when its directory is on PYTHONPATH.

Counters (int64, in the file that ESPALIER_FORCING names): decode passes, other passes, most slots of the key-value
memory in use, that memory's size. A reader may set them to 0.
"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import torch

SCRIPT = "script"
BANNED = "ESPALIER_FORCING_BANNED"
COUNTERS = "ESPALIER_FORCING"
DECODES, EXTENDS, PEAK, POOL = range(4)


def register() -> None:
    """Called by SGLang in every process of the server."""
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType

    forcing = Forcing(json.loads(os.environ[BANNED]), np.memmap(os.environ[COUNTERS], dtype=np.int64, mode="r+"))
    root = "sglang.srt.model_executor."
    HookRegistry.register(root + "forward_batch_info.ForwardBatch.init_new", forcing.plan, HookType.AFTER)
    HookRegistry.register(root + "model_runner.ModelRunner.sample", forcing.sample, HookType.BEFORE)


class Forcing:
    """The scheduler's side."""

    def __init__(self, banned: list[int], counters: np.ndarray[Any, Any]) -> None:
        self._banned = banned
        self._counters = counters
        self._mask: torch.Tensor | None = None

    def plan(self, forward: Any, _cls: Any, batch: Any, model_runner: Any, *_args: Any, **_kwargs: Any) -> None:
        """Look up what each row has to sample. `seq_lens` is the index in the row of the token that comes next."""
        if not getattr(batch, "reqs", None):
            return
        lengths = batch.seq_lens_cpu.tolist()
        wishes = [self._wish(request, length) for request, length in zip(batch.reqs, lengths, strict=True)]
        forward.espalier_forced = [(row, token) for row, token in enumerate(wishes) if token is not None]
        self._counters[DECODES if forward.forward_mode.is_decode() else EXTENDS] += 1
        allocator = model_runner.token_to_kv_pool_allocator
        used = allocator.size - allocator.available_size() - batch.tree_cache.evictable_size()
        self._counters[PEAK] = max(self._counters[PEAK], used)
        self._counters[POOL] = allocator.size

    def _wish(self, request: Any, length: int) -> int | None:
        state = getattr(request, "espalier_state", None)
        if state is None:
            return None
        root = state.tree.root.request
        try:
            scripts = root.espalier_script
        except AttributeError:
            text = (root.sampling_params.custom_params or {}).get(SCRIPT, "{}")
            scripts = root.espalier_script = json.loads(text)
        path = "/".join(f"{block}.{step}" for block, step in state.branch.path)
        token: int | None = scripts.get(path, {}).get(str(length - state.start))
        return token

    def sample(self, _runner: Any, logits_output: Any, forward_batch: Any) -> None:
        """Before sampling: bans and wishes go into the logits, so that log-probabilities follow."""
        logits = logits_output.next_token_logits
        if self._mask is None:
            self._mask = torch.tensor(self._banned, device=logits.device)
        forced = getattr(forward_batch, "espalier_forced", ())
        logits.index_fill_(1, self._mask, -torch.inf)
        if forced:
            rows, tokens = (torch.tensor(column, device=logits.device) for column in zip(*forced, strict=True))
            logits[rows] = -torch.inf
            logits[rows, tokens] = 0.0
