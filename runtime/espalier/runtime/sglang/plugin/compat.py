"""Everything that differs between SGLang 0.5.17 and 0.5.21, and nothing else. Runs inside a server.

Where a request keeps its row of the token table, how rows and slots go back, and what the hooked functions look like.
:func:`disagreements` compares the installed SGLang with the table of the version that it claims to be: the hook
registry itself only logs when a hook cannot be applied, and half a plugin would decode nonsense.

For a new version: add it to the table, compare the table with the wheel (scripts/sglang_signatures.py), and run
`make test-sglang SGLANG=…`. The last step finds what no signature tells: a prefix that is kept elsewhere, a
request that leaves its batch earlier.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sglang.srt.managers.schedule_batch import Req

SUPPORTED = tuple(f"0.5.{patch}" for patch in range(17, 22))

_ROOT = "sglang.srt."
STREAMER = _ROOT + "managers.scheduler_components.output_streamer.SchedulerOutputStreamer.stream_output"
CHECKER = _ROOT + "managers.scheduler_components.invariant_checker.SchedulerInvariantChecker._get_total_uncached_sizes"
SCHEDULER = _ROOT + "managers.scheduler.Scheduler"
REQUEST = _ROOT + "managers.schedule_batch.Req"
BATCH = _ROOT + "managers.schedule_batch.ScheduleBatch"
FILTER = f"{BATCH}.filter_batch"
QUEUE_LIMIT = f"{SCHEDULER}._abort_on_queued_limit"
TIMEOUT = f"{SCHEDULER}._abort_on_waiting_timeout"
"""Up to 0.5.19; later versions abort what has waited too long as a client would."""
RELEASE = _ROOT + "mem_cache.common.release_kv_cache"
RETRACT = _ROOT + "managers.schedule_batch.release_req"
ADMIT = _ROOT + "managers.schedule_policy.PrefillAdder.add_one_req"
FORWARD = _ROOT + "model_executor.forward_batch_info.ForwardBatch.init_new"
SAMPLE = _ROOT + "model_executor.model_runner.ModelRunner.sample"
VERIFY = _ROOT + "sampling.sampling_params.SamplingParams.verify"
TOKENIZER = _ROOT + "managers.tokenizer_manager.TokenizerManager.__init__"
SLICE = _ROOT + "managers.tokenizer_manager._slice_streaming_output_meta_info"
TRITON = _ROOT + "layers.attention.triton_backend.TritonAttnBackend"
TORCH_DECODE = _ROOT + "layers.attention.torch_native_backend.TorchNativeAttnBackend._run_sdpa_forward_decode"

_UNCHANGED = {
    f"{REQUEST}.update_finish_state": "self, new_accepted_len",
    f"{REQUEST}.init_next_round_input": "self, tree_cache, cow_mamba",
    f"{REQUEST}.reset_for_retract": "self",
    f"{BATCH}.check_decode_mem": "self, selected_indices",
    ADMIT: "self, req, has_chunked_req, truncation_align_size",
    f"{SCHEDULER}.process_batch_result": "self, batch, result",
    f"{SCHEDULER}.abort_request": "self, recv_req",
    f"{SCHEDULER}.get_new_batch_prefill": "self, running_batch",
    QUEUE_LIMIT: "self, recv_req",
    STREAMER: "self, reqs, return_logprob, skip_req",
    CHECKER: "self",
    SAMPLE: "self, logits_output, forward_batch",
    VERIFY: "self, vocab_size",
    f"{_ROOT}configs.hybrid_arch.mambaish_config": "model_config",
    SLICE: "meta_info, last_output_offset, customized_info_keys",
    f"{_ROOT}mem_cache.allocation.alloc_token_slots": "tree_cache, num_tokens",
    f"{_ROOT}mem_cache.base_prefix_cache.BasePrefixCache.root_node_handle": "self, extra_key",
    f"{_ROOT}mem_cache.base_prefix_cache.BasePrefixCache.dec_lock_ref": "self, node, params",
    f"{_ROOT}mem_cache.memory_pool.ReqToTokenPool.alloc": "self, reqs",
    f"{_ROOT}mem_cache.memory_pool.ReqToTokenPool.free": "self, req",
}
_FORWARD = "cls, batch, model_runner, capture_hidden_mode, return_hidden_states_before_norm"
_POOLS = "req_to_token_pool, token_to_kv_pool_allocator, tree_cache, hisparse_coordinator, offload_kv"
_17 = _UNCHANGED | {
    RETRACT: f"req, remaing_req_count, server_args, {_POOLS}",
    RELEASE: "req, tree_cache, is_insert",
    FORWARD: _FORWARD,
    FILTER: "self, chunked_req_to_exclude, keep_indices",
    TIMEOUT: "self",
}
_19 = _17 | {RETRACT: f"req, remaing_req_count, {_POOLS}"}
_20 = {name: parameters for name, parameters in _19.items() if name != TIMEOUT}
SIGNATURES: dict[str, dict[str, str]] = {
    "0.5.17": _17,
    "0.5.18": _17,
    "0.5.19": _19,
    "0.5.20": _20,
    "0.5.21": _20,
}
"""Per version the parameters of everything that forking and joining hook or call."""

_DECODE = (
    "q, k_buffer, v_buffer, o, kv_indptr, kv_indices, attn_logits, attn_lse, num_kv_splits, max_kv_splits, sm_scale, "
    "k_scale, v_scale, logit_cap, sinks, xai_temperature_len, has_mla, use_pdl, page_size, score_mod, aux_tensors"
)
_ATTENTION_17 = {
    f"{TRITON}.__init__": "self, model_runner, skip_prefill, kv_indptr_buf",
    f"{TRITON}.init_cuda_graph_state": ("self, max_bs, max_num_tokens, kv_indices_buf, cuda_graph_num_kv_splits_buf"),
    f"{TRITON}.init_forward_metadata": "self, forward_batch",
    f"{TRITON}.init_forward_metadata_out_graph": "self, forward_batch, in_capture",
    f"{_ROOT[:-4]}kernels.ops.attention.decode_attention.decode_attention_fwd": _DECODE,
    TORCH_DECODE: (
        "self, query, output, k_cache, v_cache, req_to_token, req_pool_indices, seq_lens, encoder_lens, scaling, "
        "enable_gqa, causal, is_cross_attn, sliding_window_size"
    ),
}
_ATTENTION_19 = {
    name: parameters + ", enable_lean, lean_Mp, lean_Lp, lean_Op, lean_locks" if parameters == _DECODE else parameters
    for name, parameters in _ATTENTION_17.items()
}

ATTENTION_SIGNATURES: dict[str, dict[str, str]] = {
    "0.5.17": _ATTENTION_17,
    "0.5.18": _ATTENTION_17,
    "0.5.19": _ATTENTION_19,
    "0.5.20": _ATTENTION_19,
    "0.5.21": _ATTENTION_19,
}
"""Per version the parameters of what tree attention hooks or replaces: where these differ, the stock kernels decode."""


def installed() -> str:
    """Version of the installed SGLang, without a local part such as `+cpu`."""
    return version("sglang").split("+")[0]


def disagreements(installed_version: str, table: Mapping[str, Mapping[str, str]] = SIGNATURES) -> Iterator[str]:
    """What is not as the table says, in words. Empty: the plugin fits this SGLang."""
    if installed_version not in table:
        yield f"SGLang {installed_version} is not among the supported versions {SUPPORTED[0]} to {SUPPORTED[-1]}"
        return
    for name, expected in table[installed_version].items():
        try:
            found = ", ".join(inspect.signature(_original(name)).parameters)
        except (ImportError, AttributeError, ValueError) as error:
            yield f"{name} cannot be found ({error})"
            continue
        if found != expected:
            yield f"{name} takes ({found}), expected ({expected})"


def _original(name: str) -> Any:
    target = pkgutil.resolve_name(name)
    return getattr(target, "__func__", target)


@dataclass(frozen=True, slots=True)
class Rows:
    """A request's row in the token table: its index, and up to where its slots are computed and allocated.

    Attributes:
        scheduler: The scheduler, for its pools.
        nested: Whether requests keep these numbers in `req.kv` (since 0.5.19) or in fields of their own.
    """

    scheduler: Any
    nested: bool

    @classmethod
    def of(cls, scheduler: Any, installed_version: str) -> Rows:
        patch = int(installed_version.split(".")[2])
        return cls(scheduler, nested=patch >= 19)

    def held(self, req: Req) -> bool:
        """Whether the request has a row."""
        return self.index(req) is not None

    def index(self, req: Req) -> int | None:
        found: int | None = (req.kv if self.nested else req).req_pool_idx
        return found

    def slots(self, req: Req, start: int, end: int) -> Any:
        """(end - start,) int64: a copy of the slots of these tokens."""
        table = self.scheduler.req_to_token_pool.req_to_token
        return table[self.index(req), start:end].to(dtype=_int64(), copy=True)

    def computed(self, req: Req) -> int:
        """Tokens whose keys and values exist, or will once the step in flight is done."""
        count: int = (req.kv if self.nested else req).kv_committed_len
        return count

    def allocated(self, req: Req) -> int:
        count: int = 0 if req.kv is None else req.kv.kv_allocated_len
        return count

    def shared(self, req: Req) -> int:
        """How many tokens at the start of the row belong to the prefix cache."""
        count: int = (req.kv if self.nested else req).cache_protected_len
        return count

    def set_shared(self, req: Req, length: int) -> None:
        (req.kv if self.nested else req).cache_protected_len = length

    def leave(self, req: Req, length: int) -> Any:
        """Give the row back but keep the slots: (length,) int64. What was allocated beyond them is freed."""
        slots = self.slots(req, 0, self.allocated(req))
        if len(slots) > length:
            self.free(slots[length:])
        self.scheduler.req_to_token_pool.free(req)
        if self.nested:
            req.kv.mark_kv_released()
        else:
            req.kv = None
        return slots[:length]

    def free(self, slots: Any) -> None:
        """Free slots that no row has."""
        self.scheduler.token_to_kv_pool_allocator.free(slots)

    def release(self, req: Req, *, insert: bool) -> None:
        """Free the row and the slots that the request owns; `insert` lets the radix cache keep what it may."""
        from sglang.srt.mem_cache.common import release_kv_cache

        release_kv_cache(req, self.scheduler.tree_cache, is_insert=insert)

    def prefix_length(self, req: Req) -> int:
        """Tokens that need not be computed."""
        return len(req.prefix_indices)

    def set_prefix(self, req: Req, slots: Any) -> None:
        """Set where the keys and values of the first tokens are: (tokens,) int64."""
        req.prefix_indices = slots
        req.already_computed = len(slots)  # not a hit of the radix cache

    def prompt_node(self, req: Req) -> Any:
        """The node of the radix cache whose slots begin the request's row; None if there is none, or none in Python."""
        node = req.last_node
        return node if hasattr(node, "parent") and hasattr(node, "key") else None

    def take_lock(self, req: Req) -> Callable[[], object]:
        """Take over the request's lock on a node of the radix cache. What comes back releases it."""
        cache = self.scheduler.tree_cache
        receipt = getattr(req, "lock_receipt", None)  # since 0.5.20
        return partial(cache.dec_lock_ref, req.last_node, *([] if receipt is None else [receipt]))

    def detach(self, req: Req) -> None:
        """Keep what the request computes from now on out of the radix cache, and the cache's locks off it."""
        cache = self.scheduler.tree_cache
        # A server without the radix cache may have no nodes: nothing is locked and nothing shared.
        nodeless = cache.is_chunk_cache()
        root = None if nodeless else cache.root_node_handle(req.extra_key)
        req.last_node = req.last_host_node = req.best_match_node = root
        if hasattr(req, "lock_receipt"):
            req.lock_receipt = type(req.lock_receipt)()
        req.skip_radix_cache_insert = True


def _int64() -> Any:
    import torch

    return torch.int64
