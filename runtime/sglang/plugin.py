"""The plugin's entry point: which functions of SGLang it hooks, and what happens there.

SGLang calls :func:`register` in every process of a server. The hooks of the tokenizer's process check options and cut
streamed chunks; those of the scheduler's do the rest, as methods of one :class:`Hooks`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from typing import Any

from espalier.runtime.grammar import TagError, Vocabulary
from espalier.runtime.sglang import compat
from espalier.runtime.sglang.admission import Admission
from espalier.runtime.sglang.compat import Parked, Rows
from espalier.runtime.sglang.conductor import Conductor
from espalier.runtime.sglang.positions import Positions
from espalier.runtime.sglang.protocol import KEY, OptionError, Options, default_switch, parse_switch
from espalier.runtime.sglang.stream import slice_chunk
from espalier.runtime.sglang.vocabulary import server_vocabulary

logger = logging.getLogger(__name__)


def register() -> None:
    """Called by SGLang. Hooks nothing but the refusal when this SGLang is not the one that the plugin knows."""
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType

    installed = compat.installed()
    problems = list(compat.disagreements(installed))
    hooks = Hooks(installed, default_switch(os.environ), problems)
    for problem in problems:
        logger.error("native parallel reasoning is off: %s", problem)
    HookRegistry.register(compat.VERIFY, hooks.verify, HookType.AFTER)
    if problems:
        return
    around = {
        f"{compat.REQUEST}.update_finish_state": hooks.update_finish_state,
        f"{compat.REQUEST}.init_next_round_input": hooks.init_next_round_input,
        f"{compat.BATCH}.check_decode_mem": hooks.check_decode_mem,
        f"{compat.SCHEDULER}.get_new_batch_prefill": hooks.get_new_batch_prefill,
        compat.ADMIT: hooks.add_one_req,
        compat.RETRACT: hooks.release_req,
        compat.STREAMER: hooks.stream_output,
        compat.SLICE: slice_chunk,
    }
    after = {
        compat.TOKENIZER: hooks.tokenizer_ready,
        f"{compat.SCHEDULER}.__init__": hooks.scheduler_ready,
        f"{compat.SCHEDULER}.process_batch_result": hooks.process_batch_result,
        compat.FORWARD: hooks.init_forward,
        compat.CHECKER: hooks.uncached_sizes,
    }
    for target, hook in around.items():
        HookRegistry.register(target, hook, HookType.AROUND)
    for target, hook in after.items():
        HookRegistry.register(target, hook, HookType.AFTER)
    HookRegistry.register(f"{compat.SCHEDULER}.abort_request", hooks.abort_request, HookType.BEFORE)


def obstacles(server_args: Any) -> Iterable[str]:
    """Settings of a server with which native parallel reasoning would not be exact."""
    refused = {
        "--page-size above 1": (server_args.page_size or 1) > 1,
        "--enable-mixed-chunk": server_args.enable_mixed_chunk,
        "speculative decoding": server_args.speculative_algorithm is not None,
        "prefill/decode disaggregation": server_args.disaggregation_mode not in (None, "null"),
        "pipeline parallelism": server_args.pp_size > 1,
        "data-parallel attention": server_args.enable_dp_attention,
        "the hierarchical cache": server_args.enable_hierarchical_cache,
        "LoRA": bool(server_args.enable_lora),
    }
    return [
        f"this server runs with {name}, which native parallel reasoning does not support"
        for name in refused
        if refused[name]
    ]


class Hooks:
    """What is done at each hook, in one process of a server.

    Attributes:
        problems: Why this process cannot serve native parallel reasoning; empty if it can.
    """

    def __init__(self, installed: str, default: Options | None, problems: list[str]) -> None:
        self.problems = problems
        self._installed = installed
        self._default = default
        self._conductor: Conductor | None = None
        self._admission: Admission | None = None
        self._positions = Positions()

    # The tokenizer's process

    def tokenizer_ready(self, _result: None, manager: Any, *_args: Any, **_kwargs: Any) -> None:
        self._check(manager.server_args, manager.tokenizer, manager.model_config)

    def _check(self, server_args: Any, tokenizer: Any, model_config: Any) -> Vocabulary | None:
        problems = list(obstacles(server_args))
        vocabulary = None
        try:
            vocabulary = server_vocabulary(tokenizer, model_config.hf_eos_token_id or (), os.environ)
        except TagError as error:
            problems.append(str(error))
        for problem in problems:
            logger.warning("native parallel reasoning is off: %s", problem)
        if problems and self._default is not None:
            raise RuntimeError(f"native parallel reasoning is the default of this server, but {'; '.join(problems)}")
        self.problems.extend(problems)
        return vocabulary

    def verify(self, _result: None, params: Any, *_args: Any, **_kwargs: Any) -> None:
        """Refuse a request that cannot be served; SGLang answers with status 400 and the message."""
        asked = params.custom_params if isinstance(params.custom_params, dict) else {}
        options = parse_switch(asked[KEY]) if KEY in asked else self._default
        if options is None:
            return
        if self.problems:
            raise OptionError(f"npr cannot be served: {'; '.join(self.problems)}")
        for name in ("json_schema", "regex", "ebnf", "structural_tag"):
            if getattr(params, name) is not None:
                raise OptionError(f"npr and {name} do not go together")
        if getattr(params, "beam_width", None) is not None:
            raise OptionError("npr and beam_width do not go together")

    # The scheduler's process

    def scheduler_ready(self, _result: None, scheduler: Any, *_args: Any, **_kwargs: Any) -> None:
        vocabulary = self._check(scheduler.server_args, scheduler.tokenizer, scheduler.model_config)
        if vocabulary is None or self.problems:
            return
        rows = Rows.of(scheduler, self._installed)
        self._conductor = Conductor(scheduler, rows, vocabulary, self._default, self._send)
        self._admission = Admission(self._conductor)

    def _send(self, requests: list[Any]) -> None:
        """Stream these requests, the parked ones as what they are for the client: unfinished."""
        if self._conductor is None:
            return
        streamer = self._conductor.scheduler.output_streamer
        parked = [request for request in requests if isinstance(request.finished_reason, Parked)]
        intervals = [request.sampling_params.stream_interval for request in parked]
        reasons = [(request.finished_reason, request.finished_len) for request in parked]
        for request in parked:
            request.finished_reason = request.finished_len = None
            request.sampling_params.stream_interval = 1
        type(streamer).stream_output.__wrapped__(
            streamer, requests, any(request.return_logprob for request in requests)
        )
        for request, reason, interval in zip(parked, reasons, intervals, strict=True):
            request.finished_reason, request.finished_len = reason
            request.sampling_params.stream_interval = interval

    def update_finish_state(self, original: Any, request: Any, new_accepted_len: int = 1) -> None:
        if self._seat(request) is None or request.to_finish:
            original(request, new_accepted_len)

    def init_next_round_input(self, original: Any, request: Any, tree_cache: Any = None, cow_mamba: Any = None) -> None:
        seat = self._seat(request)
        if seat is None or not seat.forked or self._admission is None:
            original(request, tree_cache, cow_mamba)
        else:
            self._admission.prefix(seat)
            original(request, None, cow_mamba)

    def add_one_req(self, original: Any, adder: Any, req: Any, *args: Any, **kwargs: Any) -> Any:
        seat = self._seat(req)
        if seat is not None and seat.forked and self._admission is not None:
            refusal = self._admission.refuse(seat, adder)
            if refusal is None:
                refusal = original(adder, req, *args, **kwargs)
                self._admission.admitted(seat, adder)
            return refusal
        return original(adder, req, *args, **kwargs)

    def get_new_batch_prefill(self, original: Any, scheduler: Any, running_batch: Any) -> Any:
        if self._conductor is None or self._admission is None or not self._conductor.trees:
            return original(scheduler, running_batch)
        self._conductor.land(running_batch)
        was_full = running_batch.batch_is_full
        plan = original(scheduler, running_batch)
        idle = plan.batch_to_run is None and all(request.finished() for request in plan.running_batch.reqs)
        if idle and was_full:
            plan.running_batch.batch_is_full = False  # nobody was asked; ask in the next pass
        elif idle and not getattr(scheduler, "result_queue", ()):
            self._admission.unjam()
        return plan

    def check_decode_mem(self, original: Any, batch: Any, selected_indices: list[int] | None = None) -> bool:
        if self._admission is None:
            return bool(original(batch, selected_indices))
        return self._admission.fits(original, batch, selected_indices)

    def release_req(self, original: Any, *, req: Any, **kwargs: Any) -> Any:
        if self._admission is not None:
            self._admission.before_retraction(req)
        return original(req=req, **kwargs)

    def process_batch_result(self, _result: None, _scheduler: Any, batch: Any, *_args: Any, **_kwargs: Any) -> None:
        if self._conductor is not None:
            self._conductor.take_results(batch.reqs)

    def stream_output(
        self, original: Any, streamer: Any, reqs: list[Any], return_logprob: bool, skip_req: Any = None
    ) -> None:
        """SGLang streams its own requests; the others are streamed when their tokens have been read."""
        stock = [request for request in reqs if self._seat(request) is None]
        original(streamer, reqs if len(stock) == len(reqs) else stock, return_logprob, skip_req)

    def abort_request(self, _scheduler: Any, recv_req: Any) -> None:
        if self._conductor is not None:
            self._conductor.abort(lambda rid: recv_req.abort_all or rid.startswith(recv_req.rid))

    def init_forward(self, forward: Any, _cls: Any, batch: Any, *_args: Any, **_kwargs: Any) -> None:
        if self._conductor is None or forward.positions is None:
            return
        rows = self._conductor.scheduler.req_to_token_pool.req_to_token.shape[0]
        if forward.forward_mode.is_decode():
            self._positions.shift(forward, None, rows)
        elif forward.forward_mode.is_extend():
            seats = map(self._conductor.seat_of, batch.reqs)
            self._positions.shift(forward, [0 if seat is None else seat.offset for seat in seats], rows)

    def uncached_sizes(self, sizes: tuple[int, int], checker: Any) -> tuple[int, int] | None:
        if self._admission is None:
            return None
        batches = [checker.get_last_batch(), checker.get_running_batch()]
        counted = [request for batch in batches if batch is not None for request in batch.reqs]
        return sizes[0] + self._admission.uncounted(counted), sizes[1]

    def _seat(self, request: Any) -> Any:
        return None if self._conductor is None else self._conductor.seat_of(request)
