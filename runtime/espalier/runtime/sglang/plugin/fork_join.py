"""Turns the decisions of the grammar into work for SGLang's scheduler: fork, join, end.

A request that opens a block is parked: its finish reason says so, the stock scheduler drops it from the batch, and it
keeps its row and its keys and values. One ordinary request per plan decodes on the parent's row. When all are closed
their slots are moved (not copied) into the parent's row, and the parent goes on behind them.

A request that begins with finished branches leaves the queue until their keys and values are there. A tree of its own
computes them, by the same forks and joins over tokens that are known, once for all requests under way that begin
alike; its root's row is then what each of them begins with, as a parent's row is for its steps.

All of it happens between two steps, on the thread of the scheduler. Every decision is a function of tokens and of the
order of requests, so tensor-parallel ranks agree.
"""

from __future__ import annotations

import itertools
import logging
from array import array
from collections.abc import Callable, Hashable, Iterable
from copy import copy
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import torch
from sglang.srt.managers.schedule_batch import (
    FINISH_ABORT,
    FINISH_LENGTH,
    FINISH_MATCHED_TOKEN,
    BaseFinishReason,
    Req,
)

from espalier.runtime.decoding.branch import Branch
from espalier.runtime.decoding.given import behind, read_given
from espalier.runtime.decoding.response import Response, linearised
from espalier.runtime.engine import Finished, FinishReason, GenerateRequest, Limits, RequestRefused
from espalier.runtime.grammar import ROOT, Vocabulary
from espalier.runtime.sglang.plugin.compat import Rows
from espalier.runtime.sglang.plugin.output import Channel
from espalier.runtime.sglang.plugin.state import BranchState, ForkedRequest
from espalier.runtime.sglang.plugin.suspended import SuspendedReason
from espalier.runtime.sglang.plugin.vocabulary import without_end_of_turn
from espalier.runtime.sglang.protocol import KEY, Options, branch_seed, format_path, parse_switch

logger = logging.getLogger(__name__)

_UNSEEDED = 42
"""What SGLang takes for a missing seed where it samples deterministically: siblings must not share it."""

_NEVER_LAST = 2
"""Tokens that a step always has left for SGLang: with one left it takes the request out of the batch ahead of time."""

_LOGPROBS = (
    "output_token_logprobs_val",
    "output_token_logprobs_idx",
    "output_top_logprobs_val",
    "output_top_logprobs_idx",
    "output_token_ids_logprobs_val",
    "output_token_ids_logprobs_idx",
)


class ForkJoinScheduler:
    """All requests with native parallel reasoning of one scheduler.

    Attributes:
        trees: Those that have forked, oldest fork first.
        rows: Access to SGLang's token table.
    """

    def __init__(
        self,
        scheduler: Any,
        rows: Rows,
        vocabulary: Vocabulary,
        default: Options | None,
        stream: Callable[[list[Req]], None],
    ) -> None:
        self.scheduler = scheduler
        self.rows = rows
        self.trees: dict[ForkedRequest, None] = {}
        self._vocabulary = vocabulary
        self._default = default
        self._stream = stream
        self._numbers = itertools.count()
        self._requeued: list[BranchState] = []
        self._arrived: list[BranchState] = []
        self._given: dict[Hashable, ForkedRequest] = {}

    # Requests and their states

    def state_of(self, request: Req) -> BranchState | None:
        """The state of a request; None for one that decodes as stock."""
        try:
            state: BranchState | None = request.espalier_state
        except AttributeError:
            state = request.espalier_state = self._open(request)
        return state

    def _open(self, request: Req) -> BranchState | None:
        params = request.sampling_params
        asked = params.custom_params if isinstance(params.custom_params, dict) else {}
        options = parse_switch(asked[KEY]) if KEY in asked else self._default
        if options is None or params.max_new_tokens == 0:  # 0 only fills the cache, as SGLang does before n > 1
            return None
        tokens = tuple(request.origin_input_ids)
        limits = Limits(
            max_tokens=params.max_new_tokens,
            max_critical_path=options.max_critical_path,
            max_branch_tokens=options.max_branch_tokens,
            min_fork_tokens=options.min_fork_tokens,
            grammar=options.grammar,
        )
        stop = frozenset(params.stop_token_ids or ())
        vocabulary = without_end_of_turn(self._vocabulary) if params.ignore_eos else self._vocabulary
        asked_for = GenerateRequest(request.rid, tokens, limits=limits, stop=stop, constrained=options.constrained)
        try:
            if options.given:
                given = read_given(tokens, options.given, vocabulary, limits.grammar)
                asked_for = replace(asked_for, prompt=given.prompt, given=given)
            response = Response(asked_for, vocabulary, self.scheduler.model_config.context_len)
        except RequestRefused as error:
            request.to_finish = FINISH_ABORT(f"npr.{error}", HTTPStatus.BAD_REQUEST, "BadRequestError")
            return None
        tree = ForkedRequest(next(self._numbers), response, options, Channel(), params.min_new_tokens)
        state = BranchState(response.root, request, tree, start=len(tokens), offset=0, copied=1)
        if options.given:
            tree.key = (tokens, options.given, request.extra_key, getattr(request, "cache_salt", None))
            state.copied, state.joined = response.given_tokens, response.given_blocks
            self._arrived.append(state)
        tree.states[response.root] = state
        request.customized_info = tree.channel.info
        return state

    # Finished branches that requests begin with

    def take_arrived(self) -> None:
        """Take requests that begin with finished branches out of the queue until these are computed."""
        arrived, self._arrived = self._arrived, []
        queue = self.scheduler.waiting_queue
        for state in arrived:
            request, tree = state.request, state.tree
            at = next((at for at, other in enumerate(queue) if other is request), None)
            if at is None:
                continue  # it has been aborted
            del queue[at]
            request.finished_reason = SuspendedReason()
            state.forked, state.shared = True, state.start
            self.rows.detach(request)
            self.trees[tree] = None
            shared = self._given.get(tree.key) or self._compute_given(state)
            tree.given = shared
            if shared.users is not None:
                shared.users[tree] = None
            if shared.computed:
                self._begin(state)

    def _compute_given(self, state: BranchState) -> ForkedRequest:
        """A tree of the branches that a request begins with; it goes when the last of its users ends."""
        known, client = state.tree.response, state.request
        number = next(self._numbers)
        asked_for = replace(known.request, request_id=f"given-{number}")
        response = Response(asked_for, known.vocabulary, known.context_length)
        params = copy(client.sampling_params)
        params.max_new_tokens, params.min_new_tokens, params.custom_params = _NEVER_LAST, 0, None
        tree = ForkedRequest(number, response, state.tree.options, Channel(), 0, key=state.tree.key, users={})
        root, first = response.root, response.root.forks[0].at
        tokens = array("q", [*asked_for.prompt, *root.tokens[1:first]])
        request = self._new_request(tree.id, tokens, params, client, logprobs=False)
        own = BranchState(root, request, tree, len(asked_for.prompt), 0, copied=first, compute_kv_only=True)
        request.espalier_state = own
        tree.states[root] = own
        self._given[tree.key] = tree
        self._enqueue(own)
        return tree

    def _begin(self, state: BranchState) -> None:
        """What a request begins with is computed: go on behind it."""
        at = state.copied
        state.offset = state.branch.positions[at] - state.start
        self._copy(state, len(state.branch.tokens) - at, sampled=False)
        self._resume(state)

    def _leave_given(self, tree: ForkedRequest) -> None:
        """A request has ended that begins with finished branches: the last one takes them along."""
        shared = tree.given
        if shared is None or shared.users is None:
            return
        shared.users.pop(tree, None)
        chunked = getattr(self.scheduler, "chunked_req", None)
        if not shared.users and all(state.request is not chunked for state in shared.states.values()):
            self._drop_given(shared)  # a request that is computed in chunks is dropped behind the last one

    def _drop_given(self, tree: ForkedRequest) -> None:
        tree.response.finish(FinishReason.ABORTED, "no request begins with it any more")
        self.end(tree)

    # After every step

    def take_results(self, requests: Iterable[Req]) -> None:
        """Read the tokens that a step has sampled and act on them."""
        touched: dict[ForkedRequest, None] = {}
        for request in requests:
            state = self.state_of(request)
            if state is None or state.tree.ended or isinstance(request.finished_reason, SuspendedReason):
                continue
            touched[state.tree] = None
            try:
                self._read(state)
            except Exception as error:
                logger.exception("request %s failed", state.tree.id)
                self.fail(state.tree, f"{type(error).__name__}: {error}")
        self._flush(touched)

    def _read(self, state: BranchState) -> None:
        request, tree = state.request, state.tree
        if request.finished():
            return self._give_up(tree, request.finished_reason)
        if len(request.output_ids) == state.seen:
            return None  # a chunk of the prompt, or retracted
        if tree.users is not None and not tree.users:
            return self._drop_given(tree)
        if state.compute_kv_only:
            request.output_ids.pop()
            _cut_logprobs(request)
            state.compute_kv_only = False
            return self._settle(state)
        token = request.output_ids[-1]
        if not 0 <= token < self.scheduler.model_config.vocab_size:
            raise ValueError(f"the model sampled {token}, which is no token")
        tree.response.accept(state.branch, token, _last_logprob(request))
        self._copy(state, 1, sampled=True)
        if state.branch.state == ROOT and tree.response.finished is None:
            self._match_strings(state)
        return self._settle(state)

    def _match_strings(self, state: BranchState) -> None:
        """Stop strings and expressions end a response outside of blocks, as stock."""
        request = state.request
        if request.sampling_params.stop_strs or request.sampling_params.stop_regex_strs:
            type(request).update_finish_state.__wrapped__(request, 1)
            if request.finished():
                state.tree.response.finish(FinishReason.STOP)

    def _settle(self, state: BranchState) -> None:
        """Bring the scheduler's request into line with what the grammar has made of its branch."""
        tree = state.tree
        if tree.response.finished is not None:
            return self.end(tree)
        if tree.users is not None and state is tree.root and tree.computed:
            for user in tree.users:
                self._begin(user.root)
            return None
        fork = state.fork
        known = len(state.branch.tokens) if fork is None else fork.at
        forced = known - state.copied
        if forced:
            self._copy(state, forced, sampled=False)
        if state.wants_token:
            return self._queue(state) if forced else None
        if self._computed(state) < state.length:
            if forced:
                self._queue(state)
            else:
                state.compute_kv_only = True  # the next step computes the last token
            return None
        return self._rest(state)

    def _computed(self, state: BranchState) -> int:
        return self.rows.computed(state.request) if state.slots is None else len(state.slots)

    def _copy(self, state: BranchState, count: int, *, sampled: bool) -> None:
        """Note that the next tokens of the branch are in the request's sequence; forced ones have to be put there."""
        end = state.copied + count
        run = slice(state.copied, end)
        state.copied = end
        if not sampled:
            tokens = state.branch.tokens[run]
            state.request.output_ids.extend(tokens)
            _add_logprobs(state.request, [0.0] * count, tokens)
        if state.branch.parent is None:
            state.tree.channel.annotate([(state.branch, run)])
        state.seen = len(state.request.output_ids)
        if state.branch.parent is not None or state.tree.users is not None:
            params = state.request.sampling_params
            params.max_new_tokens = max(params.max_new_tokens, state.seen + _NEVER_LAST)

    def _rest(self, state: BranchState) -> None:
        """All tokens of the branch have keys and values: fork, or be complete."""
        state.request.finished_reason = SuspendedReason()
        self._leave_row(state, state.length)
        if state.fork is not None:
            return self._fork(state)
        state.complete = True
        parent = state.branch.parent
        if parent is None:
            raise RuntimeError("the root is closed but the response goes on")
        holder = state.tree.states[parent]
        fork = holder.fork
        if fork is not None and all(step.complete for step in state.tree.steps(fork)):
            self._join(holder)
        return None

    def _leave_row(self, state: BranchState, length: int) -> None:
        """Hold slots in place of a row, so that a branch that rests never keeps another one from running.

        A step that was launched before its token was known to be unwanted has a slot too many: it is freed.
        """
        if not state.forked:
            # The radix tree's lock on the prompt becomes the plugin's: SGLang looks requests up again while they wait.
            state.prompt_node = self.rows.prompt_node(state.request)
            state.release_prefix = self.rows.take_lock(state.request)
            state.shared = self.rows.shared(state.request)
            state.forked = True
            self.trees[state.tree] = None
            self.rows.detach(state.request)
        state.slots = self.rows.leave(state.request, length)

    # Fork and join

    def _fork(self, state: BranchState) -> None:
        tree = state.tree
        steps = state.fork.steps if state.fork is not None else []
        share = _NEVER_LAST
        if tree.users is None:
            share = max(share, self._tokens_left(tree) // (len(steps) + 1))
        for step in steps:
            child = self._spawn_step(state, step, share)
            tree.states[step] = child
            self._enqueue(child)

    def _tokens_left(self, tree: ForkedRequest) -> int:
        spent = sum(state.length - state.start for state in tree.states.values())
        return tree.response.request.limits.max_tokens - spent

    def _spawn_step(self, parent: BranchState, step: Branch, share: int) -> BranchState:
        """A request for a step. `share` is what SGLang reserves for it: the block's steps share what is left."""
        request, options = parent.request, parent.tree.options
        params = copy(request.sampling_params)
        params.max_new_tokens, params.min_new_tokens = share, 0
        seed = parent.tree.root.request.sampling_params.sampling_seed
        params.sampling_seed = branch_seed(_UNSEEDED if seed is None else seed, step.path)
        for name in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty"):
            value = getattr(options, f"step_{name}")
            if value is not None:
                setattr(params, name, value)
        if options.step_temperature and options.step_top_k is None and params.top_k == 1:
            params.top_k = 0  # 1 is SGLang's way to write greedy
        _canonical(params)
        known = step.forks[0].at if step.forks else len(step.tokens)  # more than the opening where branches are given
        tokens = parent.tokens() + array("q", step.tokens[:known])
        rid = f"{parent.tree.id}/{format_path(step.path)}"
        child = self._new_request(rid, tokens, params, request, logprobs=request.return_logprob)
        child.custom_logit_processor = request.custom_logit_processor
        state = BranchState(step, child, parent.tree, parent.length, parent.offset, known, forked=True)
        state.shared, state.compute_kv_only = state.start, not state.wants_token
        child.espalier_state = state
        self.rows.detach(child)
        return state

    def _new_request(self, rid: str, tokens: Any, params: Any, like: Req, *, logprobs: bool) -> Req:
        made = Req(
            rid,
            "",
            tokens,
            params,
            return_logprob=logprobs,
            top_logprobs_num=like.logprob.top_logprobs_num,
            token_ids_logprob=like.logprob.token_ids_logprob,
            lora_id=None,
            eos_token_ids=like.eos_token_ids,
            vocab_size=like.vocab_size,
            priority=like.priority,
            extra_key=like.extra_key,
            http_worker_ipc=like.http_worker_ipc,
        )
        made.lora_id = like.lora_id
        made.tokenizer = like.tokenizer
        made.logprob_start_len = len(tokens) if logprobs else -1
        return made

    def _join(self, state: BranchState) -> None:
        tree, request, fork = state.tree, state.request, state.fork
        if fork is None:
            raise RuntimeError("nothing to join")
        parts = [state.slots]
        for step in list(tree.steps(fork)):
            parts.append(step.slots[step.start :])
            tokens = step.tokens()[step.start :]
            request.output_ids.extend(tokens)
            _move_logprobs(request, step.request, tokens)
            if state.branch.parent is None:
                tree.channel.annotate(linearised(step.branch))
            del tree.states[step.branch]
        state.slots = torch.cat(parts)
        state.offset = state.branch.positions[fork.at] - len(state.slots)
        state.joined += 1
        tree.joins += 1
        self._settle(state)

    # Back into the scheduler's queue

    def _queue(self, state: BranchState) -> None:
        """Extend the request by its forced tokens as soon as no batch holds it."""
        state.request.finished_reason = SuspendedReason()
        state.compute_kv_only = not state.wants_token
        self._requeued.append(state)

    def requeue(self, running: Any) -> None:
        """Put requests that wait to be extended into the queue. `running` is the batch that decodes."""
        waiting, self._requeued = self._requeued, []
        for state in waiting:
            request = state.request
            if state.tree.ended:
                continue
            if self._in_flight(request):
                self._requeued.append(state)
                continue
            if any(other is request for other in running.reqs):
                running.filter_batch(keep_indices=[i for i, other in enumerate(running.reqs) if other is not request])
            if state.slots is None:
                self._leave_row(state, self.rows.computed(request))
            self._resume(state)

    def _resume(self, state: BranchState) -> None:
        """Into the queue again, behind all that its sequence has."""
        request = state.request
        request.finished_reason = request.finished_len = request.finished_output = None
        request.extend_range = None
        if state.branch.parent is None:  # SGLang counts anew from here
            request.sampling_params.min_new_tokens = max(0, state.tree.min_new_tokens - len(request.output_ids))
        request.logprob_start_len = state.length if request.return_logprob else -1
        self._enqueue(state)

    def _in_flight(self, request: Req) -> bool:
        queue = getattr(self.scheduler, "result_queue", ())
        return any(other is request for batch, _ in queue for other in batch.reqs)

    def _enqueue(self, state: BranchState) -> None:
        """In front of all that has not started, behind older requests' branches."""
        queue = self.scheduler.waiting_queue
        states = map(self.state_of, queue)
        ahead = itertools.takewhile(
            lambda other: other and other.forked and other.tree.number <= state.tree.number, states
        )
        queue.insert(sum(1 for _ in ahead), state.request)
        state.request.time_stats.set_wait_queue_entry_time()
        self.scheduler.running_batch.batch_is_full = False

    # The end

    def fail(self, tree: ForkedRequest, detail: str) -> None:
        """End a request with an error and free all it holds; the scheduler lives on."""
        tree.response.finish(FinishReason.ERROR, detail)
        tree.root.request.finished_reason = None
        self.end(tree)

    def end(self, tree: ForkedRequest) -> None:
        """Free what a finished response holds and tell the client."""
        finished, scheduler = tree.response.finished, self.scheduler
        if finished is None or tree.ended:
            return
        tree.ended = True
        self.trees.pop(tree, None)
        root = tree.root.request
        reason = root.finished_reason
        queued = {id(request) for request in scheduler.waiting_queue}
        for state in tree.states.values():
            state.request.finished_reason = SuspendedReason()
            state.host = None
            if id(state.request) in queued:
                scheduler.waiting_queue[:] = [other for other in scheduler.waiting_queue if other is not state.request]
            self.free(state)
        scheduler.running_batch.batch_is_full = False
        if tree.users is not None:
            del self._given[tree.key]
            for user in list(tree.users):
                self._lose_given(user, finished, reason)
            return
        self._leave_given(tree)
        new = behind(tree.response.request.given, finished.rollout)
        done = len(root.output_ids)
        rest = list(new.tokens[done:])
        root.output_ids.extend(rest)
        _add_logprobs(root, list(new.logprobs[done:]), rest)
        forks = sum(len(branch.forks) for branch in tree.response.own_branches()) - tree.response.given_blocks
        weights = str(getattr(scheduler.server_args, "weight_version", ""))
        tree.channel.finish(replace(finished, rollout=new), forks, tree.joins, weights)
        stock = reason is not None and not isinstance(reason, SuspendedReason)
        root.finished_reason = reason if stock else _reason(finished, root)
        root.finished_len = len(root.output_ids)
        root.finished_output = None
        root.time_stats.set_completion_time()
        self._flush([tree])

    def _lose_given(self, tree: ForkedRequest, finished: Finished, reason: BaseFinishReason | None) -> None:
        """What a request begins with has ended: so does the request."""
        if isinstance(reason, FINISH_ABORT):
            self._give_up(tree, reason)
        else:
            self.fail(tree, finished.detail)

    def free(self, state: BranchState) -> None:
        """Give up all that a state holds on the device."""
        if self.rows.held(state.request):
            self.rows.release(state.request, insert=not state.forked)
        if state.slots is not None:
            self.rows.free(state.slots[state.shared :])
            state.slots = None
        state.unlock()

    def abort(self, matches: Callable[[str], bool], why: BaseFinishReason) -> None:
        """End forked requests of which a branch is to be aborted. The others are SGLang's own business."""
        for tree in list(self.trees):  # branches that are given end with their last request
            if tree.users is None and any(matches(state.request.rid) for state in tree.states.values()):
                self._give_up(tree, why)

    def end_dropped(self, before: Iterable[Req]) -> None:
        """End forked requests of which a branch was `before` in the queue and has been dropped from it."""
        waiting = {id(request) for request in self.scheduler.waiting_queue}
        for request in before:
            state = self.state_of(request)
            started = state is not None and (state.forked or state.tree.users is not None)
            if state is not None and started and id(request) not in waiting:
                why = "SGLang dropped a branch from its queue"
                self._give_up(state.tree, FINISH_ABORT(why, HTTPStatus.SERVICE_UNAVAILABLE))

    def _give_up(self, tree: ForkedRequest, why: BaseFinishReason) -> None:
        tree.response.finish(FinishReason.ABORTED, str(why.to_json().get("message", "")))
        tree.root.request.finished_reason = why
        self.end(tree)

    def _flush(self, trees: Iterable[ForkedRequest]) -> None:
        """Send what is new of these requests."""
        ready = []
        for tree in trees:
            if tree.users is not None:
                continue  # no client waits for it
            request = tree.root.request
            events = tree.response.take_events()
            if tree.options.events and request.stream:
                tree.channel.post(events)
            news = len(request.output_ids) > request.send_token_offset or len(tree.channel.events) > 0
            if tree.ended:
                if not request.finished_output:
                    ready.append(request)
            elif request.stream and news:
                ready.append(request)
        if ready:
            self._stream(ready)


def _reason(finished: Finished, request: Req) -> BaseFinishReason:
    match finished.reason:
        case FinishReason.LENGTH:
            return FINISH_LENGTH(length=request.sampling_params.max_new_tokens)
        case FinishReason.ERROR:
            return FINISH_ABORT(finished.detail, status_code=500, err_type="InternalServerError")
    return FINISH_MATCHED_TOKEN(matched=request.output_ids[-1])


def _canonical(params: Any) -> None:
    """What SGLang's own `SamplingParams` makes of greedy and unlimited settings."""
    if params.temperature == 0:
        params.temperature, params.top_k = 1.0, 1
    if params.top_k == 0:
        params.top_k = 1 << 30


def _last_logprob(request: Req) -> float:
    return float(request.logprob.output_token_logprobs_val[-1]) if request.return_logprob else 0.0


def _lists(request: Req) -> Iterable[tuple[str, list[Any]]]:
    """Log-probability lists in use: those that have an entry per output token."""
    for name in _LOGPROBS:
        values = getattr(request.logprob, name, None)
        wanted = (
            request.logprob.top_logprobs_num > 0
            if "top" in name
            else request.logprob.token_ids_logprob is not None
            if "token_ids" in name
            else request.return_logprob
        )
        if values is not None and wanted:
            yield name, values


def _cut_logprobs(request: Req) -> None:
    for _, values in _lists(request):
        del values[len(request.output_ids) :]


def _add_logprobs(request: Req, logprobs: list[float], tokens: list[int]) -> None:
    """Entries for tokens whose alternatives were not asked for, such as forced ones."""
    own: dict[str, list[Any]] = {"output_token_logprobs_val": logprobs, "output_token_logprobs_idx": tokens}
    for name, values in _lists(request):
        values.extend(own.get(name, [[]] * len(tokens)))


def _move_logprobs(request: Req, step: Req, tokens: Any) -> None:
    """Append a step's log-probabilities; its forced opening has none of its own."""
    own = dict(_lists(step))
    for name, values in _lists(request):
        known = own[name]
        opening = len(tokens) - len(known)
        fill: list[Any] = [0.0] * opening
        if name == "output_token_logprobs_idx":
            fill = list(tokens[:opening])
        elif name != "output_token_logprobs_val":
            fill = [[]] * opening
        values.extend([*fill, *known])
