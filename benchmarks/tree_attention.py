"""Decode attention of one layer over prefixes that rows share: part `kernels` of sglang_gpu.py. Needs a GPU."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import Any

import torch

from espalier.runtime.sglang.plugin.tree_attention.backend import MIN_SEGMENT
from espalier.runtime.sglang.plugin.tree_attention.forest import Chain, group
from espalier.runtime.sglang.plugin.tree_attention.workspace import Heads, Tuning, Workspace

Levels = tuple[tuple[int, int], ...]
"""Tokens from a row's start that groups of so many rows share, shortest first."""

QWEN_4B = Heads(32, 8, 128)
SHAPES: tuple[tuple[int, int, Levels, Heads], ...] = (
    (128, 3200, ((3000, 8),), QWEN_4B),
    (80, 3200, ((3000, 5),), QWEN_4B),
    (128, 1000, ((800, 8),), QWEN_4B),
    (128, 8000, ((7500, 8),), QWEN_4B),
    (128, 1000, (), QWEN_4B),
    (128, 3200, (), QWEN_4B),
    (80, 3000, ((2000, 80), (2800, 5)), QWEN_4B),
    (16, 2300, ((2000, 16),), QWEN_4B),
    (8, 3200, ((3000, 8),), QWEN_4B),
    (8, 3200, (), QWEN_4B),
    (2, 1000, ((800, 2),), QWEN_4B),
    (128, 3200, ((3000, 8),), Heads(28, 4, 128)),
    (128, 3200, ((3000, 8),), Heads(16, 16, 128)),
)
"""Rows, context, sharing, heads."""

LAYERS_BYTES = 5e8
"""Layers take turns until they hold so much, several times the cache."""


class Scene:
    """A batch that decodes, with its slots scattered at random."""

    def __init__(self, rows: int, context: int, levels: Levels, heads: Heads) -> None:
        self.rows, self.heads, self.scale = rows, heads, heads.width**-0.5
        self.chains: list[Chain] = [
            tuple(((length, row // size), length) for length, size in levels) for row in range(rows)
        ]
        slots = torch.zeros(rows, context, dtype=torch.int64)
        used = begin = 0
        for length, size in levels:
            groups = -(-rows // size)
            shared = used + torch.arange(groups * (length - begin)).view(groups, -1)
            slots[:, begin:length] = shared.repeat_interleave(size, 0)[:rows]
            used, begin = used + shared.numel(), length
        own = rows * (context - begin)
        slots[:, begin:] = used + torch.arange(own).view(rows, -1)
        used += own
        self.slots = torch.randperm(used)[slots].cuda()
        self.bytes = used * heads.key_value * heads.width * 4
        many = max(1, min(24, int(LAYERS_BYTES // self.bytes)))
        options: dict[str, Any] = {"dtype": torch.bfloat16, "device": "cuda"}
        self.keys = [torch.randn(used, heads.key_value, heads.width, **options) for _ in range(many)]
        self.values = [torch.randn_like(each) for each in self.keys]
        self.q = torch.randn(rows, heads.query, heads.width, **options)
        self.out = torch.empty_like(self.q)
        self.indices = self.slots.flatten()
        self.indptr = (torch.arange(rows + 1, dtype=torch.int32) * context).cuda()
        self.lengths = torch.full((rows,), context, device="cuda")

    def ours(self) -> Callable[[], None]:
        processors = torch.cuda.get_device_properties(0).multi_processor_count
        space = Workspace(128, self.heads, self.q.device, processors, Tuning.of(self.heads))
        forest = group(self.chains, block_rows=space.block_rows, min_saved=MIN_SEGMENT, max_segments=self.rows)
        space.set(forest)
        space.plan(self.rows, self.indptr)

        def run() -> None:
            for k, v in zip(self.keys, self.values, strict=True):
                space.attend(self.q, k, v, self.out, self.indptr, self.indices, self.scale)

        return run

    def stock(self) -> Callable[[], None]:
        import triton
        from sglang.kernels.ops.attention.decode_attention import decode_attention_fwd
        from sglang.kernels.ops.attention.metadata import get_num_kv_splits_triton

        heads, processors, most = self.heads, torch.cuda.get_device_properties(0).multi_processor_count, 8
        splits = torch.zeros(self.rows, dtype=torch.int32, device="cuda")
        get_num_kv_splits_triton[(1,)](
            splits,
            self.lengths,
            self.rows,
            1,
            heads.query,
            heads.key_value,
            most,
            processors,
            MAX_NUM_SEQ=max(256, triton.next_power_of_2(self.rows)),
        )
        parts = torch.zeros(self.rows, heads.query, most, heads.width, device="cuda")
        lse = torch.zeros(self.rows, heads.query, most, device="cuda")

        def run() -> None:
            for k, v in zip(self.keys, self.values, strict=True):
                decode_attention_fwd(
                    self.q,
                    k,
                    v,
                    self.out,
                    self.indptr,
                    self.indices,
                    parts,
                    lse,
                    splits,
                    most,
                    self.scale,
                    1.0,
                    1.0,
                    use_pdl=True,
                )

        return run

    def measured(self, run: Callable[[], None]) -> tuple[float, float]:
        """Microseconds a layer in a CUDA graph, and the largest relative error of three rows against float32."""
        self.out.fill_(torch.nan)
        run()
        torch.cuda.synchronize()
        error = max(self._error(row) for row in {0, self.rows // 2, self.rows - 1})
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
        graph.replay()
        times = []
        for _ in range(5):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            for _ in range(6):
                graph.replay()
            end.record()
            torch.cuda.synchronize()
            times.append(begin.elapsed_time(end) * 1000 / 6 / len(self.keys))
        return statistics.median(times), error

    def _error(self, row: int) -> float:
        heads = self.heads
        k, v = (buffer[-1][self.slots[row]].float() for buffer in (self.keys, self.values))
        q = self.q[row].float().view(heads.key_value, heads.ratio, heads.width)
        weights = (torch.einsum("hgd,thd->hgt", q, k) * self.scale).softmax(-1)
        right = torch.einsum("hgt,thd->hgd", weights, v).reshape(heads.query, heads.width)
        error = float((self.out[row].float() - right).norm() / right.norm())
        assert error < 1e-2, f"row {row} is off by {error}"
        return error


def bandwidth() -> float:
    """Bytes a second of a copy on the device, read and written."""
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda").random_()
    target = torch.empty_like(source)
    target.copy_(source)
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(10):
        target.copy_(source)
    end.record()
    torch.cuda.synchronize()
    return 20 * len(source) / (begin.elapsed_time(end) / 1000)


def measurements() -> Iterator[dict[str, Any]]:
    """A row a shape."""
    speed = bandwidth()
    for rows, context, levels, heads in SHAPES:
        scene = Scene(rows, context, levels, heads)
        stock, stock_error = scene.measured(scene.stock())
        tree, error = scene.measured(scene.ours())
        yield {
            "part": "kernels",
            "rows": rows,
            "context": context,
            "shared": ", ".join(f"{length} by {size}" for length, size in levels) or "-",
            "heads": f"{heads.query}/{heads.key_value}",
            "stock": stock,
            "tree": tree,
            "floor": scene.bytes / speed * 1e6,
            "error": error,
            "stock_error": stock_error,
            "gigabytes_per_second": speed / 1e9,
            "device": torch.cuda.get_device_name(),
        }
