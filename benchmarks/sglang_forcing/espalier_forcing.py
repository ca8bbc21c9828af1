"""A second plugin for benchmarks: puts tags where a script wants them, bans them elsewhere, counts and profiles.

A model with random weights writes no structure of its own. A request brings its script as JSON text in
`custom_params["script"]`: per branch path a map from the index of a token within the branch's row to the token's id.
Every other token is the model's own choice among all that are no tags. Found by SGLang through the entry point beside
this file when its directory is on PYTHONPATH.

Numbers are shared with the benchmark through a file of int64 that ESPALIER_FORCING names; every name below is an index
in it. The benchmark writes `STOCK` (SGLang's own kernel decodes, as if tree attention were off: every CUDA graph is
captured twice, once with each kernel), `PROFILE` and `MIN_ROWS`; it may set the others to 0.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
import torch

SCRIPT = "script"
BANNED = "ESPALIER_FORCING_BANNED"
COUNTERS = "ESPALIER_FORCING"
DECODES, EXTENDS, PEAK, POOL = range(4)
"""Decode passes, other passes, most slots of the key-value memory in use, that memory's size."""
STOCK, PROFILE, MIN_ROWS = range(4, 7)
"""Written by the benchmark. PROFILE: 0 no times but that of steps, 1 with times, 2 with samples of the stack, too."""
STOCK_GRAPHS, TREE_GRAPHS, RETRACTED, SAVED = range(7, 11)
"""Replays of graphs with each kernel; requests taken back; rows saved to the host."""
STEPS, WALL, WAIT, METADATA, FORCING, SPANS, SPAN, IDLE = range(11, 19)
"""Decode steps that follow one another with at least MIN_ROWS rows, and of these, in nanoseconds: from one to the next,
waiting for the GPU, making the tables of tree attention, in this plugin; GPU passes timed, their time from first to
last kernel, and that between them."""
SIZE = 32
SAMPLES = ".samples"
"""Added to the file's name: where samples of the stack go, as JSON."""
SAMPLE_SECONDS = 0.002


def register() -> None:
    """Called by SGLang in every process of the server."""
    from sglang.srt.plugins.hook_registry import HookRegistry, HookType

    from espalier.runtime.sglang.plugin import admission, compat

    counters = np.memmap(os.environ[COUNTERS], dtype=np.int64, mode="r+")
    clock = Clock(counters, Path(os.environ[COUNTERS] + SAMPLES))
    forcing = Forcing(json.loads(os.environ[BANNED]), counters, clock)
    root = "sglang.srt.model_executor."
    HookRegistry.register(root + "forward_batch_info.ForwardBatch.init_new", forcing.plan, HookType.AFTER)
    HookRegistry.register(root + "model_runner.ModelRunner.sample", forcing.sample, HookType.BEFORE)
    HookRegistry.register(root + "model_runner.ModelRunner.sample", clock.sampled, HookType.AFTER)
    HookRegistry.register("sglang.srt.managers.scheduler.Scheduler.run_batch", clock.step, HookType.BEFORE)

    def retract(original: Any, **kwargs: Any) -> Any:
        counters[RETRACTED] += 1
        return original(**kwargs)

    HookRegistry.register(compat.RETRACT, retract, HookType.AROUND)
    _wrap(admission, "copy_to_host", _counted(counters, SAVED))
    switch = Switch(counters, clock)
    switch.install()
    if torch.cuda.is_available():
        graphs = root + "runner_backend.full_cuda_graph_backend.FullCudaGraphBackend."
        HookRegistry.register(graphs + "capture_one", switch.capture, HookType.AROUND)
        HookRegistry.register(graphs + "replay", switch.replay, HookType.AROUND)
        _wrap(torch.cuda.Event, "synchronize", clock.timed(WAIT))


def _wrap(owner: Any, name: str, wrapper: Callable[[Any], Any]) -> None:
    setattr(owner, name, wrapper(getattr(owner, name)))


def _counted(counters: np.ndarray[Any, Any], number: int) -> Callable[[Any], Any]:
    def wrapper(original: Any) -> Any:
        def counted(*args: Any) -> Any:
            counters[number] += 1
            return original(*args)

        return counted

    return wrapper


class Switch:
    """Turns tree attention off and on again while the server runs."""

    def __init__(self, counters: np.ndarray[Any, Any], clock: Clock) -> None:
        self._counters = counters
        self._clock = clock
        self._capturing_stock = False

    def install(self) -> None:
        from espalier.runtime.sglang.plugin.tree_attention import backend

        _wrap(backend.TreeAttention, "observe", self._observe)
        _wrap(backend.TreeAttention, "observe", self._clock.timed(METADATA))
        _wrap(backend._Decoder, "begin", self._clock.timed(METADATA))
        _wrap(backend._Decoder, "_decode", self._decode)

    def _stock(self) -> bool:
        return self._capturing_stock or bool(self._counters[STOCK])

    def _observe(self, original: Any) -> Any:
        def observe(attention: Any, requests: list[Any], *, decode: bool) -> None:
            if self._stock():
                attention.forest = attention._key = None
            else:
                original(attention, requests, decode=decode)

        return observe

    def _decode(self, original: Any) -> Any:
        def decode(decoder: Any, *args: Any, **kwargs: Any) -> None:
            if self._stock():
                decoder._stock(*args, **kwargs)
            else:
                original(decoder, *args, **kwargs)

        return decode

    def capture(self, original: Any, graphs: Any, shape_key: Any, *args: Any, **kwargs: Any) -> None:
        self._capturing_stock = True
        try:
            original(graphs, shape_key, *args, **kwargs)
        finally:
            self._capturing_stock = False
        if not hasattr(graphs, "espalier_stock"):
            graphs.espalier_stock = {}
        graphs.espalier_stock[shape_key] = graphs._graphs.pop(shape_key), graphs._outputs.pop(shape_key)
        original(graphs, shape_key, *args, **kwargs)

    def replay(self, original: Any, graphs: Any, shape_key: Any, *args: Any, **kwargs: Any) -> Any:
        if not self._counters[STOCK]:
            self._counters[TREE_GRAPHS] += 1
            return original(graphs, shape_key, *args, **kwargs)
        self._counters[STOCK_GRAPHS] += 1
        graph, output = graphs.espalier_stock[shape_key]
        graph.replay()
        return output


class Clock:
    """Times of the scheduler's thread, and of the GPU by events, step by step."""

    def __init__(self, counters: np.ndarray[Any, Any], samples: Path) -> None:
        self._counters = counters
        self._file = samples
        self._last: int | None = None
        self._step = dict.fromkeys((WAIT, METADATA, FORCING), 0)
        self._begun: Any = None
        self._ended: Any = None
        self._passes: deque[tuple[Any, Any, Any]] = deque()
        self._within: Counter[str] = Counter()
        self._at: Counter[str] = Counter()
        self._sampling = False

    def timed(self, number: int) -> Callable[[Any], Any]:
        """A wrapper that adds the time in a function to a number of this step."""

        def wrapper(original: Any) -> Any:
            def timed(*args: Any, **kwargs: Any) -> Any:
                if not self._counters[PROFILE]:
                    return original(*args, **kwargs)
                begin = perf_counter_ns()
                try:
                    return original(*args, **kwargs)
                finally:
                    self._step[number] += perf_counter_ns() - begin

            return timed

        return wrapper

    def step(self, _scheduler: Any, batch: Any, *_args: Any, **_kwargs: Any) -> None:
        """Before each pass."""
        now = perf_counter_ns()
        full = batch.forward_mode.is_decode() and len(batch.reqs) >= self._counters[MIN_ROWS]
        if full and self._last is not None:
            self._counters[STEPS] += 1
            self._counters[WALL] += now - self._last
            for number, spent in self._step.items():
                self._counters[number] += spent
        self._step = dict.fromkeys(self._step, 0)
        self._last = now if full else None
        if not full:
            self._ended = None
        self._sample(self._counters[PROFILE] == 2 and full)

    def begun(self) -> None:
        """The GPU's work on a pass begins here."""
        if self._counters[PROFILE] and self._last is not None and torch.cuda.is_available():
            self._begun = torch.cuda.Event(enable_timing=True)
            self._begun.record()

    def sampled(self, _result: Any, *_args: Any, **_kwargs: Any) -> None:
        """And ends here."""
        if self._begun is None:
            return
        end = torch.cuda.Event(enable_timing=True)
        end.record()
        if self._ended is not None:
            self._passes.append((self._ended, self._begun, end))
        self._begun, self._ended = None, end
        if len(self._passes) > 4:  # long over
            before, begin, end = self._passes.popleft()
            if end.query():
                self._counters[SPANS] += 1
                self._counters[SPAN] += int(begin.elapsed_time(end) * 1e6)
                self._counters[IDLE] += int(before.elapsed_time(begin) * 1e6)

    def _sample(self, on: bool) -> None:
        """The scheduler's main thread is interrupted by a timer: no other thread that would want the interpreter."""
        if on == self._sampling:
            return
        self._sampling = on
        if on:
            signal.signal(signal.SIGALRM, self._look)
        interval = SAMPLE_SECONDS if on else 0.0
        signal.setitimer(signal.ITIMER_REAL, interval, interval)
        if not on:
            found = {"within": self._within.most_common(60), "at": self._at.most_common(40)}
            self._file.write_text(json.dumps(found))

    def _look(self, _signal: int, frame: Any) -> None:
        seen = []
        while frame is not None:
            code = frame.f_code
            seen.append(f"{Path(code.co_filename).name}:{code.co_qualname}")
            frame = frame.f_back
        self._at[seen[0]] += 1
        self._within.update(set(seen))


class Forcing:
    """The scheduler's side."""

    def __init__(self, banned: list[int], counters: np.ndarray[Any, Any], clock: Clock) -> None:
        self._banned = banned
        self._counters = counters
        self._clock = clock
        self._mask: torch.Tensor | None = None
        self._plan = clock.timed(FORCING)(self._look_up)
        self._force = clock.timed(FORCING)(self._write)

    def plan(self, forward: Any, _cls: Any, batch: Any, model_runner: Any, *_args: Any, **_kwargs: Any) -> None:
        """Look up what each row has to sample. `seq_lens` is the index in the row of the token that comes next."""
        if getattr(batch, "reqs", None):
            self._plan(forward, batch, model_runner)
            self._clock.begun()

    def _look_up(self, forward: Any, batch: Any, model_runner: Any) -> None:
        lengths = batch.seq_lens_cpu.tolist()
        wishes = [self._wish(request, length) for request, length in zip(batch.reqs, lengths, strict=True)]
        forward.espalier_forced = [(row, token) for row, token in enumerate(wishes) if token is not None]
        if torch.distributed.is_initialized() and torch.distributed.get_rank():
            return
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
        self._force(logits_output.next_token_logits, getattr(forward_batch, "espalier_forced", ()))

    def _write(self, logits: torch.Tensor, forced: list[tuple[int, int]]) -> None:
        if self._mask is None:
            self._mask = torch.tensor(self._banned, device=logits.device)
        logits.index_fill_(1, self._mask, -torch.inf)
        if forced:
            pairs = torch.tensor(forced, pin_memory=logits.is_cuda).to(logits.device, non_blocking=True)
            rows, tokens = pairs[:, 0], pairs[:, 1]
            logits[rows] = -torch.inf
            logits[rows, tokens] = 0.0
