"""Puts the kernels where SGLang's attention back ends decode, and tells them which rows share what.

SGLang's Triton back end keeps its decode kernel in an attribute: it is replaced by one that takes the same arguments.
Everything else stays stock: memory of keys and values, slots, extends, CUDA graphs. Calls that the kernels do not
know (soft caps, sinks, windows, 8-bit caches) go to the stock kernel.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from espalier.runtime.sglang.plugin import compat
from espalier.runtime.sglang.plugin.preconditions import obstacles
from espalier.runtime.sglang.plugin.tree_attention.forest import Chain, Forest, group

logger = logging.getLogger(__name__)

VARIABLE = "ESPALIER_TREE_ATTENTION"
"""Environment of the server: `0` turns tree attention off; `1` turns it on for the back end `torch_native` too, on a
CPU, where it is slower and only good for tests."""

MIN_SEGMENT = 384
"""Tokens that reading a prefix once must save before it is read apart; measured, as `MIN_BATCH`."""

MIN_BATCH = 4096
"""Tokens that a batch must save before any prefix is read apart."""


def tree_attention(environment: Mapping[str, str], disagreements: Iterable[str]) -> TreeAttention | None:
    """What decodes on this server; None where the stock kernels are asked for or this SGLang is not known."""
    if environment.get(VARIABLE) == "0":
        return None
    reason = next(iter(disagreements), None)
    if reason is not None:
        logger.warning("tree attention is off: %s", reason)
        return None
    return TreeAttention(environment)


def unsuitable(backend: Any, runner: Any) -> str | None:
    """Why this back end keeps its own kernel; None if it need not."""
    pool, config = backend.token_to_kv_pool, runner.model_config
    width = config.head_dim
    reasons = {
        "multi-head latent attention": backend.use_mla,
        "sliding windows": backend.sliding_window_size is not None,
        "decode context parallelism": backend.dcp_size > 1,
        "pages of several tokens": backend.page_size != 1,
        "a unified memory pool": backend._translate_kv_loc is not None,
        "deterministic inference": backend.enable_deterministic,
        "speculative decoding": runner.server_args.speculative_algorithm is not None,
        "keys and values that are neither float16 nor bfloat16": pool.dtype not in (torch.float16, torch.bfloat16),
        f"heads of width {width}": width not in (16, 32, 64, 128, 256) or config.v_head_dim != width,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


class TreeAttention:
    """The forest of the batch that decodes now, in one process of a server."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._on_cpu = environment.get(VARIABLE) == "1"
        self._chains: Callable[[Iterable[Any]], list[Chain]] | None = None
        self._key: object = None
        self._min_segment = 1 if self._on_cpu else MIN_SEGMENT
        self._min_batch = 1 if self._on_cpu else MIN_BATCH
        self.block_rows = 8
        self.forest: Forest | None = None

    def register(self, registry: Any, kind: Any) -> None:
        """Enter the hooks into SGLang's registry; `kind` is its `HookType`."""
        registry.register(f"{compat.TRITON}.__init__", self._backend_ready, kind.AFTER)
        registry.register(f"{compat.TRITON}.init_cuda_graph_state", self._graphs_ready, kind.AFTER)
        registry.register(f"{compat.TRITON}.init_forward_metadata_out_graph", self._before_graph, kind.AFTER)
        registry.register(f"{compat.TRITON}.init_forward_metadata", self._before_eager, kind.AFTER)
        if self._on_cpu:
            registry.register(compat.TORCH_DECODE, self._decode_in_torch, kind.AROUND)

    def use(self, chains: Callable[[Iterable[Any]], list[Chain]]) -> None:
        """Group batches by what `chains` tells of their requests."""
        self._chains = chains

    def observe(self, requests: list[Any], *, decode: bool) -> None:
        """Before each forward pass: work out the forest of a batch that decodes, if it is not the one of the last step.

        A request that joins a batch or comes back to it is extended first, so rows change at an extend only.
        """
        if not decode:
            self._key = None
            return
        if self._chains is None:
            return
        key = [(id(each), id(each.last_node)) for each in requests]
        if key == self._key:
            return
        self._key = key
        forest = group(
            self._chains(requests),
            block_rows=self.block_rows,
            min_saved=self._min_segment,
            max_segments=len(requests),
        )
        self.forest = forest if forest.saved >= self._min_batch else None

    # Hooks of the Triton back end

    def _backend_ready(self, _result: None, backend: Any, model_runner: Any, *_args: Any, **_kwargs: Any) -> None:
        found = obstacles(model_runner.server_args, model_runner.model_config)
        if found:
            logger.info("tree attention is off: %s", found[0])
        else:
            self.attach(backend, model_runner)

    def attach(self, backend: Any, model_runner: Any) -> None:
        """Decode for this back end, unless it is one that has to keep its own kernel."""
        reason = unsuitable(backend, model_runner)
        if reason is not None:
            logger.info("tree attention is off: %s", reason)
            return
        backend.espalier = _Decoder(self, backend, model_runner)
        logger.info("tree attention is on: prefixes that rows share are read once")

    def _graphs_ready(self, _result: None, backend: Any, max_bs: int, *_args: Any, **_kwargs: Any) -> None:
        decoder = getattr(backend, "espalier", None)
        if decoder is not None:
            decoder.graphs_ready(max_bs)

    def _before_graph(self, _result: None, backend: Any, forward_batch: Any, in_capture: bool = False) -> None:
        decoder = getattr(backend, "espalier", None)
        if decoder is not None and forward_batch.forward_mode.is_decode():
            decoder.begin(forward_batch.batch_size, None if in_capture else self.forest, graph=True)

    def _before_eager(self, _result: None, backend: Any, forward_batch: Any) -> None:
        decoder = getattr(backend, "espalier", None)
        if decoder is not None and forward_batch.forward_mode.is_decode():
            decoder.begin(forward_batch.batch_size, self.forest, graph=False)

    # Hook of the PyTorch back end

    def _decode_in_torch(
        self,
        original: Any,
        backend: Any,
        query: torch.Tensor,
        output: torch.Tensor,
        k_cache: torch.Tensor,
        v_cache: torch.Tensor,
        req_to_token: torch.Tensor,
        req_pool_indices: torch.Tensor,
        seq_lens: torch.Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        forest = self.forest
        if forest is None or len(forest.order) != len(query) or kwargs.get("is_cross_attn"):
            return original(
                backend, query, output, k_cache, v_cache, req_to_token, req_pool_indices, seq_lens, *args, **kwargs
            )
        from espalier.runtime.sglang.plugin.tree_attention.mirror import attend

        pool = req_pool_indices.tolist()
        output[:] = attend(
            query,
            k_cache,
            v_cache,
            forest,
            seq_lens.tolist(),
            lambda row, start, stop: req_to_token[pool[row], start:stop].long(),
            kwargs["scaling"],
        )
        return output


class _Decoder:
    """The kernels of one back end, with buffers for its CUDA graphs and others for batches that none fits."""

    def __init__(self, attention: TreeAttention, backend: Any, runner: Any) -> None:
        from espalier.runtime.sglang.plugin.tree_attention.workspace import Heads, Tuning, Workspace

        self._attention = attention
        self._heads = Heads(backend.num_head, backend.num_kv_head, runner.model_config.head_dim)
        self._tuning = Tuning.of(self._heads)
        self._device = torch.device(backend.device)
        self._processors = backend.device_core_count
        self._graph: Workspace | None = None
        self._eager: Workspace | None = None
        self._active: Workspace | None = None
        self._first_layer: int | None = None
        self._stock = backend.decode_attention_fwd
        backend.decode_attention_fwd = torch.compiler.disable(self._decode)  # type: ignore[no-untyped-call]
        attention.block_rows = self._tuning.queries // self._heads.ratio

    def _workspace(self, rows: int) -> Any:
        from espalier.runtime.sglang.plugin.tree_attention.workspace import Workspace

        return Workspace(rows, self._heads, self._device, self._processors, self._tuning)

    def graphs_ready(self, max_rows: int) -> None:
        self._graph = self._workspace(max_rows)

    def begin(self, rows: int, forest: Forest | None, *, graph: bool) -> None:
        """Before a forward pass of `rows` rows."""
        if not graph and (self._eager is None or self._eager.max_rows < rows):
            self._eager = self._workspace(max(64, 1 << (rows - 1).bit_length()))
        self._active = self._graph if graph else self._eager
        if self._active is not None:
            self._active.set(forest if forest is not None and len(forest.order) <= rows else None)

    def _decode(
        self,
        q: torch.Tensor,
        k_buffer: torch.Tensor,
        v_buffer: torch.Tensor,
        o: torch.Tensor,
        kv_indptr: torch.Tensor,
        kv_indices: torch.Tensor,
        attn_logits: torch.Tensor,
        attn_lse: torch.Tensor,
        num_kv_splits: torch.Tensor,
        max_kv_splits: int,
        sm_scale: float,
        k_scale: float,
        v_scale: float,
        **options: Any,
    ) -> None:
        """In place of SGLang's `decode_attention_fwd`."""
        known = (
            self._active is not None
            and len(q) <= self._active.max_rows
            and (q.shape[1], k_buffer.shape[-2], q.shape[2])
            == (self._heads.query, self._heads.key_value, self._heads.width)
            and k_buffer.dim() == 3
            and k_scale == v_scale == 1.0
            and not options.get("logit_cap")
            and options.get("sinks") is None
            and options.get("score_mod") is None
            and options.get("xai_temperature_len", -1) <= 0
        )
        if self._active is None or not known:
            self._stock(
                q, k_buffer, v_buffer, o, kv_indptr, kv_indices, attn_logits, attn_lse, num_kv_splits, max_kv_splits,
                sm_scale, k_scale, v_scale, **options,
            )  # fmt: skip
            return
        layer = k_buffer.data_ptr()
        if self._first_layer is None:
            self._first_layer = layer
        if layer == self._first_layer:  # part of the graph, as everything here
            self._active.plan(len(q), kv_indptr)
        self._active.attend(q, k_buffer, v_buffer, o, kv_indptr, kv_indices, sm_scale)
