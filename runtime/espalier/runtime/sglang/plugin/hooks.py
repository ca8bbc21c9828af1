"""What happens at each hooked function of SGLang's scheduler."""

from __future__ import annotations

from functools import partial
from typing import Any

from sglang.srt.managers.schedule_batch import FINISH_ABORT

from espalier.runtime.sglang.plugin import compat
from espalier.runtime.sglang.plugin.admission import ForkAdmission
from espalier.runtime.sglang.plugin.compat import Rows
from espalier.runtime.sglang.plugin.fork_join import ForkJoinScheduler
from espalier.runtime.sglang.plugin.output import slice_chunk
from espalier.runtime.sglang.plugin.positions import Positions
from espalier.runtime.sglang.plugin.preconditions import Preconditions
from espalier.runtime.sglang.plugin.prefill_turns import PrefillTurns
from espalier.runtime.sglang.plugin.suspended import SuspendedReason
from espalier.runtime.sglang.plugin.tag_mask import TagMask
from espalier.runtime.sglang.plugin.tree_attention.backend import TreeAttention
from espalier.runtime.sglang.plugin.tree_attention.chains import chains


class Hooks:
    """What is done at each hook of the scheduler's process. The other processes call none of them."""

    def __init__(
        self, preconditions: Preconditions, installed: str, attention: TreeAttention | None, turns: PrefillTurns
    ) -> None:
        """
        Args:
            preconditions: Says whether the server can serve native parallel reasoning.
            installed: Version of SGLang.
            attention: Is told which requests share what; None: the stock kernels decode.
            turns: Says when prefills wait for company.
        """
        self._preconditions = preconditions
        self._installed = installed
        self._attention = attention
        self._fork_join: ForkJoinScheduler | None = None
        self._admission: ForkAdmission | None = None
        self._positions = Positions()
        self._turns = turns
        self._tag_mask: TagMask | None = None

    def register(self, registry: Any, kind: Any) -> None:
        """Enter all hooks into SGLang's registry; `kind` is its `HookType`."""
        around = {
            f"{compat.REQUEST}.update_finish_state": self.update_finish_state,
            f"{compat.REQUEST}.init_next_round_input": self.init_next_round_input,
            f"{compat.BATCH}.check_decode_mem": self.check_decode_mem,
            f"{compat.SCHEDULER}.get_new_batch_prefill": self.get_new_batch_prefill,
            compat.QUEUE_LIMIT: self.abort_on_queued_limit,
            compat.ADMIT: self.add_one_req,
            compat.RETRACT: self.release_req,
            compat.STREAMER: self.stream_output,
            compat.SLICE: slice_chunk,
        }
        after = {
            f"{compat.SCHEDULER}.__init__": self.scheduler_ready,
            f"{compat.SCHEDULER}.process_batch_result": self.process_batch_result,
            compat.FORWARD: self.init_forward,
            compat.CHECKER: self.uncached_sizes,
        }
        if compat.TIMEOUT in compat.SIGNATURES[self._installed]:
            around[compat.TIMEOUT] = self.drop_waiting
        for target, hook in around.items():
            registry.register(target, hook, kind.AROUND)
        for target, hook in after.items():
            registry.register(target, hook, kind.AFTER)
        registry.register(f"{compat.SCHEDULER}.abort_request", self.abort_request, kind.BEFORE)
        registry.register(compat.SAMPLE, self.sample, kind.BEFORE)
        if self._attention is not None:
            self._attention.register(registry, kind)

    def scheduler_ready(self, _result: None, scheduler: Any, *_args: Any, **_kwargs: Any) -> None:
        vocabulary = self._preconditions.check(scheduler.server_args, scheduler.tokenizer, scheduler.model_config)
        if vocabulary is None:
            return
        rows = Rows.of(scheduler, self._installed)
        self._fork_join = ForkJoinScheduler(scheduler, rows, vocabulary, self._preconditions.default, self._send)
        self._admission = ForkAdmission(self._fork_join)
        table = scheduler.req_to_token_pool.req_to_token
        self._tag_mask = TagMask(vocabulary, scheduler.model_config.vocab_size, table.shape[0])
        if self._attention is not None:
            self._attention.use(partial(chains, state_of=self._fork_join.state_of, rows=rows))

    def _send(self, requests: list[Any]) -> None:
        """Stream these requests, the parked ones as what they are for the client: unfinished."""
        if self._fork_join is None:
            return
        streamer = self._fork_join.scheduler.output_streamer
        parked = [request for request in requests if isinstance(request.finished_reason, SuspendedReason)]
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
        if self._state(request) is None or request.to_finish:
            original(request, new_accepted_len)

    def init_next_round_input(self, original: Any, request: Any, tree_cache: Any = None, cow_mamba: Any = None) -> None:
        state = self._state(request)
        if state is None or not state.forked or self._admission is None:
            original(request, tree_cache, cow_mamba)
        else:
            self._admission.prefix(state)
            original(request, None, cow_mamba)

    def add_one_req(self, original: Any, adder: Any, req: Any, *args: Any, **kwargs: Any) -> Any:
        state = self._state(req)
        if state is not None and state.forked and self._admission is not None:
            refusal = self._admission.refuse(state, adder)
            if refusal is None:
                refusal = original(adder, req, *args, **kwargs)
                self._admission.admitted(state, adder)
            return refusal
        return original(adder, req, *args, **kwargs)

    def get_new_batch_prefill(self, original: Any, scheduler: Any, running_batch: Any) -> Any:
        if self._fork_join is not None:
            self._fork_join.take_arrived()
        if self._fork_join is None or self._admission is None or not self._fork_join.trees:
            return original(scheduler, running_batch)
        self._fork_join.requeue(running_batch)
        was_full = running_batch.batch_is_full
        may_wait = not was_full and scheduler.chunked_req is None
        if may_wait and self._turns.wait(len(running_batch.reqs), len(scheduler.waiting_queue)):
            running_batch.batch_is_full = True  # so SGLang admits nobody in this pass
            plan = original(scheduler, running_batch)
            plan.running_batch.batch_is_full = False
            return plan
        plan = original(scheduler, running_batch)
        idle = plan.batch_to_run is None and all(request.finished() for request in plan.running_batch.reqs)
        if idle and was_full:
            plan.running_batch.batch_is_full = False  # no request was admitted; admit in the next pass
        elif idle and not getattr(scheduler, "result_queue", ()):
            self._admission.resolve_deadlock()
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
        if self._fork_join is not None:
            self._fork_join.take_results(batch.reqs)

    def stream_output(
        self, original: Any, streamer: Any, reqs: list[Any], return_logprob: bool, skip_req: Any = None
    ) -> None:
        """SGLang streams its own requests; the others are streamed when their tokens have been read."""
        stock = [request for request in reqs if self._state(request) is None]
        original(streamer, reqs if len(stock) == len(reqs) else stock, return_logprob, skip_req)

    def abort_request(self, _scheduler: Any, recv_req: Any) -> None:
        if self._fork_join is None:
            return
        stated = recv_req.finished_reason or {}
        message = stated.get("message") or recv_req.abort_message or "aborted by the client"
        self._fork_join.abort(
            lambda rid: recv_req.abort_all or rid.startswith(recv_req.rid),
            FINISH_ABORT(message, stated.get("status_code")),
        )

    def abort_on_queued_limit(self, original: Any, scheduler: Any, recv_req: Any) -> bool:
        state = self._state(recv_req)
        if state is not None and state.forked:
            return False  # it was let in long ago and comes back for memory only
        return bool(self.drop_waiting(original, scheduler, recv_req))

    def drop_waiting(self, original: Any, scheduler: Any, *args: Any) -> Any:
        """SGLang drops requests that wait too long, or for more urgent ones: a branch takes its whole tree along."""
        before = list(scheduler.waiting_queue)
        result = original(scheduler, *args)
        if self._fork_join is not None:
            self._fork_join.end_dropped(before)
        return result

    def init_forward(self, forward: Any, _cls: Any, batch: Any, *_args: Any, **_kwargs: Any) -> None:
        if self._fork_join is None or self._tag_mask is None or forward.positions is None:
            return
        rows = self._fork_join.scheduler.req_to_token_pool.req_to_token.shape[0]
        if self._attention is not None:
            self._attention.observe(batch.reqs, decode=forward.forward_mode.is_decode())
        states = map(self._fork_join.state_of, batch.reqs)
        if forward.forward_mode.is_decode():
            self._positions.shift(forward, None, rows)
            self._tag_mask.decode(forward, states)
        elif forward.forward_mode.is_extend():
            known = list(states)
            self._positions.shift(forward, [0 if state is None else state.offset for state in known], rows)
            self._tag_mask.extend(forward, known)

    def sample(self, _runner: Any, logits_output: Any, forward_batch: Any) -> None:
        if self._tag_mask is not None:
            self._tag_mask.apply(forward_batch, logits_output.next_token_logits)

    def uncached_sizes(self, sizes: tuple[int, int], checker: Any) -> tuple[int, int] | None:
        if self._admission is None:
            return None
        batches = [checker.get_last_batch(), checker.get_running_batch()]
        counted = [request for batch in batches if batch is not None for request in batch.reqs]
        return sizes[0] + self._admission.uncounted(counted), sizes[1]

    def _state(self, request: Any) -> Any:
        return None if self._fork_join is None else self._fork_join.state_of(request)
