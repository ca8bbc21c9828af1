"""Decode attention of one layer over prefixes that rows share: part `kernels` of sglang_gpu.py. Needs a GPU.

    python benchmarks/tree_attention.py            # a line of JSON a shape
    python benchmarks/tree_attention.py compile    # FlashInfer's kernels, as at first use: minutes

FlashInfer's cascade is measured where its kernels are compiled within the seconds that CASCADE_SECONDS says (240).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from decode_shapes import SHAPES, Levels, label, layers, scattered

from espalier.runtime.sglang.plugin.tree_attention.backend import MIN_SEGMENT
from espalier.runtime.sglang.plugin.tree_attention.forest import Chain, group
from espalier.runtime.sglang.plugin.tree_attention.workspace import Heads, Tuning, Workspace


class Scene:
    """A batch that decodes, with its slots scattered at random."""

    def __init__(self, rows: int, context: int, levels: Levels, heads: Heads) -> None:
        self.rows, self.heads, self.scale = rows, heads, heads.width**-0.5
        self.chains: list[Chain] = [
            tuple(((length, row // size), length) for length, size in levels) for row in range(rows)
        ]
        self.levels = levels
        slots, used = scattered(rows, context, levels)
        self.slots = torch.from_numpy(slots).cuda()
        self.bytes = used * heads.key_value * heads.width * 4
        many = layers(used, (heads.query, heads.key_value, heads.width))
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

    def cascade(self) -> Callable[[], None]:
        """FlashInfer's: a level for each length that rows share, one for what they do not; planned for this batch."""
        from flashinfer import cascade

        paged = cascade.BatchPrefillWithPagedKVCacheWrapper

        def fa2(*args: Any, **kwargs: Any) -> Any:
            """The back end that packs the query heads of a few rows; Hopper's own is made for long queries."""
            return paged(*args, **kwargs, backend="fa2")

        ints: dict[str, Any] = {"dtype": torch.int32, "device": "cuda"}
        queries, starts, slots, ends = [], [], [], []
        begin, context = 0, self.slots.shape[1]
        for length, size in (*self.levels, (context, 1)):
            first = list(range(0, self.rows, size))
            queries.append(torch.tensor([*first, self.rows], **ints))
            starts.append(torch.arange(len(first) + 1, **ints) * (length - begin))
            slots.append(self.slots[first, begin:length].flatten().int())
            ends.append(torch.ones(len(first), **ints))
            begin = length
        space = torch.empty(1 << 29, dtype=torch.uint8, device="cuda")
        cascade.BatchPrefillWithPagedKVCacheWrapper = fa2
        try:
            wrapper = cascade.MultiLevelCascadeAttentionWrapper(len(queries), space, "NHD")
        finally:
            cascade.BatchPrefillWithPagedKVCacheWrapper = paged
        wrapper.plan(
            queries,
            starts,
            slots,
            ends,
            self.heads.query,
            self.heads.key_value,
            self.heads.width,
            1,
            sm_scale=self.scale,
            q_data_type=torch.bfloat16,
        )
        pages = [(k[:, None], v[:, None]) for k, v in zip(self.keys, self.values, strict=True)]

        def run() -> None:
            for each in pages:
                self.out = wrapper.run(self.q, each)

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
    problem = no_cascade(float(os.environ.get("CASCADE_SECONDS", "240")))
    if problem is not None:
        yield {"what": "FlashInfer's cascade", "failed": problem}
    for rows, context, levels, heads in SHAPES:
        scene = Scene(rows, context, levels, Heads(*heads))
        stock, stock_error = scene.measured(scene.stock())
        tree, error = scene.measured(scene.ours())
        row = {
            **label(rows, context, levels, heads),
            "stock": stock,
            "tree": tree,
            "floor": scene.bytes / speed * 1e6,
            "error": error,
            "stock_error": stock_error,
            "gigabytes_per_second": speed / 1e9,
            "device": torch.cuda.get_device_name(),
        }
        if problem is None:
            try:
                row["cascade"], row["cascade_error"] = scene.measured(scene.cascade())
            except Exception as failure:
                problem = f"{type(failure).__name__}: {failure}"[:500]
                yield {"what": "FlashInfer's cascade", "failed": problem}
        yield row


def no_cascade(seconds: float) -> str | None:
    """Why FlashInfer's kernels are not there; None if they are."""
    command = [sys.executable, __file__, "compile"]
    try:
        done = subprocess.run(command, check=False, timeout=seconds, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except subprocess.TimeoutExpired:
        return f"its kernels were not compiled within {seconds:.0f} s"
    return None if done.returncode == 0 else done.stdout.decode(errors="replace")[-500:]


def compile_cascade() -> None:
    """Compile what `Scene.cascade` uses, or find it compiled."""
    from flashinfer.jit.attention import gen_batch_prefill_module
    from flashinfer.jit.cascade import gen_cascade_module

    kind = torch.bfloat16
    for made in (
        gen_cascade_module(),
        gen_batch_prefill_module("fa2", kind, kind, kind, torch.int32, 128, 128, 0, False, False, False),
    ):
        made.build_and_load()


if __name__ == "__main__":
    if sys.argv[1:] == ["compile"]:
        compile_cascade()
    else:
        for each in measurements():
            print(json.dumps(each), flush=True)
