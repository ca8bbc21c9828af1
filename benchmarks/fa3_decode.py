"""FlashAttention 3 decoding the batches of decode_shapes.py: part `fa3` of sglang_gpu.py. Needs a GPU of Hopper's kind.

    pip install flash-attn3-jax    # beside JAX for CUDA
    python benchmarks/fa3_decode.py

SGLang's own build of these kernels is a library of 1 GB; this wheel has those for heads of width 128 alone. Keys and
values are in pages of one token, as SGLang has them. Every row reads its whole context: prefixes that rows share are
read again, if from the cache. One compiled program runs all layers, each with the result of the one before it as its
query, so small batches show the launches, too. A line of JSON a shape, with the number of splits that was fastest.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp
import numpy as np
from decode_shapes import SHAPES, Heads, label, layers, scattered
from flash_attn3_jax import flash_mha_with_kvcache

SPLITS = (1, 2, 4, 8, 16)
REPEATS = 5


def measured(rows: int, context: int, slots: np.ndarray, used: int, heads: Heads) -> dict[str, Any]:
    """Microseconds a layer with the best number of splits, and the largest relative error of three rows."""
    query, key_value, width = heads
    many = layers(used, heads)
    keys = iter(jax.random.split(jax.random.key(0), 2 * many + 1))
    q = jax.random.normal(next(keys), (rows, 1, query, width), jnp.bfloat16)
    shape = (used, 1, key_value, width)
    k, v = ([jax.random.normal(next(keys), shape, jnp.bfloat16) for _ in range(many)] for _ in "kv")
    table, lengths = jnp.asarray(slots, jnp.int32), jnp.full((rows,), context, jnp.int32)

    def attend(q: Any, k: Any, v: Any, splits: int) -> Any:
        return flash_mha_with_kvcache(q, k, v, cache_seqlens=lengths, page_table=table, num_splits=splits)

    found = attend(q, k[0], v[0], 4)
    error = max(difference(found[row], q[row], k[0], v[0], slots[row]) for row in {0, rows // 2, rows - 1})
    assert error < 1e-2, f"off by {error}"
    times: dict[int, float] = {}
    for splits in SPLITS:

        @jax.jit
        def run(q: Any, k: Any, v: Any, splits: int = splits) -> Any:
            for each, value in zip(k, v, strict=True):
                q = attend(q, each, value, splits)
            return q

        run(q, k, v).block_until_ready()
        taken = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            for _ in range(4):
                last = run(q, k, v)
            last.block_until_ready()
            taken.append((time.perf_counter() - start) / 4 / many * 1e6)
        times[splits] = float(np.median(taken))
    splits = min(times, key=times.__getitem__)
    return {"fa3": times[splits], "splits": splits, "by_splits": times, "error": error, "layers": many}


def difference(found: Any, q: Any, k: Any, v: Any, slots: np.ndarray) -> float:
    """Relative error of one row against float32."""
    keys, values = (each[slots, 0].astype(jnp.float32) for each in (k, v))
    queries = q[0].astype(jnp.float32).reshape(keys.shape[1], -1, q.shape[-1])
    with jax.default_matmul_precision("highest"):
        weights = jax.nn.softmax(jnp.einsum("hgd,thd->hgt", queries, keys) * q.shape[-1] ** -0.5, axis=-1)
        right = jnp.einsum("hgt,thd->hgd", weights, values).reshape(q.shape[1:])
    return float(jnp.linalg.norm(found[0].astype(jnp.float32) - right) / jnp.linalg.norm(right))


def main() -> None:
    device = jax.devices()[0].device_kind
    for rows, context, levels, heads in SHAPES:
        slots, used = scattered(rows, context, levels)
        row = measured(rows, context, slots, used, heads)
        print(json.dumps({**label(rows, context, levels, heads), **row, "device": device}), flush=True)


if __name__ == "__main__":
    main()
