"""Runs the kernels of tree attention in Triton's interpreter, in a process of its own: `python -m … SEED…`.

Prints one line of JSON per seed: the largest relative error of a row, and what was worked on. The kernels are reached
the way SGLang reaches them: through the back end's `decode_attention_fwd`, after the hooks of the back end have run.
"""

from __future__ import annotations

import json
import os
import sys
from itertools import accumulate
from types import SimpleNamespace
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"

import torch

from espalier.runtime.sglang.plugin.tree_attention.backend import TreeAttention
from tests.runtime.sglang.forests import dense, random_rows, relative

HEADS = ((8, 2), (7, 1), (2, 2), (16, 4))
WIDTH = 16
PADDING = 3


class StandInBackend:
    """What the hooks read and replace of SGLang's Triton back end, which needs a GPU."""

    def __init__(self, heads: int, kv_heads: int, processors: int) -> None:
        self.num_head, self.num_kv_head = heads, kv_heads
        self.device, self.device_core_count = "cpu", processors
        self.use_mla, self.sliding_window_size, self.dcp_size, self.page_size = False, None, 1, 1
        self._translate_kv_loc, self.enable_deterministic = None, False
        self.token_to_kv_pool = SimpleNamespace(dtype=torch.bfloat16)
        self.stock_calls = 0

    def decode_attention_fwd(self, *_args: Any, **_kwargs: Any) -> None:
        self.stock_calls += 1


def batch(rows: int) -> Any:
    return SimpleNamespace(batch_size=rows, forward_mode=SimpleNamespace(is_decode=lambda: True))


def run(seed: int) -> dict[str, Any]:
    heads, kv_heads = HEADS[seed % len(HEADS)]
    torch.manual_seed(seed)
    rows = random_rows(seed, longest=25, most=10)
    attention = TreeAttention({"ESPALIER_TREE_ATTENTION": "1"})
    attention.use(lambda _: rows.chains)
    backend = StandInBackend(heads, kv_heads, processors=1 + seed % 5)
    config = SimpleNamespace(head_dim=WIDTH, v_head_dim=WIDTH)
    attention.attach(
        backend, SimpleNamespace(model_config=config, server_args=SimpleNamespace(speculative_algorithm=None))
    )
    graph = seed % 2 == 0
    padding = PADDING if graph else 0
    count = len(rows.slots) + padding
    if graph:
        attention._graphs_ready(None, backend, count + 5)
    slots = rows.slots + [[0]] * padding
    indptr = torch.tensor([0, *accumulate(map(len, slots))], dtype=torch.int32)
    indices = torch.tensor([slot for row in slots for slot in row])
    k = torch.full((50_001, kv_heads, WIDTH), torch.nan)
    v = torch.full_like(k, torch.nan)
    used = indices.unique()
    worst, segments = 0.0, 0
    for shared in (True, False):  # the second batch has the same rows and shares nothing
        k[used], v[used] = torch.randn(len(used), kv_heads, WIDTH), torch.randn(len(used), kv_heads, WIDTH)
        requests = [SimpleNamespace(last_node=shared) for _ in rows.slots]
        if not shared:
            attention.use(lambda _: [()] * len(rows.slots))
        attention.observe(requests, decode=True)
        (attention._before_graph if graph else attention._before_eager)(None, backend, batch(count))
        q = torch.randn(count, heads, WIDTH)
        for _layer in range(2):
            out = torch.full_like(q, torch.nan)
            backend.decode_attention_fwd(
                q, k, v, out, indptr, indices, None, None, None, 8, WIDTH**-0.5, 1.0, 1.0, logit_cap=0.0, sinks=None
            )
            errors = list(relative(out, dense(q, k, v, slots, WIDTH**-0.5)))
            worst = max([worst, *errors]) if all(error == error for error in errors) else float("nan")
        segments += len(attention.forest.segments) if attention.forest is not None else 0
    return {"seed": seed, "error": worst, "rows": count, "segments": segments, "stock": backend.stock_calls}


if __name__ == "__main__":
    for word in sys.argv[1:]:
        print(json.dumps(run(int(word))), flush=True)
